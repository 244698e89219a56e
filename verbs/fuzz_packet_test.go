package verbs_test

import (
	"bytes"
	"testing"
	"time"

	"outboard/verbs"
	"outboard/verbs/fabric"
	"outboard/verbs/internal/ib"
)

// guarded is memory between two guards, of which only the middle is registered.
type guarded struct {
	all []byte
	region
}

const guardLen = 64

var guard = bytes.Repeat([]byte("secret!!"), guardLen/8)

func newGuarded(t testing.TB, e *end, n int, a verbs.Access) guarded {
	g := guarded{all: append(append(append([]byte(nil), guard...), make([]byte, n)...), guard...)}
	mem := g.all[guardLen : guardLen+n : guardLen+n]
	mr, err := e.ctx.RegMR(e.pd, mem, a)
	must(t, err)
	g.region = region{mr, mem}
	return g
}

func (g *guarded) check(t *testing.T, what string) {
	t.Helper()
	if n := len(g.all) - guardLen; !bytes.Equal(g.all[:guardLen], guard) || !bytes.Equal(g.all[n:], guard) {
		t.Errorf("memory outside of the %s has changed", what)
	}
}

// forge makes a packet of arbitrary bytes that is whole: headers of an opcode, fields from data, then bytes that are changed, and a good ICRC.
func forge(h ib.Header, mem region, data []byte) []byte {
	at := func(i int) uint64 { // a byte of data
		if i < len(data) {
			return uint64(data[i])
		}
		return 0
	}
	h.PSN = ib.PSNAdd(h.PSN, int32(int8(at(0))))
	h.AckReq, h.Solicited = at(1)&1 != 0, at(1)&2 != 0
	h.VA, h.RKey, h.Len = mem.Addr()+uint64(int64(int8(at(2)))), mem.RKey(), uint32(at(3))
	if at(1)&4 != 0 {
		h.Len <<= 24
	}
	if at(1)&8 != 0 {
		h.RKey += uint32(at(4))
	}
	h.Syndrome, h.MSN, h.Imm, h.Inv, h.SwapAdd, h.Compare, h.Orig = uint8(at(5)), uint32(at(6)), uint32(at(7)), h.RKey, at(8), at(9), at(10)
	n := 0
	if h.Opcode.HasPayload() {
		switch n = int(at(11)); {
		case at(1)&16 != 0:
			n = 256
		case at(1)&32 != 0:
			n = int(h.Len) & 0xff
		}
	}
	p := h.Append(nil, n)
	for i := range n {
		p = append(p, byte(at(12+i%8)))
	}
	for i := 20; i+1 < len(data) && i < 28; i += 2 {
		p[int(data[i])%len(p)] ^= data[i+1]
	}
	return ib.Seal(p)
}

// FuzzArrivePacket gives arbitrary packets with a good ICRC to a queue pair in every state, with requests in flight: nothing panics, no
// memory changes that is not registered, and none is sent.
func FuzzArrivePacket(f *testing.F) {
	for op := range 256 {
		if o := ib.Opcode(op); o.Valid() {
			for state := range byte(4) {
				f.Add(state, byte(op), []byte{0, 1, 0, 8, 0, 31, 1, 2, 3, 4, 5, 8}, byte(op), []byte{1, 17, 0, 255, 0, 0x60})
				f.Add(state, byte(op), []byte{0, 0x10, 0, 255, 0, 31}, byte(ib.RCWriteLastImm), []byte{1, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 40, 4, 47, 255})
			}
		}
	}
	f.Fuzz(func(t *testing.T, state, op1 byte, data1 []byte, op2 byte, data2 []byte) {
		to := []verbs.State{verbs.RTS, verbs.RTS, verbs.RTR, verbs.Init}[state&3]
		at := verbs.QPAttr{Access: allRights, PathMTU: 256, MaxRdAtomic: 2, MaxDestRdAtomic: 2, Timeout: 10, RetryCnt: 1, RNRRetry: 1, MinRNRTimer: 1}
		s := newSpeaker(t, speakerOptions{attr: at, to: to, plain: state&4 != 0, init: func(in *verbs.QPInit) {
			if state&8 != 0 {
				in.Type = verbs.UC
			}
		}})
		h := s.host
		mem, recv, dst := newGuarded(t, h, 128, allRights), newGuarded(t, h, 300, verbs.LocalWrite), newGuarded(t, h, 300, verbs.LocalWrite)
		must(t, h.qp.PostRecv(verbs.RecvWR{ID: 100, SG: []verbs.SGE{recv.sge()}}))
		if to == verbs.RTS {
			must(t, h.qp.PostSend(verbs.SendWR{ID: 1, SG: []verbs.SGE{s.src.part(0, 300)}}))
			if state&8 == 0 {
				must(t, h.qp.PostSend(verbs.SendWR{ID: 2, Opcode: verbs.Read, SG: []verbs.SGE{dst.sge()}}, verbs.SendWR{ID: 3, Opcode: verbs.FetchAdd, SG: []verbs.SGE{dst.part(0, 8)}}))
			}
		}
		if state&3 == 1 {
			must(t, h.qp.Modify(verbs.QPAttr{State: verbs.SQD}, verbs.AttrState))
		}
		for i, data := range [][]byte{data1, data2, data1} {
			op := ib.Opcode([]byte{op1, op2, op1}[i])
			if !op.Valid() {
				op = ib.RCSendOnly
			}
			p := forge(s.header(op, 0), mem.region, data)
			if len(p) <= s.port.Attr().MTU {
				must(t, s.send(p))
			}
			s.run()
			s.now = s.now.Add(3 * time.Millisecond)
		}
		s.run()
		mem.check(t, "region")
		recv.check(t, "receive")
		dst.check(t, "READ's memory")
		if s.leaked {
			t.Error("memory that is not registered has been sent")
		}
		if st := h.state(); st != to && st != verbs.Err && !(st == verbs.SQD && state&3 == 1) {
			t.Errorf("queue pair in %v, was in %v", st, to)
		}
		must(t, h.qp.Modify(verbs.QPAttr{State: verbs.Reset}, verbs.AttrState))
		must(t, h.qp.Destroy())
		for _, r := range []region{mem.region, recv.region, dst.region} {
			must(t, r.Dereg())
		}
	})
}

// FuzzLane says anything on a lane: packets to a queue pair of UD and to queue pair 1, whole ones also, and names of ports.
func FuzzLane(f *testing.F) {
	f.Add(byte(11), []byte("inproc:1:2"), byte(ib.UDSendOnly), []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40})
	f.Add(byte(11), bytes.Repeat([]byte{255}, 201), byte(ib.UDSendOnlyImm), []byte{0, 16})
	f.Add(byte(10), []byte{6 << 4}, byte(ib.RCSendOnly), []byte{0, 17, 20: 42, 21: 255})
	f.Fuzz(func(t *testing.T, op byte, raw []byte, op2 byte, data []byte) {
		fab := fabricUnder{name: "inproc", open: openInproc}
		host := newEndOn(t, fab, fab.context(t), func(in *verbs.QPInit) { in.Type = verbs.UD })
		host.bringAny(t, verbs.QPAttr{Port: 1, QKey: 7}, verbs.RTS)
		recv := newGuarded(t, host, 300, verbs.LocalWrite)
		must(t, host.qp.PostRecv(verbs.RecvWR{ID: 1, SG: []verbs.SGE{recv.sge()}}))
		must(t, host.ctx.OnMAD(func(from string, mad []byte) {
			if from == "" || len(mad) != 256 {
				t.Errorf("datagram of %d bytes from %q", len(mad), from)
			}
		}))
		port := openInproc(t)
		defer port.Close()
		conn, err := port.Open(fabric.Any, 0)
		must(t, err)
		must(t, conn.Connect(host.ctx.Addr(), -1))
		o := ib.Opcode(op2)
		if !o.Valid() {
			o = ib.UDSendOnly
		}
		h := ib.Header{Src: ib.GIDOf(port.Addr()), Dst: ib.GIDOf(host.ctx.Addr()), Opcode: o, PKey: 0xffff, DestQP: host.qp.QPN(), QKey: 7, SrcQP: 9}
		packets := []struct {
			op byte
			b  []byte
		}{{op, raw}, {11, []byte(port.Addr())}, {10, forge(h, recv.region, data)}}
		h.DestQP, h.QKey = ib.QP1, ib.GSIQKey
		packets = append(packets, struct {
			op byte
			b  []byte
		}{10, forge(h, recv.region, data)})
		for _, p := range packets {
			if len(p.b) <= port.Attr().MTU {
				conn.Send(&fabric.Header{Op: p.op}, p.b, nil)
			}
			for range 3 {
				if _, err := host.cq.Poll(nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		recv.check(t, "receive")
		if st := host.state(); st != verbs.RTS {
			t.Errorf("queue pair in %v", st)
		}
	})
}
