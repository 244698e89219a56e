package verbs_test

import (
	"strings"
	"testing"

	"outboard/verbs"
)

func TestAH(t *testing.T) {
	e, peer := udEnd(t, plainFabrics[0]), udEnd(t, plainFabrics[0])
	for name, a := range map[string]verbs.AHAttr{
		"by address":     {Addr: peer.ctx.Addr(), Port: 1},
		"of this port":   {Addr: e.ctx.Addr(), Port: 1},
		"with all of it": {Addr: peer.ctx.Addr(), Port: 1, GRH: verbs.GRH{SGIDIndex: 1, HopLimit: 255, TrafficClass: 255, FlowLabel: 1<<20 - 1}},
	} {
		t.Run(name, func(t *testing.T) {
			ah, err := e.ctx.CreateAH(e.pd, a)
			must(t, err)
			got, err := ah.Query()
			must(t, err)
			if got != a {
				t.Errorf("Query gives %+v, want %+v", got, a)
			}
			wantErr(t, e.pd.Dealloc(), verbs.ErrBusy)
			must(t, ah.Destroy())
			wantErr(t, ah.Destroy(), verbs.ErrDestroyed)
			_, err = ah.Query()
			wantErr(t, err, verbs.ErrDestroyed)
		})
	}
}

func TestAHRefusals(t *testing.T) {
	e, other := udEnd(t, plainFabrics[0]), udEnd(t, plainFabrics[0])
	here := e.ctx.Addr()
	dead, err := e.ctx.AllocPD()
	must(t, err)
	must(t, dead.Dealloc())
	for name, c := range map[string]struct {
		pd   *verbs.PD
		attr verbs.AHAttr
		want error
		says string
	}{
		"no domain":                {nil, verbs.AHAttr{Addr: here, Port: 1}, verbs.ErrInvalid, "domain"},
		"dead domain":              {dead, verbs.AHAttr{Addr: here, Port: 1}, verbs.ErrInvalid, "domain"},
		"domain of another":        {other.pd, verbs.AHAttr{Addr: here, Port: 1}, verbs.ErrInvalid, "domain"},
		"port 0":                   {e.pd, verbs.AHAttr{Addr: here}, verbs.ErrInvalid, "PORT 0"},
		"port 2":                   {e.pd, verbs.AHAttr{Addr: here, Port: 2}, verbs.ErrInvalid, "PORT 2"},
		"source GID":               {e.pd, verbs.AHAttr{Addr: here, Port: 1, GRH: verbs.GRH{SGIDIndex: 2}}, verbs.ErrInvalid, "SGID_INDEX 2"},
		"flow label of 21 bits":    {e.pd, verbs.AHAttr{Addr: here, Port: 1, GRH: verbs.GRH{FlowLabel: 1 << 20}}, verbs.ErrInvalid, "FLOW_LABEL 0x100000"},
		"no destination":           {e.pd, verbs.AHAttr{Port: 1}, verbs.ErrInvalid, "no destination"},
		"address that is too long": {e.pd, verbs.AHAttr{Addr: strings.Repeat("x", 201), Port: 1}, verbs.ErrInvalid, "201 bytes"},
		"unknown GID":              {e.pd, verbs.AHAttr{DGID: verbs.GID{0xfd, 1}, Port: 1}, verbs.ErrUnresolved, "fd01"},
		"unknown LID":              {e.pd, verbs.AHAttr{DLID: 0xc000, Port: 1}, verbs.ErrUnresolved, "49152"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := e.ctx.CreateAH(c.pd, c.attr)
			if wantErr(t, err, c.want); !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %q, want it to say %q", err, c.says)
			}
		})
	}
}

// TestAHResolves finds ports by their GIDs and LIDs: this one, one that an address has named, and one that has sent.
// TestAHFromNoDatagram: a completion that is not of a datagram, or is none, names no sender.
func TestAHFromNoDatagram(t *testing.T) {
	e := udEnd(t, plainFabrics[0])
	grh := make([]byte, verbs.GRHLen)
	for name, c := range map[string]struct {
		wc  *verbs.WC
		grh []byte
	}{
		"no completion":   {nil, grh},
		"no header":       {&verbs.WC{}, grh},
		"header cut":      {&verbs.WC{Flags: verbs.WithGRH}, grh[1:]},
		"to another port": {&verbs.WC{Flags: verbs.WithGRH}, grh},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := e.ctx.CreateAHFromWC(e.pd, verbs.PortNum, c.wc, c.grh)
			wantErr(t, err, verbs.ErrInvalid)
		})
	}
}

func TestAHResolves(t *testing.T) {
	eachLossless(t, func(t *testing.T, f fabricUnder) {
		b := newBeacon(t, f, 4)
		named, sender := udEnd(t, f), udEnd(t, f)
		for _, x := range []*end{named, sender} {
			gid, err := x.ctx.QueryGID(1, 1)
			must(t, err)
			_, err = b.ctx.CreateAH(b.pd, verbs.AHAttr{DGID: gid, Port: 1})
			wantErr(t, err, verbs.ErrUnresolved)
		}
		must(t, b.handle(t, named).Destroy())
		b.hears(t, sender)
		for name, x := range map[string]*end{"this one": b.end, "one that an address has named": named, "one that has sent": sender} {
			t.Run(name, func(t *testing.T) {
				p, err := x.ctx.QueryPort(1)
				must(t, err)
				attrs := []verbs.AHAttr{{DLID: p.LID, Port: 1}}
				for i := range 2 {
					gid, err := x.ctx.QueryGID(1, i)
					must(t, err)
					attrs = append(attrs, verbs.AHAttr{DGID: gid, Port: 1})
				}
				room := x.reg(t, make([]byte, 40), verbs.LocalWrite)
				for i, attr := range attrs {
					ah, err := b.ctx.CreateAH(b.pd, attr)
					must(t, err)
					id := uint64(500 + i)
					if x != b.end {
						must(t, x.qp.PostRecv(verbs.RecvWR{ID: id, SG: []verbs.SGE{room.sge()}}))
					} else {
						id = b.n - 4 // the oldest of its receives
						b.post(t)
					}
					must(t, b.qp.PostSend(verbs.SendWR{UD: &verbs.UDDest{AH: ah, QPN: x.qp.QPN(), QKey: testQKey}}))
					x.expect(t, id, verbs.Success)
				}
			})
		}
	})
}
