package verbs_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"outboard/verbs"
)

const allBits = ^uint64(0)

func wantBytes(t testing.TB, got, want []byte, what string) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("%s: %d bytes differ from the %d that were sent", what, len(got), len(want))
	}
}

func TestTMExpected(t *testing.T) {
	eachTM(t, func(t *testing.T, f fabricUnder) {
		p := newTMPair(t, f, verbs.TMInit{})
		for i, n := range []int{0, 1, 100, 1024 - verbs.TMHSize, 1024 - verbs.TMHSize + 1, 5000} {
			t.Run(sized(n), func(t *testing.T) {
				tag, data := uint64(i)<<56|5, pattern(n, byte(i))
				h := p.add(t, uint64(i), tag, allBits, p.mem.part(0, 3), p.mem.part(10, n+1))
				p.send(t, eager(tag, data), nil)
				p.received(t, uint64(i), h, tag, n)
				wantBytes(t, append(append([]byte(nil), p.mem.b[:min(3, n)]...), p.mem.b[10:][:max(0, n-3)]...), data, "buffer")
			})
		}
		must(t, p.b.qp.Destroy())
		must(t, p.mem.Dereg())
	})
}

func TestTMMatchesInAnyOrder(t *testing.T) {
	eachTM(t, func(t *testing.T, f fabricUnder) {
		p := newTMPair(t, f, verbs.TMInit{})
		const n = 40
		var handles [n]uint32
		for i := range uint64(n) {
			handles[i] = p.add(t, i, i, allBits, p.mem.part(int(i)*100, 100))
		}
		for i := uint64(n); i > 0; {
			i--
			p.send(t, eager(i, pattern(100, byte(i))), nil)
			p.received(t, i, handles[i], i, 100)
			wantBytes(t, p.mem.b[i*100:][:100], pattern(100, byte(i)), "buffer")
		}
		p.b.quiet(t, time.Millisecond)
	})
}

func TestTMRemove(t *testing.T) {
	p := newTMPair(t, plainFabrics[0], verbs.TMInit{})
	h := p.add(t, 1, 7, allBits, p.mem.part(0, 100))
	p.del(t, h, verbs.Success, 0)
	p.del(t, h, verbs.TMErr, 0)
	p.del(t, 12345, verbs.TMErr, 0)
	p.send(t, eager(7, []byte("x")), nil)
	wantBytes(t, p.unexpected(t, verbs.WCTMRecv, 0), eager(7, []byte("x")), "receive")
	p.sync(t, 1)

	// The race: the message is there first.
	h = p.add(t, 2, 7, allBits, p.mem.part(0, 100))
	p.send(t, eager(7, []byte("y")), nil)
	op := verbs.TMOp{ID: 3, Kind: verbs.TagDel, Flags: verbs.OpsSignaled, Handle: h}
	must(t, p.srq.PostOps(&op))
	p.received(t, 2, h, 7, 1)
	p.b.expect(t, 3, verbs.TMErr)

	// Unsignaled operations complete never, also if they fail.
	must(t, p.srq.PostOps(&verbs.TMOp{Kind: verbs.TagDel, Handle: h}, &verbs.TMOp{Kind: verbs.TagSync, UnexpectedCnt: 1}))
	p.b.quiet(t, time.Millisecond)
	must(t, p.b.qp.Destroy())
	must(t, p.srq.Destroy())
	must(t, p.mem.Dereg())
}

func TestTMRepeat(t *testing.T) {
	p := newTMPair(t, plainFabrics[0], verbs.TMInit{MaxTags: 4})
	for round := range 50 {
		var handles [4]uint32
		for i := range handles {
			handles[i] = p.add(t, uint64(i), 9, allBits, p.mem.part(i*8, 8))
		}
		for i := range handles {
			p.send(t, eager(9, pattern(8, byte(round+i))), nil)
			p.received(t, uint64(i), handles[i], 9, 8)
			wantBytes(t, p.mem.b[i*8:][:8], pattern(8, byte(round+i)), "buffer")
		}
	}
}

func TestTMMasks(t *testing.T) {
	for _, tt := range []struct {
		name    string
		entries [][2]uint64 // tag and mask
		tags    []uint64
		want    []int // entry of each message, -1 for none
	}{
		{"wildcard first", [][2]uint64{{0, 0}, {5, allBits}}, []uint64{5, 5}, []int{0, 1}},
		{"wildcard last", [][2]uint64{{5, allBits}, {0, 0}}, []uint64{5, 5, 5}, []int{0, 1, -1}},
		{"fields", [][2]uint64{{0x100, 0xff00}, {0x05, 0xff}, {0x205, 0xffff}}, []uint64{0x205, 0x105, 0x1000205}, []int{1, 0, 2}},
		{"a tag outside its mask matches nothing", [][2]uint64{{0x105, 0xff}}, []uint64{0x105, 0x05}, []int{-1, -1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newTMPair(t, plainFabrics[0], verbs.TMInit{})
			handles := make([]uint32, len(tt.entries))
			for i, e := range tt.entries {
				handles[i] = p.add(t, uint64(i), e[0], e[1], p.mem.part(i*8, 8))
			}
			for i, tag := range tt.tags {
				p.send(t, eager(tag, []byte("data")), nil)
				if tt.want[i] < 0 {
					p.unexpected(t, verbs.WCTMRecv, 0)
				} else {
					p.received(t, uint64(tt.want[i]), handles[tt.want[i]], tag, 4)
				}
			}
		})
	}
}

// TestTMTwoSenders has two connections share the list.
func TestTMTwoSenders(t *testing.T) {
	eachTM(t, func(t *testing.T, f fabricUnder) {
		p := newTMPair(t, f, verbs.TMInit{})
		a2, b2 := newEnd(t, f), *p.b
		var err error
		b2.qp, err = p.b.ctx.CreateQP(p.b.pd, verbs.QPInit{SendCQ: p.b.cq, RecvCQ: p.b.cq, SRQ: p.srq})
		must(t, err)
		p.connect(t, a2, &b2, nil)
		p2 := *p
		p2.a, p2.b, p2.out = a2, &b2, a2.reg(t, make([]byte, tmMem), verbs.LocalWrite|verbs.RemoteRead)
		for i := range uint64(20) {
			h, h2 := p.add(t, i, i, 0xff, p.mem.part(0, 3000)), p.add(t, i+100, i|0x100, allBits, p.mem.part(4000, 3000))
			p2.send(t, eager(i|0x100, pattern(2000, 2)), nil)
			p2.received(t, i, h, i|0x100, 2000)
			p.send(t, eager(i|0x100, pattern(10, 1)), nil)
			p.received(t, i+100, h2, i|0x100, 10)
			wantBytes(t, p.mem.b[:2000], pattern(2000, 2), "buffer")
			wantBytes(t, p.mem.b[4000:4010], pattern(10, 1), "buffer")
		}
	})
}

func TestTMUnexpected(t *testing.T) {
	eachTM(t, func(t *testing.T, f fabricUnder) {
		p := newTMPair(t, f, verbs.TMInit{})
		p.add(t, 1, 1, allBits, p.mem.part(0, 100))
		for i, tt := range []struct {
			n      int
			inline bool
		}{{0, true}, {100, true}, {100, false}, {1008, false}, {1009, false}, {6000, false}} {
			t.Run(fmt.Sprintf("%d bytes, inline %v", tt.n, tt.inline), func(t *testing.T) {
				msg := eager(0x1234, pattern(tt.n, 3))
				p.send(t, msg, func(wr *verbs.SendWR) {
					if tt.inline {
						wr.Flags |= verbs.Inline
					}
				})
				wantBytes(t, p.unexpected(t, verbs.WCTMRecv, 0), msg, "receive")
				p.sync(t, uint32(i+1))
			})
		}
	})
}

func TestTMNoTag(t *testing.T) {
	p := newTMPair(t, plainFabrics[0], verbs.TMInit{})
	p.add(t, 1, 0, 0, p.mem.part(0, 100)) // accepts anything
	for _, msg := range [][]byte{
		{0},
		{0, 1, 2, 3},
		append(verbs.TMH{Opcode: verbs.TMNoTag, Tag: 1}.AppendTo(nil), pattern(3000, 1)...),
		verbs.TMH{Opcode: verbs.TMFin, Tag: 1}.AppendTo(nil),
	} {
		p.send(t, msg, nil)
		wantBytes(t, p.unexpected(t, verbs.WCTMNoTag, 0), msg, "receive")
	}
	p.sync(t, 0) // they do not count
}

func TestTMImmediate(t *testing.T) {
	p := newTMPair(t, plainFabrics[0], verbs.TMInit{})
	imm := func(wr *verbs.SendWR) { wr.Opcode, wr.Imm = verbs.SendImm, 0xabcd }
	for _, n := range []int{10, 3000} {
		p.add(t, 1, 4, allBits, p.mem.part(0, 5000))
		p.send(t, eager(4, pattern(n, 1)), imm)
		wc := p.b.expect(t, 1, verbs.Success)
		if wc.Flags&verbs.TMDataValid == 0 {
			wc = p.b.expect(t, 1, verbs.Success)
		}
		if !wc.HasImm || wc.Imm != 0xabcd || wc.Opcode != verbs.WCTMRecv || wc.Flags&verbs.TMDataValid == 0 {
			t.Errorf("%d bytes: completion %+v, want immediate 0xabcd", n, wc)
		}
	}
	p.send(t, eager(4, nil), imm)
	if wc := p.b.wait(t); !wc.HasImm || wc.Imm != 0xabcd || wc.Opcode != verbs.WCTMRecv {
		t.Errorf("unexpected: completion %+v, want immediate 0xabcd", wc)
	}
	p.sync(t, 1)
	p.add(t, 1, 4, allBits, p.mem.part(0, 5000))
	must(t, p.a.qp.PostRecv(verbs.RecvWR{ID: 77, SG: []verbs.SGE{p.out.part(2000, 16)}}))
	p.send(t, p.rndv(4, 0, 100, ""), imm)
	if wc := p.b.wait(t); !wc.HasImm || wc.Imm != 0xabcd || wc.Flags != verbs.TMMatch {
		t.Errorf("rendezvous: completion %+v, want immediate 0xabcd and a match", wc)
	}
	p.b.expect(t, 1, verbs.Success)
	p.a.expect(t, 77, verbs.Success)
}

func TestTMNoSGE(t *testing.T) {
	p := newTMPair(t, plainFabrics[0], verbs.TMInit{})
	h := p.add(t, 1, 4, allBits)
	p.send(t, eager(4, nil), nil)
	p.received(t, 1, h, 4, 0)
	h = p.add(t, 2, 4, allBits)
	must(t, p.a.qp.PostRecv(verbs.RecvWR{ID: 77, SG: []verbs.SGE{p.out.part(2000, 16)}}))
	p.send(t, p.rndv(4, 0, 0, ""), nil)
	p.rendezvous(t, 2, h, 4, 0)
	p.a.expect(t, 77, verbs.Success)
}

// rendezvous waits for the two completions of a rendezvous that matched.
func (p *tmPair) rendezvous(t testing.TB, id uint64, handle uint32, tag uint64, n int) {
	t.Helper()
	p.matched(t, p.b.wait(t), id, verbs.TMMatch, verbs.TMInfo{Tag: tag, AppCtx: ^uint32(tag), Handle: handle}, 0)
	p.matched(t, p.b.wait(t), id, verbs.TMDataValid, verbs.TMInfo{Handle: handle}, n)
}

func TestTMRendezvous(t *testing.T) {
	eachTM(t, func(t *testing.T, f fabricUnder) {
		p := newTMPair(t, f, verbs.TMInit{})
		fin := p.a.reg(t, make([]byte, 16), verbs.LocalWrite)
		for i, n := range []int{1, 1024, 5000, 100000} {
			for _, more := range []string{"", "for software"} {
				tag := uint64(i) << 60
				copy(p.out.b[100:], pattern(n, byte(i)))
				h := p.add(t, 1, tag, allBits, p.mem.part(n, 1), p.mem.part(0, n-1), p.mem.part(n+1, 50))
				must(t, p.a.qp.PostRecv(verbs.RecvWR{ID: 77, SG: []verbs.SGE{fin.sge()}}))
				m := p.rndv(tag, 100, n, more)
				must(t, p.a.qp.PostSend(verbs.SendWR{Opcode: verbs.Send, Flags: verbs.Inline, SG: []verbs.SGE{{Buf: m}}}))
				p.rendezvous(t, 1, h, tag, n)
				wantBytes(t, append(append([]byte(nil), p.mem.b[n]), p.mem.b[:n-1]...), pattern(n, byte(i)), "buffer")
				if wc := p.a.expect(t, 77, verbs.Success); wc.Opcode != verbs.WCRecv || wc.Bytes != 16 {
					t.Errorf("completion of the FIN %+v, want a receive of 16 bytes", wc)
				}
				p.a.sync()
				wantBytes(t, fin.b, verbs.TMH{Opcode: verbs.TMFin, AppCtx: ^uint32(tag), Tag: tag}.AppendTo(nil), "FIN")
			}
		}
		must(t, p.b.qp.Destroy())
		must(t, p.mem.Dereg())
	})
}

// TestTMManyRendezvous has more rendezvous at a time than the NIC's send queue holds at first, and, in the second case, than it may ever hold.
func TestTMManyRendezvous(t *testing.T) {
	eachTM(t, func(t *testing.T, f fabricUnder) {
		for _, tags := range []int{60, 18} {
			p := newTMPair(t, f, verbs.TMInit{MaxTags: tags})
			const n = 60
			fins := p.a.reg(t, make([]byte, 16*n), verbs.LocalWrite)
			copy(p.out.b[64<<10:], pattern(n*3000, 1))
			var added, done int
			var next []uint64
			add := func() { // a buffer, and then a message, which matches
				i := added
				must(t, p.srq.PostOps(&verbs.TMOp{Kind: verbs.TagAdd, RecvWRID: uint64(i), SG: []verbs.SGE{p.mem.part(i*3000, 3000)}}))
				must(t, p.a.qp.PostRecv(verbs.RecvWR{ID: 100 + uint64(i), SG: []verbs.SGE{fins.part(i*16, 16)}}))
				m := p.rndv(uint64(i), 64<<10+i*3000, 3000, "")
				copy(p.out.b[i*64:], m)
				must(t, p.a.qp.PostSend(verbs.SendWR{Opcode: verbs.Send, SG: []verbs.SGE{p.out.part(i*64, len(m))}}))
				added++
			}
			for added < tags {
				add()
			}
			for done < n {
				switch wc := p.b.wait(t); {
				case wc.Status != verbs.Success:
					t.Fatalf("completion %+v; events of the sender %+v", wc, p.a.ctx.AsyncEvents())
				case wc.Flags == verbs.TMMatch:
					if next = append(next, wc.TM.Tag); added < n {
						add()
					}
				default:
					if wc.Flags != verbs.TMDataValid || wc.ID != uint64(done) {
						t.Fatalf("completion %+v, want the data of buffer %d", wc, done)
					}
					done++
				}
			}
			for i, tag := range next {
				if tag != uint64(i) {
					t.Fatalf("matches %v, want 0 to %d in order", next, n-1)
				}
			}
			for i := range n {
				p.a.expect(t, 100+uint64(i), verbs.Success)
			}
			p.b.sync()
			wantBytes(t, p.mem.b[:n*3000], pattern(n*3000, 1), "buffers")
			must(t, p.b.qp.Destroy())
			must(t, p.mem.Dereg())
		}
	})
}

// TestTMSoftwareRendezvous has software serve a request that matched nothing: over another connection, since
// the send queue of this one is the NIC's.
func TestTMSoftwareRendezvous(t *testing.T) {
	eachTM(t, func(t *testing.T, f fabricUnder) {
		p := newTMPair(t, f, verbs.TMInit{})
		a2 := *p.a
		var err error
		a2.qp, err = p.a.ctx.CreateQP(p.a.pd, verbs.QPInit{SendCQ: p.a.cq, RecvCQ: p.a.cq, Cap: defaultCap})
		must(t, err)
		b2 := newEndOn(t, f, p.b.ctx, nil)
		p.connect(t, &a2, b2, nil)
		must(t, a2.qp.PostRecv(verbs.RecvWR{ID: 77, SG: []verbs.SGE{p.out.part(100, 16)}}))

		copy(p.out.b[4096:], pattern(9000, 4))
		p.send(t, p.rndv(6, 4096, 9000, "hello"), nil)
		msg := p.unexpected(t, verbs.WCTMRecv, 0)
		h, r, err := verbs.ParseTM(msg)
		must(t, err)
		if h.Tag != 6 || h.Opcode != verbs.TMRndv || string(msg[verbs.TMHSize+verbs.RVHSize:]) != "hello" {
			t.Fatalf("message %+v %q", h, msg)
		}
		mem := b2.reg(t, make([]byte, 9000), verbs.LocalWrite)
		h.Opcode = verbs.TMFin
		must(t, b2.qp.PostSend(verbs.SendWR{ID: 1, Opcode: verbs.Read, Flags: verbs.Signaled, SG: []verbs.SGE{mem.part(0, int(r.Len))}, RemoteAddr: r.Addr, RKey: r.RKey},
			verbs.SendWR{ID: 2, Opcode: verbs.Send, Flags: verbs.Signaled | verbs.Inline | verbs.Fence, SG: []verbs.SGE{{Buf: h.AppendTo(nil)}}}))
		b2.expect(t, 1, verbs.Success)
		b2.expect(t, 2, verbs.Success)
		b2.sync()
		wantBytes(t, mem.b, pattern(9000, 4), "memory")
		p.a.expect(t, 77, verbs.Success)
		p.sync(t, 1)
	})
}

func TestTMRendezvousIncomplete(t *testing.T) {
	p := newTMPair(t, plainFabrics[0], verbs.TMInit{})
	for _, room := range []int{32, 35, 999} {
		h := p.add(t, 1, 4, allBits, p.mem.part(0, 20), p.mem.part(20, room-20))
		msg := p.rndv(4, 0, 1000, "more")
		p.send(t, msg, nil)
		wc := p.b.expect(t, 1, verbs.TMRndvIncomplete)
		n := min(room, len(msg))
		if wc.Opcode != verbs.WCTMRecv || wc.Flags != verbs.TMMatch|verbs.TMDataValid || wc.TM != (verbs.TMInfo{Tag: 4, AppCtx: ^uint32(4), Handle: h}) || wc.Bytes != n {
			t.Errorf("completion %+v, want a match of tag 4 with %d bytes", wc, n)
		}
		p.b.sync()
		wantBytes(t, p.mem.b[:n], msg[:n], "buffer")
	}
	// The connection goes on.
	h := p.add(t, 2, 4, allBits, p.mem.part(0, 20))
	p.send(t, eager(4, []byte("ok")), nil)
	p.received(t, 2, h, 4, 2)
}

// TestTMRendezvousWaits has more rendezvous than the NIC's send queue may hold, while it cannot send: the last waits at the sender.
func TestTMRendezvousWaits(t *testing.T) {
	p := newTMPair(t, plainFabrics[0], verbs.TMInit{MaxTags: 1})
	p.b.reset(t, p) // to RTR
	const n = 17
	for i := range uint64(n) {
		must(t, p.a.qp.PostRecv(verbs.RecvWR{ID: 100 + i, SG: []verbs.SGE{p.out.part(1000, 16)}}))
		p.add(t, i, i, allBits, p.mem.part(int(i)*10, 10))
		must(t, p.a.qp.PostSend(verbs.SendWR{Opcode: verbs.Send, Flags: verbs.Inline, SG: []verbs.SGE{{Buf: p.rndv(i, 2000, 10, "")}}}))
		if i < n-1 {
			if wc := p.b.expect(t, i, verbs.Success); wc.Flags != verbs.TMMatch {
				t.Fatalf("completion %+v, want a match", wc)
			}
		}
	}
	for deadline := time.Now().Add(5 * time.Second); p.b.ctx.HWCounters().SendRNRErr == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no RNR NAK")
		}
	}
	p.b.quiet(t, time.Millisecond)
	must(t, p.b.qp.Modify(withState(attrFor(p.a), verbs.RTS), maskRTS))
	for matches, valid := n-1, 0; valid < n; {
		switch wc := p.b.wait(t); {
		case wc.Status == verbs.Success && wc.Flags == verbs.TMMatch && wc.ID == uint64(matches):
			matches++
		case wc.Status == verbs.Success && wc.Flags == verbs.TMDataValid && wc.ID == uint64(valid):
			valid++
		default:
			t.Fatalf("completion %+v after %d matches and the data of %d", wc, matches, valid)
		}
	}
	for i := range uint64(n) {
		p.a.expect(t, 100+i, verbs.Success)
	}
}

func withState(a verbs.QPAttr, s verbs.State) verbs.QPAttr {
	a.State = s
	return a
}
