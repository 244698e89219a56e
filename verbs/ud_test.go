package verbs_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outboard/verbs"
)

const testQKey = 0x1ee7

// udEnd is one side of UD, in RTS.
func udEnd(t testing.TB, f fabricUnder) *end {
	t.Helper()
	e := typedEnd(t, f, verbs.UD)
	e.bringUD(t, testQKey)
	return e
}

func (e *end) bringUD(t testing.TB, key uint32) {
	t.Helper()
	e.bring(t, verbs.QPAttr{Port: 1, QKey: key}, verbs.RTS)
}

// udPair are two sides of UD that know each other.
func udPair(t testing.TB, f fabricUnder) (a, b *end) {
	t.Helper()
	return udEnd(t, f), udEnd(t, f)
}

// to is the destination of datagrams from e to peer.
func (e *end) to(t testing.TB, peer *end) *verbs.UDDest {
	t.Helper()
	return &verbs.UDDest{AH: e.handle(t, peer), QPN: peer.qp.QPN(), QKey: testQKey}
}

// maxDatagram is the longest message of UD in bytes.
func (e *end) maxDatagram(t testing.TB) int {
	t.Helper()
	p, err := e.ctx.QueryPort(1)
	must(t, err)
	return p.ActiveMTU
}

func TestUDSizes(t *testing.T) {
	eachLossless(t, func(t *testing.T, f fabricUnder) {
		a, b := udPair(t, f)
		most := a.maxDatagram(t)
		dest := a.to(t, b)
		for _, n := range []int{0, 1, 2, 3, 4, 100, most - 1, most} {
			for _, imm := range []bool{false, true} {
				for _, inline := range []bool{false, true} {
					if inline && n > defaultCap.Inline {
						continue
					}
					t.Run(fmt.Sprintf("%d bytes, immediate %v, inline %v", n, imm, inline), func(t *testing.T) {
						src, dst := a.reg(t, pattern(n, byte(n)), 0), b.reg(t, make([]byte, verbs.GRHLen+n+4), verbs.LocalWrite)
						must(t, b.qp.PostRecv(verbs.RecvWR{ID: 1, SG: split(dst, 3)}))
						wr := verbs.SendWR{ID: 2, Flags: verbs.Signaled, SG: split(src, 3), UD: dest}
						want := verbs.WC{ID: 1, Opcode: verbs.WCRecv, Flags: verbs.WithGRH, QPN: b.qp.QPN(), SrcQP: a.qp.QPN(), Bytes: verbs.GRHLen + n}
						if imm {
							wr.Opcode, wr.Imm = verbs.SendImm, 0xfeedface
							want.Imm, want.HasImm = 0xfeedface, true
						}
						if inline {
							wr.Flags |= verbs.Inline
						}
						must(t, a.qp.PostSend(wr))
						if wc := a.expect(t, 2, verbs.Success); wc.Opcode != verbs.WCSend {
							t.Errorf("send completion %+v", wc)
						}
						if d := cmp.Diff(want, b.wait(t)); d != "" {
							t.Errorf("receive completion: %s", d)
						}
						if !bytes.Equal(dst.b[verbs.GRHLen:][:n], src.b) || !bytes.Equal(dst.b[verbs.GRHLen+n:], make([]byte, 4)) {
							t.Error("other data arrived, or more, than what was sent")
						}
					})
				}
			}
		}
	})
}

func TestUDTooLong(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := udPair(t, f)
		src := a.reg(t, pattern(a.maxDatagram(t)+1, 1), 0)
		must(t, a.qp.PostSend(verbs.SendWR{ID: 1, SG: []verbs.SGE{src.sge()}, UD: a.to(t, b)}))
		a.expect(t, 1, verbs.LocLenErr)
		if a.state() != verbs.SQE {
			t.Errorf("queue pair in %v, want SQE", a.state())
		}
		a.modify(t, verbs.QPAttr{State: verbs.RTS}, verbs.AttrState)
		must(t, a.qp.PostSend(verbs.SendWR{ID: 2, Flags: verbs.Signaled, SG: []verbs.SGE{src.part(0, 9)}, UD: a.to(t, b)}))
		a.expect(t, 2, verbs.Success)
	})
}

// TestUDHeader checks the routing header that a datagram brings, and that a reply finds its way by it.
func TestUDHeader(t *testing.T) {
	for index := range 2 {
		t.Run(fmt.Sprintf("source GID %d", index), func(t *testing.T) {
			eachLossless(t, func(t *testing.T, f fabricUnder) {
				a, b := udPair(t, f)
				ah, err := a.ctx.CreateAH(a.pd, verbs.AHAttr{Addr: b.ctx.Addr(), Port: 1,
					GRH: verbs.GRH{SGIDIndex: uint8(index), HopLimit: 9, TrafficClass: 0xa5, FlowLabel: 0xabcde}})
				must(t, err)
				src, dst := a.reg(t, pattern(50, 1), 0), b.reg(t, make([]byte, 200), verbs.LocalWrite)
				must(t, b.qp.PostRecv(verbs.RecvWR{ID: 1, SG: []verbs.SGE{dst.sge()}}))
				must(t, a.qp.PostSend(verbs.SendWR{SG: []verbs.SGE{src.sge()}, UD: &verbs.UDDest{AH: ah, QPN: b.qp.QPN(), QKey: testQKey}}))
				wc := b.expect(t, 1, verbs.Success)
				grh := dst.b[:verbs.GRHLen]
				sgid, err := a.ctx.QueryGID(1, index)
				must(t, err)
				dgid, err := b.ctx.QueryGID(1, index)
				must(t, err)
				if got := binary.BigEndian.Uint32(grh); got != 6<<28|0xa5<<20|0xabcde {
					t.Errorf("version, class and flow label %#x", got)
				}
				// RoCEv2: the headers of UDP, base and datagram, 50 bytes padded to 52, and the ICRC.
				if got := binary.BigEndian.Uint16(grh[4:]); got != 8+12+8+52+4 || grh[6] != 17 || grh[7] != 9 {
					t.Errorf("payload of %d bytes, next header %d, hop limit %d; want 84, 17, 9", got, grh[6], grh[7])
				}
				if !bytes.Equal(grh[8:24], sgid[:]) || !bytes.Equal(grh[24:], dgid[:]) {
					t.Errorf("from %x to %x, want %x and %x", grh[8:24], grh[24:], sgid, dgid)
				}

				back, err := b.ctx.CreateAHFromWC(b.pd, 1, &wc, dst.b)
				must(t, err)
				attr, err := back.Query()
				must(t, err)
				if want := (verbs.AHAttr{DGID: sgid, Port: 1, GRH: verbs.GRH{SGIDIndex: uint8(index), HopLimit: 9, TrafficClass: 0xa5, FlowLabel: 0xabcde}}); attr != want {
					t.Errorf("handle %+v, want %+v", attr, want)
				}
				room := a.reg(t, make([]byte, 100), verbs.LocalWrite)
				must(t, a.qp.PostRecv(verbs.RecvWR{ID: 3, SG: []verbs.SGE{room.sge()}}))
				must(t, b.qp.PostSend(verbs.SendWR{SG: []verbs.SGE{dst.part(40, 50)}, UD: &verbs.UDDest{AH: back, QPN: wc.SrcQP, QKey: testQKey}}))
				if wc := a.expect(t, 3, verbs.Success); wc.SrcQP != b.qp.QPN() || !bytes.Equal(room.b[40:90], src.b) {
					t.Errorf("reply %+v, or other data", wc)
				}
			})
		})
	}
}

// TestUDFromWCRefusals: completions and headers that lead nowhere.
func TestUDFromWCRefusals(t *testing.T) {
	e := udEnd(t, plainFabrics[0])
	own, err := e.ctx.QueryGID(1, 1)
	must(t, err)
	good := make([]byte, verbs.GRHLen)
	copy(good[8:], own[:])
	copy(good[24:], own[:])
	with := &verbs.WC{Flags: verbs.WithGRH}
	ah, err := e.ctx.CreateAHFromWC(e.pd, 1, with, good)
	must(t, err)
	must(t, ah.Destroy())
	for name, c := range map[string]struct {
		wc    *verbs.WC
		port  uint8
		spoil func(grh []byte) []byte
		want  error
	}{
		"no header":           {&verbs.WC{}, 1, func(b []byte) []byte { return b }, verbs.ErrInvalid},
		"short header":        {with, 1, func(b []byte) []byte { return b[:39] }, verbs.ErrInvalid},
		"another port":        {with, 2, func(b []byte) []byte { return b }, verbs.ErrInvalid},
		"to another":          {with, 1, func(b []byte) []byte { b[39]++; return b }, verbs.ErrInvalid},
		"from an unknown one": {with, 1, func(b []byte) []byte { b[23]++; return b }, verbs.ErrUnresolved},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := e.ctx.CreateAHFromWC(e.pd, c.port, c.wc, c.spoil(bytes.Clone(good)))
			wantErr(t, err, c.want)
		})
	}
}

func TestUDQKey(t *testing.T) {
	for _, c := range []struct {
		name            string
		own, send, peer uint32
		arrives         bool
	}{
		{"same", 1, 5, 5, true},
		{"other", 5, 4, 5, false},
		{"zero", 5, 0, 5, false},
		{"high bit: the sender's own", 5, 1 << 31, 5, true},
		{"high bit, another below", 5, 1<<31 | 77, 5, true},
		{"high bit, own is not the peer's", 6, 1<<31 | 5, 5, false},
		{"own with the high bit", 1<<31 | 9, 1 << 31, 1<<31 | 9, true},
		{"the high bit cannot be claimed", 9, 1<<31 | 9, 1<<31 | 9, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachLossless(t, func(t *testing.T, f fabricUnder) {
				a, b := typedEnd(t, f, verbs.UD), typedEnd(t, f, verbs.UD)
				a.bringUD(t, c.own)
				b.bringUD(t, c.peer)
				dst := b.reg(t, make([]byte, 40), verbs.LocalWrite)
				must(t, b.qp.PostRecv(verbs.RecvWR{ID: 1, SG: []verbs.SGE{dst.sge()}}))
				dest := a.to(t, b)
				dest.QKey = c.send
				must(t, a.qp.PostSend(verbs.SendWR{ID: 2, Flags: verbs.Signaled, UD: dest}))
				a.expect(t, 2, verbs.Success)
				if c.arrives {
					b.expect(t, 1, verbs.Success)
				} else {
					b.lost(t, 1)
				}
			})
		})
	}
}

// lost waits until n packets have been dropped, and checks that nothing has completed.
func (e *end) lost(t testing.TB, n uint64) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); e.ctx.HWCounters().Dropped < n; {
		e.quiet(t, 0)
		if time.Now().After(end) {
			t.Fatalf("%d packets dropped, want %d", e.ctx.HWCounters().Dropped, n)
		}
	}
	e.quiet(t, 0)
}

// TestUDQKeyChanges at each state that allows it.
func TestUDQKeyChanges(t *testing.T) {
	a, b := udPair(t, plainFabrics[0])
	dst := b.reg(t, make([]byte, 40), verbs.LocalWrite)
	for i := range uint64(4) {
		b.modify(t, verbs.QPAttr{QKey: uint32(100 + i)}, qkey)
		must(t, b.qp.PostRecv(verbs.RecvWR{ID: i, SG: []verbs.SGE{dst.sge()}}))
		for _, key := range []uint32{uint32(100 + i - 1), uint32(100 + i)} {
			dest := a.to(t, b)
			dest.QKey = key
			must(t, a.qp.PostSend(verbs.SendWR{UD: dest}))
		}
		b.expect(t, i, verbs.Success)
		b.lost(t, i+1)
	}
}

// TestUDIsLostSilently: no receive, one that is too short, a queue pair that is not there or not ready.
func TestUDIsLostSilently(t *testing.T) {
	eachLossless(t, func(t *testing.T, f fabricUnder) {
		a, b := udPair(t, f)
		dst := b.reg(t, make([]byte, 64), verbs.LocalWrite)
		src := a.reg(t, pattern(25, 1), 0)
		n := uint64(0)
		send := func(what string, qpn uint32, dropped uint64) {
			t.Helper()
			dest := a.to(t, b)
			dest.QPN = qpn
			must(t, a.qp.PostSend(verbs.SendWR{ID: 9, Flags: verbs.Signaled, SG: []verbs.SGE{src.sge()}, UD: dest}))
			a.expect(t, 9, verbs.Success)
			n += dropped
			if b.lost(t, n); b.ctx.HWCounters().Dropped != n {
				t.Errorf("%s: %d packets dropped, want %d", what, b.ctx.HWCounters().Dropped, n)
			}
			b.quiet(t, 200*time.Microsecond)
		}
		send("no receive", b.qp.QPN(), 1)
		must(t, b.qp.PostRecv(verbs.RecvWR{ID: 1, SG: []verbs.SGE{dst.sge()}})) // 24 bytes besides the header
		send("a receive that is too short", b.qp.QPN(), 1)
		must(t, a.qp.PostSend(verbs.SendWR{SG: []verbs.SGE{src.part(0, 24)}, UD: a.to(t, b)}))
		b.expect(t, 1, verbs.Success) // it was kept for the next
		send("no such queue pair", 0xfffff0, 1)
		send("QP 0", 0, 1)
		rc, uc := newEndOn(t, f, b.ctx, nil), newEndOn(t, f, b.ctx, func(in *verbs.QPInit) { in.Type = verbs.UC })
		send("a queue pair of RC", rc.qp.QPN(), 1)
		send("a queue pair of UC", uc.qp.QPN(), 1)
		for _, s := range []verbs.State{verbs.Reset, verbs.Init, verbs.Err} {
			x := newEndOn(t, f, b.ctx, func(in *verbs.QPInit) { in.Type = verbs.UD })
			if s >= verbs.Init {
				x.bring(t, verbs.QPAttr{Port: 1, QKey: testQKey}, verbs.Init)
			}
			if s == verbs.Err {
				x.modify(t, verbs.QPAttr{State: verbs.Err}, verbs.AttrState)
			}
			send(s.String(), x.qp.QPN(), 1)
		}
		b.noEvent(t)
		a.noEvent(t)
	})
}

// TestUDMalformedReceive: a receive whose memory is not the queue pair's fails it.
func TestUDMalformedReceive(t *testing.T) {
	eachLossless(t, func(t *testing.T, f fabricUnder) {
		a, b := udPair(t, f)
		must(t, b.qp.PostRecv(verbs.RecvWR{ID: 1, SG: []verbs.SGE{{Buf: make([]byte, 100), LKey: 0x7700}}}, verbs.RecvWR{ID: 2}))
		must(t, a.qp.PostSend(verbs.SendWR{ID: 3, Flags: verbs.Signaled, UD: a.to(t, b)}))
		a.expect(t, 3, verbs.Success)
		b.expect(t, 1, verbs.LocProtErr)
		b.expect(t, 2, verbs.WRFlushErr)
		b.reaches(t, verbs.Err)
	})
}

func TestUDHandles(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := udPair(t, f)
		other, err := a.ctx.AllocPD()
		must(t, err)
		foreign, err := a.ctx.CreateAH(other, verbs.AHAttr{Addr: b.ctx.Addr(), Port: 1})
		must(t, err)
		must(t, a.qp.PostSend(verbs.SendWR{ID: 1, UD: &verbs.UDDest{AH: foreign, QPN: b.qp.QPN(), QKey: testQKey}}))
		a.expect(t, 1, verbs.LocQPOpErr)
		if a.state() != verbs.SQE {
			t.Errorf("queue pair in %v, want SQE", a.state())
		}
		a.modify(t, verbs.QPAttr{State: verbs.RTS}, verbs.AttrState)

		gone := a.handle(t, b)
		must(t, gone.Destroy())
		for name, d := range map[string]*verbs.UDDest{
			"none": nil, "no handle": {}, "destroyed": {AH: gone, QPN: b.qp.QPN()}, "of another context": {AH: b.handle(t, a), QPN: b.qp.QPN()},
			"number of more than 24 bits": {AH: a.handle(t, b), QPN: 1 << 24},
		} {
			t.Run(name, func(t *testing.T) { wantErr(t, a.qp.PostSend(verbs.SendWR{UD: d}), verbs.ErrInvalid) })
		}
		for _, op := range []verbs.Opcode{verbs.SendInv, verbs.Write, verbs.WriteImm, verbs.Read, verbs.FetchAdd, verbs.CompareSwap} {
			t.Run(op.String(), func(t *testing.T) {
				wantErr(t, a.qp.PostSend(verbs.SendWR{Opcode: op, UD: a.to(t, b)}), verbs.ErrInvalid)
			})
		}
		if a.state() != verbs.RTS {
			t.Errorf("queue pair in %v, want RTS", a.state())
		}
	})
}

// TestUDDestIsCopied changes a destination, and destroys its handle, while the request waits.
func TestUDDestIsCopied(t *testing.T) {
	a, b := udPair(t, plainFabrics[0])
	dst := b.reg(t, make([]byte, 40), verbs.LocalWrite)
	must(t, b.qp.PostRecv(verbs.RecvWR{ID: 1, SG: []verbs.SGE{dst.sge()}}))
	a.modify(t, verbs.QPAttr{State: verbs.SQD}, verbs.AttrState)
	dest := a.to(t, b)
	must(t, a.qp.PostSend(verbs.SendWR{ID: 2, Flags: verbs.Signaled, UD: dest}))
	must(t, dest.AH.Destroy())
	*dest = verbs.UDDest{}
	a.resume(t)
	a.expect(t, 2, verbs.Success)
	b.expect(t, 1, verbs.Success)
}

func TestUDToItself(t *testing.T) {
	eachLossless(t, func(t *testing.T, f fabricUnder) {
		a := udEnd(t, f)
		b := newEndOn(t, f, a.ctx, func(in *verbs.QPInit) { in.Type = verbs.UD })
		b.bringUD(t, testQKey)
		dst := a.reg(t, make([]byte, 50), verbs.LocalWrite)
		for _, from := range []*end{a, b} {
			src := from.reg(t, pattern(10, 4), 0)
			must(t, a.qp.PostRecv(verbs.RecvWR{ID: 1, SG: []verbs.SGE{dst.sge()}}))
			must(t, from.qp.PostSend(verbs.SendWR{SG: []verbs.SGE{src.sge()}, UD: from.to(t, a)}))
			if wc := a.expect(t, 1, verbs.Success); wc.SrcQP != from.qp.QPN() || !bytes.Equal(dst.b[40:], src.b) {
				t.Errorf("receive completion %+v, or other data", wc)
			}
			clear(dst.b)
		}
	})
}

// TestUDOverSRQ: what finds no receive is lost, and one that is too short is used for the next.
func TestUDOverSRQ(t *testing.T) {
	eachLossless(t, func(t *testing.T, f fabricUnder) {
		a, b := typedEnd(t, f, verbs.UD), typedEnd(t, f, verbs.UD)
		s := b.newSRQ(t, someSRQ)
		b.takesFrom(t, s)
		c := b.sharer(t)
		for _, e := range []*end{a, b, c} {
			e.bringUD(t, testQKey)
		}
		src, dst := a.reg(t, pattern(100, 1), 0), b.reg(t, make([]byte, 60), verbs.LocalWrite)
		must(t, a.qp.PostSend(verbs.SendWR{UD: a.to(t, b)}))
		b.lost(t, 1)
		must(t, s.PostRecv(verbs.RecvWR{ID: 1, SG: []verbs.SGE{dst.sge()}}))
		must(t, a.qp.PostSend(verbs.SendWR{SG: []verbs.SGE{src.sge()}, UD: a.to(t, b)})) // too long
		b.lost(t, 2)
		must(t, a.qp.PostSend(verbs.SendWR{SG: []verbs.SGE{src.part(0, 20)}, UD: a.to(t, b)}))
		if wc := b.expect(t, 1, verbs.Success); wc.QPN != b.qp.QPN() || !bytes.Equal(dst.b[40:], src.b[:20]) {
			t.Errorf("receive completion %+v, or other data", wc)
		}
		must(t, s.PostRecv(verbs.RecvWR{ID: 2, SG: []verbs.SGE{dst.sge()}}))
		must(t, a.qp.PostSend(verbs.SendWR{UD: a.to(t, c)}))
		if wc := b.expect(t, 2, verbs.Success); wc.QPN != c.qp.QPN() {
			t.Errorf("receive completion %+v, want that of queue pair %#x", wc, c.qp.QPN())
		}
	})
}

// TestUDOverALossyWire: what arrives is whole, and nothing fails.
func TestUDOverALossyWire(t *testing.T) {
	const n = 400
	f := fabricUnder{name: "lossy", open: openLossy}
	a, b := udPair(t, f)
	dst := b.reg(t, make([]byte, 240), verbs.LocalWrite)
	sent := 0
	got := 0
	wcs := make([]verbs.WC, 64)
	dest := a.to(t, b)
	for i := range uint64(n) {
		src := a.reg(t, pattern(int(i%200), byte(i)), 0)
		must(t, b.qp.PostRecv(verbs.RecvWR{ID: i, SG: []verbs.SGE{dst.sge()}}))
		must(t, a.qp.PostSend(verbs.SendWR{ID: i, Opcode: verbs.SendImm, Imm: uint32(i), Flags: verbs.Signaled, SG: []verbs.SGE{src.sge()}, UD: dest}))
		a.expect(t, i, verbs.Success)
		must(t, src.Dereg())
		sent++
		k, err := b.cq.Poll(wcs)
		must(t, err)
		for _, wc := range wcs[:k] {
			got++
			if wc.Status != verbs.Success || wc.Bytes != 40+int(wc.Imm%200) {
				t.Fatalf("receive completion %+v", wc)
			}
		}
		if sent-got > 60 {
			t.Fatalf("%d of %d arrived", got, sent)
		}
	}
	if got < n*8/10 {
		t.Errorf("%d of %d arrived", got, n)
	}
}
