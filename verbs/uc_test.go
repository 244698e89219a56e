package verbs_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"outboard/verbs"
	"outboard/verbs/fabric"
	"outboard/verbs/fabric/faulty"
)

func TestUCSizes(t *testing.T) {
	const path = 256
	eachLossless(t, func(t *testing.T, f fabricUnder) {
		a, b := pairWith(t, f, func(_ int, at *verbs.QPAttr) { at.PathMTU = path }, func(in *verbs.QPInit) { in.Type = verbs.UC })
		for _, n := range []int{0, 1, path - 1, path, path + 1, 2*path - 1, 2 * path, 2*path + 1, 5000, 70_000} {
			src := a.reg(t, pattern(n, byte(n)), 0)
			for _, op := range []verbs.Opcode{verbs.Send, verbs.SendImm, verbs.Write, verbs.WriteImm} {
				t.Run(fmt.Sprintf("%v of %d bytes", op, n), func(t *testing.T) {
					dst := b.reg(t, make([]byte, n+4), allRights)
					send := op == verbs.Send || op == verbs.SendImm
					if send {
						must(t, b.qp.PostRecv(verbs.RecvWR{ID: 1, SG: split(dst, 3)}))
					} else {
						must(t, b.qp.PostRecv(verbs.RecvWR{ID: 1}))
					}
					must(t, a.qp.PostSend(verbs.SendWR{ID: 2, Opcode: op, Flags: verbs.Signaled, Imm: 99, SG: split(src, 4), RemoteAddr: dst.Addr(), RKey: dst.RKey()}))
					a.expect(t, 2, verbs.Success)
					if op == verbs.Write { // nothing tells that it has arrived but what comes after it
						must(t, a.qp.PostSend(verbs.SendWR{}))
					}
					wc := b.expect(t, 1, verbs.Success)
					imm := op == verbs.SendImm || op == verbs.WriteImm
					if wc.HasImm != imm || imm && wc.Imm != 99 || wc.SrcQP != a.qp.QPN() || op != verbs.Write && wc.Bytes != n {
						t.Errorf("receive completion %+v", wc)
					}
					if !bytes.Equal(dst.b[:n], src.b) || !bytes.Equal(dst.b[n:], make([]byte, 4)) {
						t.Error("other data arrived, or more, than what was sent")
					}
				})
			}
		}
		a.noEvent(t)
		b.noEvent(t)
	})
}

// onLossyWire connects two ends of UC, of which a's packets suffer what inj says.
func onLossyWire(t *testing.T, inj faulty.Injector, srq bool) (a, b *end) {
	t.Helper()
	bad := fabricUnder{open: func(t testing.TB) fabric.Port {
		p, err := faulty.Wrap(openInproc(t), faulty.Options{Inject: inj})
		must(t, err)
		return p
	}}
	a, b = typedEnd(t, bad, verbs.UC), typedEnd(t, plainFabrics[0], verbs.UC)
	if srq {
		b.takesFrom(t, b.newSRQ(t, someSRQ))
	}
	join(t, a, b, func(_ int, at *verbs.QPAttr) { at.PathMTU = 256 })
	return a, b
}

// cutAfter lets n packets through.
func cutAfter(n uint64) faulty.Injector { return faulty.OnIndex(n, faulty.Cut) }

// TestUCLosesWholeMessages loses one packet: the message that it was of is lost, and no other.
func TestUCLosesWholeMessages(t *testing.T) {
	const message, packets, messages = 700, 3, 6
	for fate, fault := range map[string]faulty.Fault{"lost": faulty.Drop, "damaged": faulty.Corrupt} {
		for n := range uint64(packets * messages) {
			for _, op := range []verbs.Opcode{verbs.Send, verbs.WriteImm} {
				t.Run(fmt.Sprintf("%v, packet %d is %s", op, n, fate), func(t *testing.T) {
					a, b := onLossyWire(t, faulty.OnIndex(n, fault), false)
					var dst [messages]region
					for i := range dst {
						dst[i] = b.reg(t, make([]byte, message), allRights)
						must(t, b.qp.PostRecv(verbs.RecvWR{ID: uint64(i), SG: []verbs.SGE{dst[i].sge()}}))
					}
					target := b.reg(t, make([]byte, message*messages), allRights)
					for i := range uint64(messages) {
						src := a.reg(t, pattern(message, byte(i)), 0)
						must(t, a.qp.PostSend(verbs.SendWR{ID: i, Opcode: op, Flags: verbs.Signaled, Imm: uint32(i), SG: []verbs.SGE{src.sge()},
							RemoteAddr: target.Addr() + message*i, RKey: target.RKey()}))
						a.expect(t, i, verbs.Success) // also of the one that is lost
					}
					lost := int(n / packets)
					at := uint64(0)
					for i := range messages {
						if i == lost {
							continue
						}
						wc := b.expect(t, at, verbs.Success)
						got := dst[at].b
						if op == verbs.WriteImm {
							if got = target.b[message*i:][:message]; wc.Imm != uint32(i) {
								t.Errorf("message %d came with immediate %d", i, wc.Imm)
							}
						}
						if !bytes.Equal(got, pattern(message, byte(i))) || wc.Bytes != message {
							t.Errorf("message %d came with other data", i)
						}
						at++
					}
					b.quiet(t, time.Millisecond)
					if a.state() != verbs.RTS || b.state() != verbs.RTS {
						t.Errorf("queue pairs in %v and %v, want RTS", a.state(), b.state())
					}
					a.noEvent(t)
					b.noEvent(t)
				})
			}
		}
	}
}

// TestUCDuplicatesAndReordering: a packet that begins a message is taken whenever it comes (IBTA 9.8.2.2); one of
// the middle that comes twice, or late, costs its message.
func TestUCDuplicatesAndReordering(t *testing.T) {
	for _, c := range []struct {
		inj  faulty.Injector
		size int
		want []uint32
	}{
		{faulty.OnIndex(1, faulty.Duplicate), 0, []uint32{0, 1, 1, 2, 3}},
		{faulty.OnIndex(1, faulty.Reorder), 0, []uint32{0, 2, 1, 3}},
		{faulty.OnIndex(0, faulty.Drop), 0, []uint32{1, 2, 3}},
		{faulty.OnIndex(3, faulty.Drop), 0, []uint32{0, 1, 2}},
		{faulty.OnIndex(3, faulty.Duplicate), 600, []uint32{0, 1, 2, 3}}, // the first of a message: it begins again
		{faulty.OnIndex(4, faulty.Duplicate), 600, []uint32{0, 2, 3}},
		{faulty.OnIndex(5, faulty.Duplicate), 600, []uint32{0, 1, 2, 3}}, // the copy of the last belongs to nothing
		{faulty.OnIndex(3, faulty.Reorder), 600, []uint32{0, 2, 3}},
		{faulty.OnIndex(4, faulty.Reorder), 600, []uint32{0, 2, 3}},
	} {
		t.Run(fmt.Sprintf("%v of messages of %d bytes", c.inj, c.size), func(t *testing.T) {
			a, b := onLossyWire(t, c.inj, false)
			src, dst := a.reg(t, pattern(c.size, 1), 0), b.reg(t, make([]byte, c.size), verbs.LocalWrite)
			for i := range uint64(6) {
				must(t, b.qp.PostRecv(verbs.RecvWR{ID: i, SG: []verbs.SGE{dst.sge()}}))
			}
			for i := range uint32(4) {
				must(t, a.qp.PostSend(verbs.SendWR{Opcode: verbs.SendImm, Imm: i, SG: []verbs.SGE{src.sge()}}))
			}
			var got []uint32
			for range c.want {
				got = append(got, b.wait(t).Imm)
			}
			b.quiet(t, 2*time.Millisecond)
			if !slices.Equal(got, c.want) {
				t.Errorf("messages %v, want %v", got, c.want)
			}
		})
	}
}

// TestUCGapAtWrapAround has PSNs go through zero.
func TestUCGapAtWrapAround(t *testing.T) {
	f := plainFabrics[0]
	a, b := pairWith(t, f, func(_ int, at *verbs.QPAttr) { at.SQPSN, at.RQPSN, at.PathMTU = 1<<24-2, 1<<24-2, 256 }, func(in *verbs.QPInit) { in.Type = verbs.UC })
	src, dst := a.reg(t, pattern(1000, 1), 0), b.reg(t, make([]byte, 1000), verbs.LocalWrite)
	for i := range uint64(3) {
		must(t, b.qp.PostRecv(verbs.RecvWR{ID: i, SG: []verbs.SGE{dst.sge()}}))
		must(t, a.qp.PostSend(verbs.SendWR{SG: []verbs.SGE{src.sge()}}))
		b.expect(t, i, verbs.Success)
		if !bytes.Equal(src.b, dst.b) {
			t.Error("other data arrived")
		}
	}
}

func TestUCHasNoReadsNorAtomics(t *testing.T) {
	a, b := typedPair(t, plainFabrics[0], verbs.UC)
	r := a.reg(t, make([]byte, 8), allRights)
	for _, op := range []verbs.Opcode{verbs.Read, verbs.FetchAdd, verbs.CompareSwap, verbs.MaskedFetchAdd, verbs.MaskedCompareSwap, verbs.SendInv} {
		err := a.qp.PostSend(verbs.SendWR{Opcode: op, SG: []verbs.SGE{r.sge()}, RKey: r.RKey(), Mask: &verbs.AtomicMask{}})
		if wantErr(t, err, verbs.ErrInvalid); !bytes.Contains([]byte(err.Error()), []byte(op.String())) {
			t.Errorf("error %q, want it to name %v", err, op)
		}
	}
	must(t, b.qp.PostRecv(verbs.RecvWR{ID: 1}))
	must(t, a.qp.PostSend(verbs.SendWR{}))
	b.expect(t, 1, verbs.Success)
}

// TestUCWithoutReceive: there is no RNR, the message is lost and those after it are not.
func TestUCWithoutReceive(t *testing.T) {
	eachLossless(t, func(t *testing.T, f fabricUnder) {
		a, b := typedPair(t, f, verbs.UC)
		src, dst := a.reg(t, pattern(3000, 1), allRights), b.reg(t, make([]byte, 3000), allRights)
		for _, op := range []verbs.Opcode{verbs.Send, verbs.WriteImm} {
			must(t, a.qp.PostSend(verbs.SendWR{ID: 1, Opcode: op, Flags: verbs.Signaled, SG: []verbs.SGE{src.sge()}, RemoteAddr: dst.Addr(), RKey: dst.RKey()}))
			a.expect(t, 1, verbs.Success)
			a.quiet(t, time.Millisecond)
			b.quiet(t, time.Millisecond)
			must(t, b.qp.PostRecv(verbs.RecvWR{ID: 2, SG: []verbs.SGE{dst.sge()}}))
			b.quiet(t, time.Millisecond) // it does not come late
			must(t, a.qp.PostSend(verbs.SendWR{ID: 3, Opcode: verbs.SendImm, Imm: 3, Flags: verbs.Signaled}))
			a.expect(t, 3, verbs.Success)
			if wc := b.expect(t, 2, verbs.Success); wc.Imm != 3 || wc.Bytes != 0 {
				t.Errorf("receive completion %+v, want that of the second message", wc)
			}
		}
		if n := b.ctx.HWCounters().SendRNRErr; n != 0 {
			t.Errorf("%d RNR NAKs, want none", n)
		}
	})
}

// TestUCRefusesNobody: a message that is too long, and a write that the rights or the key forbid, are lost; the receive is
// used for the next.
func TestUCRefusesNobody(t *testing.T) {
	eachLossless(t, func(t *testing.T, f fabricUnder) {
		for _, c := range []struct {
			name string
			wr   func(b *end, dst region) verbs.SendWR
		}{
			{"too long in the first packet", func(*end, region) verbs.SendWR { return verbs.SendWR{} }},
			{"write with a bad key", func(_ *end, dst region) verbs.SendWR {
				return verbs.SendWR{Opcode: verbs.Write, RemoteAddr: dst.Addr(), RKey: dst.RKey() ^ 0x80}
			}},
			{"write out of bounds", func(_ *end, dst region) verbs.SendWR {
				return verbs.SendWR{Opcode: verbs.WriteImm, RemoteAddr: dst.Addr() + 1, RKey: dst.RKey()}
			}},
		} {
			t.Run(c.name, func(t *testing.T) {
				a, b := typedPair(t, f, verbs.UC)
				src, dst := a.reg(t, pattern(3000, 1), 0), b.reg(t, make([]byte, 2000), allRights)
				must(t, b.qp.PostRecv(verbs.RecvWR{ID: 1, SG: []verbs.SGE{dst.sge()}}))
				wr := c.wr(b, dst)
				wr.ID, wr.Flags, wr.SG = 2, verbs.Signaled, []verbs.SGE{src.sge()}
				must(t, a.qp.PostSend(wr, verbs.SendWR{ID: 3, Flags: verbs.Signaled, SG: []verbs.SGE{src.part(7, 1500)}}))
				a.expect(t, 2, verbs.Success)
				a.expect(t, 3, verbs.Success)
				if wc := b.expect(t, 1, verbs.Success); wc.Bytes != 1500 || !bytes.Equal(dst.b[:1500], src.b[7:1507]) {
					t.Errorf("receive completion %+v, or other data, want the message after the one that was lost", wc)
				}
				if a.state() != verbs.RTS || b.state() != verbs.RTS {
					t.Errorf("queue pairs in %v and %v, want RTS", a.state(), b.state())
				}
				b.noEvent(t)
			})
		}
	})
}

// TestUCPeerGone: whoever sends does not learn it.
func TestUCPeerGone(t *testing.T) {
	for name, leave := range map[string]func(b *end) error{
		"closes its context":      func(b *end) error { return b.ctx.Close() },
		"destroys its queue pair": func(b *end) error { return b.qp.Destroy() },
		"resets its queue pair":   func(b *end) error { return b.qp.Modify(verbs.QPAttr{State: verbs.Reset}, verbs.AttrState) },
		"goes to ERR":             func(b *end) error { return b.qp.Modify(verbs.QPAttr{State: verbs.Err}, verbs.AttrState) },
	} {
		t.Run(name, func(t *testing.T) {
			eachLossless(t, func(t *testing.T, f fabricUnder) {
				a, b := typedPair(t, f, verbs.UC)
				must(t, a.qp.PostRecv(verbs.RecvWR{ID: 99}))
				src := a.reg(t, pattern(3000, 1), 0)
				must(t, leave(b))
				for i := range uint64(200) { // more than the wire holds
					must(t, a.qp.PostSend(verbs.SendWR{ID: i, Flags: verbs.Signaled, SG: []verbs.SGE{src.sge()}}))
					a.expect(t, i, verbs.Success)
				}
				if a.state() != verbs.RTS {
					t.Errorf("queue pair in %v, want RTS", a.state())
				}
				a.modify(t, verbs.QPAttr{State: verbs.Err}, verbs.AttrState)
				a.expect(t, 99, verbs.WRFlushErr)
			})
		})
	}
}

// TestUCOverSRQ: a message that is too long for the receive that it took fails the queue pair (IBTA 9.9.3, class E).
func TestUCOverSRQ(t *testing.T) {
	a, b := onLossyWire(t, faulty.OnIndex(1, faulty.Drop), true)
	_, in := b.qp.Query()
	dst := b.reg(t, make([]byte, 600), verbs.LocalWrite)
	src := a.reg(t, pattern(700, 1), 0)
	must(t, in.SRQ.PostRecv(verbs.RecvWR{ID: 1, SG: []verbs.SGE{dst.sge()}}, verbs.RecvWR{ID: 2, SG: []verbs.SGE{dst.sge()}}))
	must(t, a.qp.PostSend(verbs.SendWR{SG: []verbs.SGE{src.part(0, 600)}}, verbs.SendWR{SG: []verbs.SGE{src.part(50, 600)}})) // the first loses its middle
	if b.expect(t, 1, verbs.Success); !bytes.Equal(dst.b, src.b[50:650]) {
		t.Error("other data than that of the second message")
	}
	must(t, a.qp.PostSend(verbs.SendWR{SG: []verbs.SGE{src.sge()}}))
	b.expect(t, 2, verbs.LocLenErr)
	b.reaches(t, verbs.Err)
	b.event(t, verbs.EventQPLastWQE)
}

// TestUCPeerIsDeaf sends to a port that never takes what comes.
func TestUCPeerIsDeaf(t *testing.T) {
	port := openInproc(t)
	defer port.Close()
	conn, err := port.Open(fabric.Any, 0)
	must(t, err)
	a := typedEnd(t, plainFabrics[0], verbs.UC)
	at := attrFor(a)
	at.AV, at.DestQPN = port.Addr(), verbs.QPNOf(conn.Endpoint())
	a.bring(t, at, verbs.RTS)
	src := a.reg(t, pattern(3000, 1), 0)
	for i := range uint64(200) { // more than the wire holds
		must(t, a.qp.PostSend(verbs.SendWR{ID: i, Flags: verbs.Signaled, SG: []verbs.SGE{src.sge()}}))
		a.expect(t, i, verbs.Success)
	}
}
