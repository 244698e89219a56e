package unit

import (
	"encoding/binary"
	"errors"
	"testing"

	"outboard/nicrt"
	"outboard/tagmatch"
	"outboard/verbs"
	"outboard/verbs/fabric"
)

// A forger is a member of the mesh that sends what it likes, under a NIC's lock of its own.
type forger struct {
	*rank
	t tester
}

// send puts any packet on the wire.
func (f forger) send(peer int, h nicrt.Header, payload []byte) {
	f.t.Helper()
	until(f.t, []*rank{f.rank}, "room for a packet", func() (sent bool) {
		f.with(func() { sent = f.nic.Send(peer, &h, payload) })
		return sent
	})
}

func rtsBytes(addr, n uint64, key, id uint32) []byte {
	r := rts{addr: addr, len: n, key: key, id: id}
	b := r.encode()
	return b[:]
}

func tagOf(source, tag int32) uint64 { return uint64(uint32(source))<<32 | uint64(uint32(tag)) }

// Packets that no unit sends are counted and harm nobody.
func TestMalformed(t *testing.T) {
	good := rtsBytes(1, 8, 1, 1)
	for _, c := range []struct {
		name    string
		h       nicrt.Header
		payload []byte
	}{
		{"op 0", nicrt.Header{}, nil},
		{"op 4", nicrt.Header{Op: opFIN + 1}, good},
		{"op 255", nicrt.Header{Op: 255}, nil},
		{"eager from -1", nicrt.Header{Op: opEager, Tag: tagOf(-1, 0)}, []byte{1}},
		{"eager from -2^31", nicrt.Header{Op: opEager, Tag: 1 << 63}, []byte{1}},
		{"eager with tag -1", nicrt.Header{Op: opEager, Tag: tagOf(0, -1)}, make([]byte, 70)},
		{"eager from -1 in an ended context", nicrt.Header{Op: opEager, Ctx: 99, Tag: tagOf(-1, 0)}, nil},
		{"request from -1", nicrt.Header{Op: opRTS, Tag: tagOf(-1, 0)}, good},
		{"request from -1 in an ended context", nicrt.Header{Op: opRTS, Ctx: 99, Tag: tagOf(-1, 0)}, good},
		{"empty request", nicrt.Header{Op: opRTS}, nil},
		{"short request", nicrt.Header{Op: opRTS}, good[:23]},
		{"long request", nicrt.Header{Op: opRTS}, append(good, 0)},
		{"request of 2^63 bytes", nicrt.Header{Op: opRTS}, rtsBytes(0, 1<<63, 1, 1)},
		{"request of 2^64-1 bytes", nicrt.Header{Op: opRTS}, rtsBytes(0, 1<<64-1, 1, 1)},
		{"FIN of nothing", nicrt.Header{Op: opFIN, Tag: 17}, nil},
		{"FIN of the last number", nicrt.Header{Op: opFIN, Tag: 1<<32 - 1}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			ranks := newRanks(t, plain, 3, testEager)
			ranks[1].with(func() { ranks[1].FailContext(99, errFailed) })
			r := ranks[1].recv(tagmatch.Key{Source: -1, Tag: -1}, make([]byte, 8)) // takes whatever passes for a message
			c.h.Program = Program
			forger{ranks[0], t}.send(1, c.h, c.payload)
			until(t, ranks, "the packet is there", func() bool { return ranks[1].counts().Malformed == 1 })
			if c := ranks[1].counts(); c.Eager+c.Rendezvous+c.Unexpected+c.Refused != 0 || r.Done.Load() != 0 {
				t.Errorf("counted as a message: %+v", c)
			}
			finished(t, ranks, ranks[2].send(1, tagmatch.Key{Source: 2}, make([]byte, 8)), r)
			wantErr(t, r, nil)
			exchange(t, ranks, 0, 1, 1000, true)
			ranks[1].clean()
		})
	}
}

// A FIN ends only a send to the peer that it comes from, after that has been told of it.
func TestForgedFIN(t *testing.T) {
	fin := func(id uint64) nicrt.Header { return nicrt.Header{Program: Program, Op: opFIN, Tag: id} }
	for _, c := range []struct {
		name  string
		from  int
		forge func(h *nicrt.Header, id uint32)
	}{
		{"another peer", 2, func(*nicrt.Header, uint32) {}},
		{"another generation", 1, func(h *nicrt.Header, id uint32) { h.Tag = uint64(id ^ 1<<genShift) }},
		{"another number", 1, func(h *nicrt.Header, id uint32) { h.Tag = uint64(id + 1) }},
		{"more than 32 bits", 1, func(h *nicrt.Header, id uint32) { h.Tag |= 1 << 32 }},
		{"unknown outcome", 1, func(h *nicrt.Header, _ uint32) { h.Aux = finRefused + 1 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			ranks := newRanks(t, plain, 3, testEager)
			s := requested(t, ranks, tagmatch.Key{Source: 0})
			h := fin(uint64(s.rts.id))
			c.forge(&h, s.rts.id)
			forger{ranks[c.from], t}.send(0, h, nil)
			until(t, ranks, "the packet is there", func() bool { return ranks[0].counts().Malformed == 1 })
			if s.Done.Load() != 0 {
				t.Fatal("the send has ended")
			}
			finished(t, ranks, ranks[1].recv(tagmatch.Key{Source: 0}, make([]byte, long)), s)
			wantErr(t, s, nil)
			ranks[0].clean()
		})
	}
	t.Run("not told yet", func(t *testing.T) {
		ranks := connected(t, plain)
		ranks[0].port.full.Store(true)
		s := ranks[0].send(1, tagmatch.Key{Source: 0}, make([]byte, long))
		forger{ranks[1], t}.send(0, fin(uint64(s.rts.id)), nil)
		until(t, ranks, "the packet is there", func() bool { return ranks[0].counts().Malformed == 1 })
		ranks[0].port.full.Store(false)
		finished(t, ranks, ranks[1].recv(tagmatch.Key{Source: 0}, make([]byte, long)), s)
		wantErr(t, s, nil)
		ranks[0].clean()
	})
	t.Run("twice", func(t *testing.T) {
		ranks := connected(t, plain)
		s := requested(t, ranks, tagmatch.Key{Source: 0})
		for range 2 {
			forger{ranks[1], t}.send(0, fin(uint64(s.rts.id)), nil)
		}
		until(t, ranks, "both are there", func() bool { return ranks[0].counts().Malformed == 1 })
		wantErr(t, s, nil)
		ranks[0].clean()
	})
}

// A request to send that names memory which is not exposed loses its sender the connection, and nobody else anything.
func TestForgedRequest(t *testing.T) {
	onWires(t, func(t *testing.T, w wire) {
		for _, c := range []struct {
			name string
			rts  func(s *Op) []byte
		}{
			{"no such key", func(*Op) []byte { return rtsBytes(1<<20, long, 0xffffff01, 0) }},
			{"key 0", func(*Op) []byte { return rtsBytes(1<<20, long, 0, 0) }},
			{"address outside", func(s *Op) []byte { return rtsBytes(s.rts.addr+1, long, s.rts.key, 0) }},
			{"address wraps", func(s *Op) []byte { return rtsBytes(1<<64-8, long, s.rts.key, 0) }},
			{"too long", func(s *Op) []byte { return rtsBytes(s.rts.addr, long+1, s.rts.key, 0) }},
			{"2^63-1 bytes", func(s *Op) []byte { return rtsBytes(s.rts.addr, 1<<63-1, s.rts.key, 0) }},
		} {
			t.Run(c.name, func(t *testing.T) {
				ranks := newRanks(t, w, 3, testEager)
				k := tagmatch.Key{Ctx: 5, Source: 0}
				s := requested(t, ranks, k) // an honest message, of which the forger knows all
				in := make([]byte, long+8)
				r := ranks[1].recv(tagmatch.Key{Source: 0}, in)
				forger{ranks[0], t}.send(1, header(opRTS, tagmatch.Key{Source: 0}), c.rts(s))
				finished(t, ranks, r, s)
				wantLost(t, r, 0)
				wantLost(t, s, 1)
				if !zeros(in[long:]) {
					t.Error("written past what is exposed")
				}
				exchange(t, ranks, 2, 1, long, true)
				exchange(t, ranks, 2, 0, long, true)
				stillDone(t, ranks, r, s)
				finished(t, ranks, ranks[1].recv(k, in)) // the honest one was kept
				for _, r := range ranks {
					r.clean()
				}
			})
		}
	})
}

// Requests of no length, or with the id of nothing, are messages like others: the answer finds nothing.
func TestOddRequests(t *testing.T) {
	ranks := connected(t, plain)
	r := ranks[1].recv(tagmatch.Key{Source: 7}, make([]byte, 8))
	forger{ranks[0], t}.send(1, header(opRTS, tagmatch.Key{Source: 7}), rtsBytes(0, 0, 0, 1<<32-1))
	finished(t, ranks, r)
	if wantErr(t, r, nil); r.Len != 0 || r.Source != 7 {
		t.Errorf("%d bytes from %d", r.Len, r.Source)
	}
	until(t, ranks, "the answer is there", func() bool { return ranks[0].counts().Malformed == 1 })
	r = ranks[1].recv(tagmatch.Key{Source: 7}, nil)
	forger{ranks[0], t}.send(1, header(opRTS, tagmatch.Key{Source: 7}), rtsBytes(0, 1<<63-1, 0, 9))
	finished(t, ranks, r)
	if wantErr(t, r, ErrTruncate); r.Len != 1<<63-1 {
		t.Errorf("%d bytes", r.Len)
	}
	exchange(t, ranks, 0, 1, 1000, false)
}

// A message of many packets, or of fewer bytes than a header, is none of the unit's.
func TestForgedPackets(t *testing.T) {
	open := plain.net()
	ranks := []*rank{openRank(t, plain, open, 0, 3, testEager), openRank(t, plain, open, 1, 3, testEager)}
	introduce(ranks)
	post := rawMember(t, ranks[1], open)
	for i, op := range []uint8{opEager, opRTS, opFIN} {
		post(rawMessage(nicrt.Header{Program: Program, Op: op}, make([]byte, 6000)))
		until(t, ranks, "the message is there", func() bool { return ranks[1].counts().Malformed == uint64(i+1) })
	}
	for _, n := range []int{0, 1, nicrt.HeaderLen - 1} {
		post(rawMessage(nicrt.Header{Program: Program, Op: opEager}, nil)[:n])
	}
	until(t, ranks, "the strays are there", func() bool { return ranks[1].nic.Account().Strays == 3 })
	post(rawMessage(header(opEager, tagmatch.Key{Source: 2}), []byte("good")))
	in := make([]byte, 4)
	finished(t, ranks, ranks[1].recv(tagmatch.Key{Source: 2}, in))
	wantBytes(t, in, []byte("good"))
	exchange(t, ranks, 0, 1, 1000, true)
	ranks[1].clean()
}

// rawMember opens a port without a NIC as member 2, connects it with r, and returns what sends a message of any length.
func rawMember(t *testing.T, r *rank, open func(int) (fabric.Port, error)) func([]byte) {
	t.Helper()
	port, err := open(3)
	if err != nil {
		t.Fatal(err)
	}
	ctx, err := verbs.Open(port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ctx.Close() })
	pd, errPD := ctx.AllocPD()
	cq, errCQ := ctx.CreateCQ(64, nil)
	eng := ctx.Engine()
	eng.Lock()
	defer eng.Unlock()
	qp, errQP := eng.CreateQP(pd, verbs.QPInit{SendCQ: cq, RecvCQ: cq, Cap: verbs.QPCap{SendWR: 16, SendSGE: 1}}, r.self)
	if err := errors.Join(errPD, errCQ, errQP); err != nil {
		t.Fatal(err)
	}
	a := verbs.QPAttr{State: verbs.Init, Port: 1, Access: verbs.RemoteRead, AV: r.nic.Addr(), PathMTU: ctx.FabricAttr().MTU,
		DestQPN: verbs.QPNOf(2), MaxRdAtomic: 1, MaxDestRdAtomic: 1, RNRRetry: 7}
	err = eng.Modify(qp, a, verbs.AttrState|verbs.AttrPKeyIndex|verbs.AttrPort|verbs.AttrAccess)
	a.State = verbs.RTR
	err = errors.Join(err, eng.Modify(qp, a, verbs.AttrState|verbs.AttrAV|verbs.AttrPathMTU|verbs.AttrDestQPN|verbs.AttrRQPSN|
		verbs.AttrMaxDestRdAtomic|verbs.AttrMinRNRTimer))
	a.State = verbs.RTS
	err = errors.Join(err, eng.Modify(qp, a, verbs.AttrState|verbs.AttrSQPSN|verbs.AttrTimeout|verbs.AttrRetryCnt|verbs.AttrRNRRetry|
		verbs.AttrMaxRdAtomic))
	if err != nil {
		t.Fatal(err)
	}
	r.nic.SetPeer(2, ctx.Addr())
	return func(b []byte) {
		t.Helper()
		eng.Lock()
		defer eng.Unlock()
		if err := eng.PostSend(qp, &verbs.SendWR{SG: []verbs.SGE{{Buf: b, LKey: verbs.ReservedLKey}}}); err != nil {
			t.Fatal(err)
		}
	}
}

// rawMessage is a message as it lies on the wire.
func rawMessage(h nicrt.Header, payload []byte) []byte {
	b := make([]byte, nicrt.HeaderLen, nicrt.HeaderLen+len(payload))
	h.Encode(b)
	return append(b, payload...)
}

// FuzzArrival has a peer send packets, see decodePacket, to a unit with receives posted, sends that wait for another peer,
// and a context that has ended.
func FuzzArrival(f *testing.F) {
	f.Add([]byte{2, opEager, 0, 'a', 'b'})
	f.Add(append([]byte{rtsLen, opRTS, 0}, rtsBytes(0, 8, 1, 0)...))
	f.Add([]byte{0, opFIN, 0, 0, opFIN, 1, 0, opFIN, 0x40})
	f.Add(append([]byte{rtsLen, opRTS, 0x30}, rtsBytes(0, 1<<40, 1, 0)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 2000 {
			return
		}
		ranks := newRanks(t, plain, 3, testEager)
		sends := []*Op{requested(t, ranks, tagmatch.Key{Ctx: 1, Source: 0}), requested(t, ranks, tagmatch.Key{Ctx: 1, Source: 0})}
		ranks[0].with(func() { ranks[0].FailContext(3, errFailed) })
		var receives []*Op
		for i := range 4 {
			receives = append(receives, ranks[0].recv(tagmatch.Key{Ctx: uint32(i % 2), Source: -1, Tag: -1}, make([]byte, 30*i)))
		}
		sent := uint64(0)
		for len(data) >= 3 {
			h, payload := decodePacket(&data)
			if ranks[2].lost(0) {
				break // it has named memory that is not there
			}
			ranks[2].with(func() {
				if ranks[2].nic.Send(0, &h, payload) {
					sent++
				}
			})
			ranks[0].poll()
		}
		until(t, ranks, "all packets are there", func() bool {
			c := ranks[0].counts()
			return c.Eager+c.Rendezvous+c.Malformed >= sent || ranks[0].lost(2)
		})
		ranks[0].with(func() {
			if err := ranks[0].check(); err != nil {
				t.Error(err)
			}
		})
		for _, s := range sends { // they are to rank 1: nothing that rank 2 says ends them
			if s.Done.Load() != 0 {
				t.Fatalf("a send to another has ended: %v", s.Err)
			}
		}
		for _, r := range ranks {
			r.with(func() {
				for ctx := range uint32(8) {
					r.FailContext(ctx, errFailed)
				}
			})
		}
		finished(t, ranks, append(sends, receives...)...)
		settle(ranks)
		ranks[0].clean()
	})
}

// decodePacket takes one packet off data, which has at least 3 bytes: the length of the payload, Op, Aux with Ctx and Tag,
// and the payload, from which Tag may be taken too.
func decodePacket(data *[]byte) (nicrt.Header, []byte) {
	d := *data
	n, mix := min(int(d[0]), len(d)-3), d[2]
	h := nicrt.Header{Program: Program, Op: d[1] % 6, Aux: uint16(mix & 3), Ctx: uint32(mix >> 4 & 3), Tag: tagOf(2, int32(mix>>2&1))}
	if mix&0x40 != 0 {
		h.Tag = binary.LittleEndian.Uint64(append(d[3:3+n:3+n], make([]byte, 8)...))
	}
	if mix&0x80 != 0 {
		h.Tag |= 1 << 63
	}
	payload := d[3 : 3+n]
	*data = d[3+n:]
	return h, payload
}
