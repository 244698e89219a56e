package verbs_test

import (
	"context"
	"testing"
	"time"

	"outboard/verbs"
	"outboard/verbs/fabric"
	"outboard/verbs/fabric/inproc"
	"outboard/verbs/fabric/shm"
)

// end is one side of a connection.
type end struct {
	ctx *verbs.Context
	pd  *verbs.PD
	cq  *verbs.CQ
	qp  *verbs.QP
}

func newEnd(t testing.TB, port fabric.Port) *end {
	t.Helper()
	ctx, err := verbs.Open(port)
	must(t, err)
	t.Cleanup(func() { ctx.Close() })
	e := &end{ctx: ctx}
	e.pd, err = ctx.AllocPD()
	must(t, err)
	e.cq, err = ctx.CreateCQ(256, nil)
	must(t, err)
	e.qp, err = ctx.CreateQP(e.pd, verbs.QPInit{SendCQ: e.cq, RecvCQ: e.cq,
		Cap: verbs.QPCap{SendWR: 64, RecvWR: 64, SendSGE: 4, RecvSGE: 4, Inline: 128}})
	must(t, err)
	return e
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const allRights = verbs.LocalWrite | verbs.RemoteRead | verbs.RemoteWrite | verbs.RemoteAtomic

func (e *end) connect(t testing.TB, peer *end) {
	t.Helper()
	a := verbs.QPAttr{Port: 1, Access: allRights, AV: peer.ctx.Addr(), PathMTU: 1024, DestQPN: peer.qp.QPN(), MaxRdAtomic: 4, MaxDestRdAtomic: 4, RNRRetry: 7, Timeout: 14, RetryCnt: 7}
	a.State = verbs.Init
	must(t, e.qp.Modify(a, verbs.AttrState|verbs.AttrPKeyIndex|verbs.AttrPort|verbs.AttrAccess))
	a.State = verbs.RTR
	must(t, e.qp.Modify(a, verbs.AttrState|verbs.AttrAV|verbs.AttrPathMTU|verbs.AttrDestQPN|verbs.AttrRQPSN|verbs.AttrMaxDestRdAtomic|verbs.AttrMinRNRTimer))
	a.State = verbs.RTS
	must(t, e.qp.Modify(a, verbs.AttrState|verbs.AttrSQPSN|verbs.AttrTimeout|verbs.AttrRetryCnt|verbs.AttrRNRRetry|verbs.AttrMaxRdAtomic))
}

func pair(t testing.TB, fabricName string) (a, b *end) {
	t.Helper()
	open := func() fabric.Port {
		p, err := shm.Open(shm.Options{})
		must(t, err)
		return p
	}
	if fabricName == "inproc" {
		sw := inproc.New()
		open = func() fabric.Port {
			p, err := sw.Open(inproc.Options{})
			must(t, err)
			return p
		}
	}
	a, b = newEnd(t, open()), newEnd(t, open())
	a.connect(t, b)
	b.connect(t, a)
	return a, b
}

func (e *end) wait(t testing.TB) verbs.WC {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var wc [1]verbs.WC
	_, err := e.cq.Wait(ctx, wc[:])
	must(t, err)
	return wc[0]
}

func TestSendRecv(t *testing.T) {
	for _, f := range []string{"inproc", "shm"} {
		t.Run(f, func(t *testing.T) {
			a, b := pair(t, f)
			buf := make([]byte, 5000)
			mr, err := b.ctx.RegMR(b.pd, buf, verbs.LocalWrite)
			must(t, err)
			must(t, b.qp.PostRecv(verbs.RecvWR{ID: 7, SG: []verbs.SGE{{Buf: buf, LKey: mr.LKey()}}}))
			src := make([]byte, 3000)
			for i := range src {
				src[i] = byte(i * 7)
			}
			smr, err := a.ctx.RegMR(a.pd, src, 0)
			must(t, err)
			must(t, a.qp.PostSend(verbs.SendWR{ID: 3, Opcode: verbs.SendImm, Flags: verbs.Signaled, Imm: 42, SG: []verbs.SGE{{Buf: src, LKey: smr.LKey()}}}))
			wc := b.wait(t)
			if wc.Status != verbs.Success || wc.ID != 7 || wc.Bytes != 3000 || wc.Imm != 42 {
				t.Fatalf("receive completed with %+v", wc)
			}
			for i := range src {
				if buf[i] != src[i] {
					t.Fatalf("byte %d", i)
				}
			}
			if wc := a.wait(t); wc.Status != verbs.Success || wc.ID != 3 {
				t.Fatalf("send completed with %+v", wc)
			}
			// one-sided
			rmr, err := b.ctx.RegMR(b.pd, buf, allRights)
			must(t, err)
			back := make([]byte, 3000)
			bmr, err := a.ctx.RegMR(a.pd, back, verbs.LocalWrite)
			must(t, err)
			must(t, a.qp.PostSend(verbs.SendWR{ID: 4, Opcode: verbs.Read, Flags: verbs.Signaled, RemoteAddr: rmr.Addr(), RKey: rmr.RKey(), SG: []verbs.SGE{{Buf: back, LKey: bmr.LKey()}}}))
			if wc := a.wait(t); wc.Status != verbs.Success || back[2999] != src[2999] {
				t.Fatalf("read completed with %+v", wc)
			}
			must(t, a.qp.PostSend(verbs.SendWR{ID: 5, Opcode: verbs.FetchAdd, Add: 1, Flags: verbs.Signaled, RemoteAddr: rmr.Addr(), RKey: rmr.RKey(), SG: []verbs.SGE{{Buf: back[:8], LKey: bmr.LKey()}}}))
			if wc := a.wait(t); wc.Status != verbs.Success {
				t.Fatalf("atomic completed with %+v", wc)
			}
			must(t, a.qp.PostSend(verbs.SendWR{ID: 6, Opcode: verbs.Write, Flags: verbs.Signaled, RemoteAddr: rmr.Addr(), RKey: rmr.RKey() ^ 1, SG: []verbs.SGE{{Buf: back[:8], LKey: bmr.LKey()}}}))
			if wc := a.wait(t); wc.Status != verbs.RemAccessErr {
				t.Fatalf("bad key completed with %+v", wc)
			}
		})
	}
}
