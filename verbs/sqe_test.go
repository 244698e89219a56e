package verbs_test

import (
	"fmt"
	"testing"
	"time"

	"outboard/verbs"
)

// eachUnreliable runs f for UC and UD with two ends that can talk to each other; send gives a good SEND from a to b.
func eachUnreliable(t *testing.T, f func(t *testing.T, a, b *end, send func(id uint64) verbs.SendWR)) {
	for _, typ := range []verbs.QPType{verbs.UC, verbs.UD} {
		t.Run(typ.String(), func(t *testing.T) {
			eachLossless(t, func(t *testing.T, under fabricUnder) {
				a, b := pairWith(t, under, func(_ int, at *verbs.QPAttr) { at.QKey = 7 }, func(in *verbs.QPInit) { in.Type = typ })
				f(t, a, b, func(id uint64) verbs.SendWR {
					wr := verbs.SendWR{ID: id, Flags: verbs.Signaled}
					if typ == verbs.UD {
						wr.UD = &verbs.UDDest{AH: a.handle(t, b), QPN: b.qp.QPN(), QKey: 7}
					}
					return wr
				})
			})
		})
	}
}

// handle is an address handle to peer's port.
func (e *end) handle(t testing.TB, peer *end) *verbs.AH {
	t.Helper()
	ah, err := e.ctx.CreateAH(e.pd, verbs.AHAttr{Addr: peer.ctx.Addr(), Port: 1})
	must(t, err)
	return ah
}

// TestSQE has sends fail on this side: the queue pair stops sending, flushes, goes on receiving, and
// RTS brings it back.
func TestSQE(t *testing.T) {
	eachUnreliable(t, func(t *testing.T, a, b *end, send func(uint64) verbs.SendWR) {
		big := b.reg(t, make([]byte, 64), verbs.LocalWrite)
		for round := range uint64(3) {
			for i := range uint64(3) {
				must(t, b.qp.PostRecv(verbs.RecvWR{ID: 100*round + 90 + i, SG: []verbs.SGE{big.sge()}}))
			}
			a.modify(t, verbs.QPAttr{State: verbs.SQD}, verbs.AttrState) // so that all are posted before the first fails
			must(t, a.qp.PostSend(send(1), badSend(t, a, 2), send(3), send(4)))
			a.modify(t, verbs.QPAttr{State: verbs.RTS}, verbs.AttrState)
			a.expect(t, 1, verbs.Success)
			if wc := a.expect(t, 2, verbs.LocProtErr); wc.Detail == "" {
				t.Error("the failure has no detail")
			}
			a.expect(t, 3, verbs.WRFlushErr)
			a.expect(t, 4, verbs.WRFlushErr)
			if a.state() != verbs.SQE {
				t.Fatalf("queue pair in %v, want SQE", a.state())
			}
			must(t, a.qp.PostSend(send(5)))
			a.expect(t, 5, verbs.WRFlushErr)
			a.quiet(t, 0)

			// Receives go on.
			room := a.reg(t, make([]byte, 64), verbs.LocalWrite)
			must(t, a.qp.PostRecv(verbs.RecvWR{ID: 6, SG: []verbs.SGE{room.sge()}}))
			back := verbs.SendWR{ID: 7, Flags: verbs.Signaled}
			if _, in := b.qp.Query(); in.Type == verbs.UD {
				back.UD = &verbs.UDDest{AH: b.handle(t, a), QPN: a.qp.QPN(), QKey: 7}
			}
			must(t, b.qp.PostSend(back))
			a.expect(t, 6, verbs.Success)

			a.modify(t, verbs.QPAttr{State: verbs.RTS, CurState: verbs.SQE}, verbs.AttrState|curState)
			must(t, a.qp.PostSend(send(8)))
			a.expect(t, 8, verbs.Success)
			got := map[uint64]verbs.Status{}
			for range 3 {
				wc := b.wait(t)
				got[wc.ID] = wc.Status
			}
			if want := (map[uint64]verbs.Status{100*round + 90: 0, 100*round + 91: 0, 7: 0}); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("the peer's completions are %v, want %v", got, want)
			}
			b.quiet(t, 0)
			b.modify(t, verbs.QPAttr{}, 0)
			must(t, a.qp.PostSend(send(9)))
			a.expect(t, 9, verbs.Success)
			b.expect(t, 100*round+92, verbs.Success)
		}
		a.noEvent(t)
	})
}

func TestSQEToErrAndReset(t *testing.T) {
	eachUnreliable(t, func(t *testing.T, a, _ *end, send func(uint64) verbs.SendWR) {
		must(t, a.qp.PostRecv(verbs.RecvWR{ID: 1}))
		must(t, a.qp.PostSend(badSend(t, a, 2)))
		a.expect(t, 2, verbs.LocProtErr)
		a.quiet(t, time.Millisecond)
		a.modify(t, verbs.QPAttr{State: verbs.Err}, verbs.AttrState)
		a.expect(t, 1, verbs.WRFlushErr)
		must(t, a.qp.PostSend(send(3)))
		a.expect(t, 3, verbs.WRFlushErr)
		a.modify(t, verbs.QPAttr{State: verbs.Reset}, verbs.AttrState)
		wantErr(t, a.qp.PostSend(send(4)), verbs.ErrState)
	})
}

// TestFailureBehindOverflow: the completions before a request that fails overflow their queue. That takes the queue pair to ERR,
// where it stays.
func TestFailureBehindOverflow(t *testing.T) {
	for _, typ := range []verbs.QPType{verbs.RC, verbs.UC, verbs.UD} {
		t.Run(typ.String(), func(t *testing.T) {
			ctx := plainFabrics[0].context(t)
			small, err := ctx.CreateCQ(1, nil)
			must(t, err)
			e := newEndOn(t, plainFabrics[0], ctx, func(in *verbs.QPInit) { in.Type, in.SendCQ = typ, small })
			e.bring(t, attrFor(e), verbs.RTS) // connected with itself
			k, err := ctx.CreateCounter()
			must(t, err)
			must(t, e.qp.PostSend(verbs.SendWR{Opcode: verbs.WaitCounter, Wait: &verbs.WaitFor{Counter: k, Threshold: 1}}))
			for range 2 {
				must(t, e.qp.PostSend(verbs.SendWR{Opcode: verbs.WaitCounter, Flags: verbs.Signaled, Wait: &verbs.WaitFor{Counter: k}}))
			}
			must(t, e.qp.PostSend(badSend(t, e, 1)))
			must(t, k.Add(verbs.CounterValue{Success: 1}))
			e.reaches(t, verbs.Err)
		})
	}
}

// TestOverflowInSQE: what is flushed in SQE overflows the completion queue.
func TestOverflowInSQE(t *testing.T) {
	for _, typ := range []verbs.QPType{verbs.UC, verbs.UD} {
		for name, behind := range map[string]int{"behind the failure": 3, "posted later": 0} {
			t.Run(typ.String()+" "+name, func(t *testing.T) {
				ctx := plainFabrics[0].context(t)
				small, err := ctx.CreateCQ(1, nil)
				must(t, err)
				e := newEndOn(t, plainFabrics[0], ctx, func(in *verbs.QPInit) { in.Type, in.SendCQ = typ, small })
				e.bring(t, attrFor(e), verbs.RTS)
				k, err := ctx.CreateCounter()
				must(t, err)
				must(t, e.qp.PostSend(verbs.SendWR{Opcode: verbs.WaitCounter, Wait: &verbs.WaitFor{Counter: k, Threshold: 1}}))
				for range 1 + behind {
					must(t, e.qp.PostSend(badSend(t, e, 1)))
				}
				must(t, k.Add(verbs.CounterValue{Success: 1}))
				if behind == 0 {
					e.reaches(t, verbs.SQE)
					must(t, e.qp.PostSend(badSend(t, e, 2), badSend(t, e, 3)))
				}
				e.reaches(t, verbs.Err)
				var wcs [2]verbs.WC
				if n, err := small.Poll(wcs[:]); n != 1 || wcs[0].ID != 1 || wcs[0].Status != verbs.LocProtErr {
					t.Errorf("%d completions %+v, error %v; want that of request 1 with %v", n, wcs[0], err, verbs.LocProtErr)
				}
			})
		}
	}
}

// TestRCHasNoSQE: the same failure takes RC to ERR.
func TestRCHasNoSQE(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, _ := pair(t, f)
		must(t, a.qp.PostRecv(verbs.RecvWR{ID: 1}))
		must(t, a.qp.PostSend(badSend(t, a, 2)))
		a.expect(t, 2, verbs.LocProtErr)
		a.expect(t, 1, verbs.WRFlushErr)
		a.reaches(t, verbs.Err)
	})
}
