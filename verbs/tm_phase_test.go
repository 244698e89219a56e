package verbs_test

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"outboard/verbs"
)

// TestTMPhase is the race of the contract: m1 comes, and matches nothing; software, which has not seen it, adds b1; m2 comes. In
// MPI's order b1 is for m1.
func TestTMPhase(t *testing.T) {
	for _, tt := range []struct {
		name   string
		ignore bool
	}{{"with synchronization", false}, {"without", true}} {
		t.Run(tt.name, func(t *testing.T) {
			eachTM(t, func(t *testing.T, f fabricUnder) {
				p := newTMPair(t, f, verbs.TMInit{})
				if tt.ignore {
					verbs.IgnorePhase(p.srq)
				}
				p.send(t, eager(1, []byte("m1")), nil)
				b1 := verbs.TMOp{ID: 2, Kind: verbs.TagAdd, Flags: verbs.OpsSignaled, RecvWRID: 3, Tag: 1, Mask: allBits, SG: []verbs.SGE{p.mem.part(0, 10)}}
				must(t, p.srq.PostOps(&b1))
				p.send(t, eager(1, []byte("m2")), nil)
				wantBytes(t, p.unexpected(t, verbs.WCTMRecv, 0), eager(1, []byte("m1")), "receive")
				if wc := p.b.expect(t, 2, verbs.Success); wc.Flags != verbs.TMSyncReq {
					t.Errorf("completion of the TAG_ADD %+v, want TMSyncReq", wc)
				}
				if tt.ignore {
					p.received(t, 3, b1.Handle, 1, 2)
					if string(p.mem.b[:2]) != "m2" {
						t.Errorf("b1 has %q, want m2, out of order", p.mem.b[:2])
					}
					return
				}
				wantBytes(t, p.unexpected(t, verbs.WCTMRecv, verbs.TMSyncReq), eager(1, []byte("m2")), "receive")
				// Software gives b1 to m1. b2 is for m2, and b3 for what follows.
				p.del(t, b1.Handle, verbs.Success, verbs.TMSyncReq)
				b3 := verbs.TMOp{ID: 4, Kind: verbs.TagAdd, Flags: verbs.OpsSync, UnexpectedCnt: 1, RecvWRID: 5, Tag: 1, Mask: allBits, SG: []verbs.SGE{p.mem.part(0, 10)}}
				p.op(t, &b3, verbs.WCTMAdd, verbs.Success, verbs.TMSyncReq)
				p.sync(t, 2)
				p.send(t, eager(1, []byte("m3")), nil)
				p.received(t, 5, b3.Handle, 1, 2)
				if string(p.mem.b[:2]) != "m3" {
					t.Errorf("b3 has %q, want m3", p.mem.b[:2])
				}
			})
		})
	}
}

// TestTMPhaseKeepsOld: buffers from before a message that matched nothing go on matching; those after it wait, in order.
func TestTMPhaseKeepsOld(t *testing.T) {
	p := newTMPair(t, plainFabrics[0], verbs.TMInit{MaxTags: 3})
	h1 := p.add(t, 1, 1, allBits, p.mem.part(0, 10))
	p.send(t, eager(9, nil), nil)
	add := func(id, tag uint64) *verbs.TMOp {
		return &verbs.TMOp{ID: id + 1e6, Kind: verbs.TagAdd, RecvWRID: id, Tag: tag, SG: []verbs.SGE{p.mem.part(0, 10)}, Mask: allBits}
	}
	p.unexpected(t, verbs.WCTMRecv, 0)
	op2, op3 := add(2, 1), add(3, 1)
	must(t, p.srq.PostOps(op2, op3))
	wantErr(t, p.srq.PostOps(add(4, 1)), verbs.ErrQueueFull)
	p.send(t, eager(1, []byte("a")), nil)
	p.matched(t, p.b.wait(t), 1, verbs.TMMatch|verbs.TMDataValid|verbs.TMSyncReq, verbs.TMInfo{Tag: 1, AppCtx: ^uint32(1), Handle: h1}, 1)
	op4 := add(4, 1)
	op4.Flags, op4.UnexpectedCnt = verbs.OpsSync, 1
	p.op(t, op4, verbs.WCTMAdd, verbs.Success, 0)
	for _, op := range []*verbs.TMOp{op2, op3, op4} {
		p.send(t, eager(1, []byte("b")), nil)
		p.received(t, op.RecvWRID, op.Handle, 1, 1)
	}
}

// TestTMOrderUnderRace has a sender fill buffers as fast as it can while software adds them, handles what came too early, and
// synchronizes: buffer i gets message i.
func TestTMOrderUnderRace(t *testing.T) {
	eachTM(t, func(t *testing.T, f fabricUnder) {
		p := newTMPair(t, f, verbs.TMInit{})
		const n = 300
		sent := make(chan string, 1)
		go func() { sent <- p.flood(n) }()
		got := make([]int, n) // message of buffer i, from 1
		var handles [n]uint32
		count, added := uint32(0), 0
		var early []int        // messages without a buffer
		open := map[int]bool{} // buffers without a message
		place := func(m int) { // software's matching
			i := 0
			for ; i < added && !open[i]; i++ {
			}
			if i == added {
				early = append(early, m)
				return
			}
			p.drop(t, handles[i])
			delete(open, i)
			got[i] = m + 1
		}
		done := 0
		deadline := time.Now().Add(5 * time.Second)
		for done < n && time.Now().Before(deadline) {
			var wcs [4]verbs.WC
			c, err := p.b.cq.Poll(wcs[:1+done%4])
			must(t, err)
			for _, wc := range wcs[:c] {
				switch {
				case wc.Status != verbs.Success:
					t.Fatalf("completion %+v", wc)
				case wc.Opcode == verbs.WCTMRecv && wc.Flags&verbs.TMMatch == 0:
					m := p.taken(t, wc)
					count++
					place(int(binary.BigEndian.Uint32(m[verbs.TMHSize:])))
				case wc.Opcode == verbs.WCTMRecv:
					got[wc.ID] = int(wc.TM.Tag) + 1
					delete(open, int(wc.ID))
				}
			}
			if added < n && len(open) < 3 && (c == 0 || added%3 == 0) {
				if len(early) > 0 { // it would have been posted to the list of early ones first
					got[added] = early[0] + 1
					early = early[1:]
				} else {
					op := verbs.TMOp{Kind: verbs.TagAdd, Flags: verbs.OpsSync, UnexpectedCnt: count, RecvWRID: uint64(added), SG: []verbs.SGE{p.mem.part(added*8, 8)}}
					must(t, p.srq.PostOps(&op))
					handles[added] = op.Handle
					open[added] = true
				}
				added++
			} else {
				must(t, p.srq.PostOps(&verbs.TMOp{Kind: verbs.TagSync, UnexpectedCnt: count}))
			}
			for done = 0; done < n && got[done] != 0; done++ {
			}
		}
		if why := <-sent; why != "" {
			t.Fatal(why)
		}
		for i, m := range got {
			if m != i+1 {
				t.Fatalf("buffer %d has message %d (%d unexpected); sender %v, receiver %v, events %+v", i, m-1, count, p.a.state(), p.b.state(), p.a.ctx.AsyncEvents())
			}
		}
		t.Logf("%d of %d messages were unexpected", count, n)
	})
}

// drop removes a buffer that software has matched: the NIC cannot have.
func (p *tmPair) drop(t testing.TB, handle uint32) {
	t.Helper()
	must(t, p.srq.PostOps(&verbs.TMOp{ID: 9e6, Kind: verbs.TagDel, Handle: handle}))
	must(t, p.srq.PostOps(&verbs.TMOp{ID: 9e6, Kind: verbs.TagDel, Handle: handle}))
}

// flood sends n messages that carry their number, and says what went wrong.
func (p *tmPair) flood(n int) string {
	var wcs [16]verbs.WC
	deadline := time.Now().Add(20 * time.Second)
	for sent, done := 0, 0; done < n; {
		if sent < n && sent-done < 64 {
			m := eager(uint64(sent), binary.BigEndian.AppendUint32(nil, uint32(sent)))
			if err := p.a.qp.PostSend(verbs.SendWR{Opcode: verbs.Send, Flags: verbs.Signaled | verbs.Inline, SG: []verbs.SGE{{Buf: m}}}); err != nil {
				return err.Error()
			}
			if sent++; sent%7 == 0 {
				time.Sleep(20 * time.Microsecond)
			}
		}
		c, err := p.a.cq.Poll(wcs[:])
		if err != nil {
			return err.Error()
		}
		for _, wc := range wcs[:c] {
			if wc.Status != verbs.Success {
				return fmt.Sprintf("message %d: %v: %s; counters %+v", done, wc.Status, wc.Detail, p.a.ctx.HWCounters())
			}
			done++
		}
		if time.Now().After(deadline) {
			return fmt.Sprintf("%d of %d messages went through", done, n)
		}
	}
	return ""
}
