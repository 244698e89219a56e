package verbs_test

import (
	"bytes"
	"testing"
	"time"

	"outboard/verbs"
	"outboard/verbs/fabric"
)

// A rawPeer sends any packets it likes to a queue pair.
type rawPeer struct {
	port fabric.Port
	conn fabric.Conn
	host *end
	mem  region // writable by the peer
	safe []byte // memory on both sides of it
	recv region // posted
}

type deaf struct{}

// grantPackets is the bit of a grant that asks for IBTA packets.
const grantPackets = 1 << 5

func (deaf) Packet(uint32, *fabric.Header, []byte) bool { return true }
func (deaf) Knock(int)                                  {}
func (deaf) Down(uint32, error)                         {}

func newRawPeer(t testing.TB) *rawPeer {
	p := &rawPeer{port: openInproc(t), host: newEnd(t, plainFabrics[0])}
	var err error
	p.conn, err = p.port.Open(fabric.Any, 0)
	must(t, err)
	h := p.host
	at := verbs.QPAttr{Port: 1, Access: allRights, AV: p.port.Addr(), PathMTU: 1024, DestQPN: verbs.QPNOf(p.conn.Endpoint()),
		MaxRdAtomic: 4, MaxDestRdAtomic: 4, RNRRetry: 7, Timeout: 14, RetryCnt: 7}
	h.bring(t, at, verbs.RTS)
	must(t, p.conn.Connect(h.ctx.Addr(), int(h.qp.QPN()-verbs.QPNOf(0))))
	p.conn.Grant(fabric.Grant{Ready: true, Access: 1<<32 - 1 - grantPackets})
	p.safe = pattern(256, 9)
	mr, err := h.ctx.RegMR(h.pd, p.safe[64:192], allRights)
	must(t, err)
	p.mem = region{mr, p.safe[64:192]}
	p.recv = h.reg(t, make([]byte, 64), verbs.LocalWrite)
	must(t, h.qp.PostRecv(verbs.RecvWR{ID: 1, SG: []verbs.SGE{p.recv.sge()}}, verbs.RecvWR{ID: 2, SG: []verbs.SGE{p.recv.sge()}}))
	return p
}

func (p *rawPeer) close(t testing.TB) {
	must(t, p.host.ctx.Close())
	must(t, p.port.Close())
}

// FuzzResponder gives two arbitrary packets to a queue pair with a request in flight: it must neither panic nor
// touch memory outside the region, and end in RTS or ERR.
func FuzzResponder(f *testing.F) {
	for op := byte(0); op < 12; op++ {
		for _, flags := range []byte{0, 1, 2, 3, 0x83} {
			f.Add(op, flags, uint16(6), uint64(0), false, make([]byte, 8), byte(3), []byte("0123456789abcdef"))
			f.Add(byte(2), flags, uint16(op), uint64(120), true, bytes.Repeat([]byte{255}, 16), op, []byte{})
		}
	}
	f.Fuzz(func(t *testing.T, op, flags byte, aux uint16, off uint64, badKey bool, payload []byte, op2 byte, payload2 []byte) {
		p := newRawPeer(t)
		defer p.close(t)
		h := p.host
		must(t, h.qp.PostSend(verbs.SendWR{ID: 3, SG: []verbs.SGE{p.recv.part(0, 8)}}))
		key := p.mem.RKey()
		if badKey {
			key += 256
		}
		for i, data := range [][]byte{payload, payload2} {
			head := fabric.Header{Op: op, Flags: flags, Aux: aux, Addr: p.mem.Addr() + off, Key: key}
			if i == 1 {
				head.Op, head.Flags = op2, op2>>4
			}
			p.conn.Send(&head, data[:min(len(data), p.port.Attr().MTU)], nil)
		}
		for range 4 {
			if _, err := h.cq.Poll(nil); err != nil {
				t.Fatal(err)
			}
			p.port.Poll(deaf{}, 100)
		}
		if s := h.state(); s != verbs.RTS && s != verbs.Err {
			t.Errorf("queue pair in %v", s)
		}
		if want := pattern(256, 9); !bytes.Equal(p.safe[:64], want[:64]) || !bytes.Equal(p.safe[192:], want[192:]) {
			t.Error("memory outside the region has changed")
		}
	})
}

// TestMalformedPackets lists packets that break a rule; each takes the queue pair to ERR.
func TestMalformedPackets(t *testing.T) {
	const send, write, writeImm, readReq, readResp, atomicReq = 1, 2, 3, 4, 5, 6
	const first, last = 1, 2
	type packet struct {
		op, flags uint8
		aux       uint16
		payload   []byte
	}
	eight, sixteen := make([]byte, 8), make([]byte, 16)
	for name, ps := range map[string][]packet{
		"unknown opcode":                 {{op: 99}},
		"opcode zero":                    {{op: 0}},
		"SEND that has no first packet":  {{op: send, flags: last}},
		"SEND with two first packets":    {{op: send, flags: first}, {op: send, flags: first}},
		"WRITE in a SEND":                {{op: send, flags: first}, {op: write, flags: first | last, payload: eight}},
		"READ in a SEND":                 {{op: send, flags: first}, {op: readReq, payload: sixteen}},
		"immediate in a SEND":            {{op: send, flags: first}, {op: writeImm, payload: eight}},
		"SEND in a WRITE":                {{op: write, flags: first, payload: []byte{9, 0, 0, 0, 0, 0, 0, 0}}, {op: send, flags: first | last}},
		"WRITE without a length":         {{op: write, flags: first | last, payload: eight[:7]}},
		"WRITE longer than announced":    {{op: write, flags: first | last, payload: sixteen}},
		"WRITE shorter than announced":   {{op: write, flags: first | last, payload: []byte{9, 0, 0, 0, 0, 0, 0, 0, 1}}},
		"WRITE that has no first packet": {{op: write, flags: last}},
		"WRITE of a huge length":         {{op: write, flags: first, payload: bytes.Repeat([]byte{255}, 8)}},
		"immediate without a length":     {{op: writeImm}},
		"immediate of a huge length":     {{op: writeImm, payload: bytes.Repeat([]byte{255}, 8)}},
		"READ without a length":          {{op: readReq}},
		"READ of a huge length":          {{op: readReq, payload: bytes.Repeat([]byte{255}, 16)}},
		"response without request":       {{op: readResp, flags: last}},
		"atomic without operands":        {{op: atomicReq, aux: 5}},
		"atomic of another kind":         {{op: atomicReq, aux: 4, payload: sixteen}},
		"NAK of success":                 {{op: 8}},
		"more READs than resources":      {{op: readReq, payload: sixteen}, {op: readReq, payload: sixteen}, {op: readReq, payload: sixteen}, {op: readReq, payload: sixteen}, {op: readReq, payload: sixteen}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newRawPeer(t)
			defer p.close(t)
			for _, k := range ps {
				if !p.conn.Send(&fabric.Header{Op: k.op, Flags: k.flags, Aux: k.aux, Addr: p.mem.Addr(), Key: p.mem.RKey()}, k.payload, nil) {
					t.Fatal("no room")
				}
			}
			p.host.reaches(t, verbs.Err)
			if want := pattern(256, 9); !bytes.Equal(p.safe[:64], want[:64]) || !bytes.Equal(p.safe[192:], want[192:]) {
				t.Error("memory outside the region has changed")
			}
		})
	}
}

// TestBadResponses has a peer answer a READ wrongly.
func TestBadResponses(t *testing.T) {
	for name, c := range map[string]struct {
		op, flags uint8
		n         int
	}{
		"too long": {5, 2, 9}, "too short": {5, 2, 7}, "too long in a middle packet": {5, 0, 9}, "of an atomic": {7, 2, 8},
	} {
		t.Run(name, func(t *testing.T) {
			p := &rawPeer{port: fencedPort{Port: openInproc(t)}, host: newEnd(t, allFabrics[2])}
			var err error
			p.conn, err = p.port.Open(fabric.Any, 0)
			must(t, err)
			defer p.close(t)
			at := attrFor(p.host)
			at.AV, at.DestQPN = p.port.Addr(), verbs.QPNOf(p.conn.Endpoint())
			p.host.bring(t, at, verbs.RTS)
			must(t, p.conn.Connect(p.host.ctx.Addr(), int(p.host.qp.QPN()-verbs.QPNOf(0))))
			p.conn.Grant(fabric.Grant{Ready: true, Access: 1<<32 - 1 - grantPackets})
			buf := p.host.reg(t, make([]byte, 8), verbs.LocalWrite)
			must(t, p.host.qp.PostSend(verbs.SendWR{ID: 4, Opcode: verbs.Read, SG: []verbs.SGE{buf.sge()}, RemoteAddr: 1, RKey: 1}))
			for end := time.Now().Add(5 * time.Second); p.port.Poll(deaf{}, 10) == 0 && time.Now().Before(end); {
			}
			p.conn.Send(&fabric.Header{Op: c.op, Flags: c.flags}, make([]byte, c.n), nil)
			p.host.expect(t, 4, verbs.BadRespErr)
		})
	}
}
