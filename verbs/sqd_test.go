package verbs_test

import (
	"testing"
	"time"

	"outboard/verbs"
)

// eachConnected runs f for the types of connected queue pairs over every wire; on UC not those that lose packets.
func eachConnected(t *testing.T, f func(t *testing.T, typ verbs.QPType, f fabricUnder)) {
	for _, typ := range []verbs.QPType{verbs.RC, verbs.UC} {
		t.Run(typ.String(), func(t *testing.T) {
			each := eachFabric
			if typ != verbs.RC {
				each = eachLossless
			}
			each(t, func(t *testing.T, under fabricUnder) { f(t, typ, under) })
		})
	}
}

// typedPair connects two ends of a type.
func typedPair(t testing.TB, f fabricUnder, typ verbs.QPType) (a, b *end) {
	t.Helper()
	return pairWith(t, f, nil, func(in *verbs.QPInit) { in.Type = typ })
}

func (e *end) modify(t testing.TB, a verbs.QPAttr, mask verbs.AttrMask) {
	t.Helper()
	must(t, e.qp.Modify(a, mask))
}

// drain moves to SQD and asks for the event.
func (e *end) drain(t testing.TB) {
	t.Helper()
	e.modify(t, verbs.QPAttr{State: verbs.SQD, EnSQDAsyncNotify: true}, verbs.AttrState|notify)
}

func (e *end) resume(t testing.TB) {
	t.Helper()
	e.modify(t, verbs.QPAttr{State: verbs.RTS, CurState: verbs.SQD}, verbs.AttrState|curState)
}

// event waits for an event and checks what it is.
func (e *end) event(t testing.TB, want verbs.EventType) verbs.AsyncEvent {
	t.Helper()
	select {
	case ev := <-e.ctx.Events():
		if ev.Type != want {
			t.Fatalf("event %v (%v), want %v", ev.Type, ev.Err, want)
		}
		return ev
	case <-time.After(10 * time.Second):
		t.Fatalf("no event, want %v; queue pair in %v", want, e.state())
		return verbs.AsyncEvent{}
	}
}

// noEvent checks that nobody has raised an event.
func (e *end) noEvent(t testing.TB) {
	t.Helper()
	if ev := e.ctx.AsyncEvents(); len(ev) != 0 {
		t.Fatalf("events %v, want none", ev)
	}
}

func (e *end) draining() bool {
	a, _ := e.qp.Query()
	return a.SQDraining
}

func TestSQDHoldsWhatIsPosted(t *testing.T) {
	eachConnected(t, func(t *testing.T, typ verbs.QPType, f fabricUnder) {
		a, b := typedPair(t, f, typ)
		must(t, b.qp.PostRecv(verbs.RecvWR{ID: 10}, verbs.RecvWR{ID: 11}, verbs.RecvWR{ID: 12}))
		for range 2 { // and again
			a.drain(t)
			if ev := a.event(t, verbs.EventSQDrained); ev.QPN != a.qp.QPN() {
				t.Errorf("event of queue pair %#x, want %#x", ev.QPN, a.qp.QPN())
			}
			if a.draining() {
				t.Error("draining after SQ_DRAINED")
			}
			a.resume(t)
		}
		a.drain(t)
		a.event(t, verbs.EventSQDrained)
		must(t, a.qp.PostSend(verbs.SendWR{ID: 1, Flags: verbs.Signaled}, verbs.SendWR{ID: 2, Flags: verbs.Signaled}))
		a.quiet(t, 3*time.Millisecond)
		b.quiet(t, 0)
		must(t, b.qp.PostSend(verbs.SendWR{ID: 3, Flags: verbs.Signaled})) // the receive queue goes on
		must(t, a.qp.PostRecv(verbs.RecvWR{ID: 4}))
		if typ == verbs.RC {
			b.expect(t, 3, verbs.Success)
			a.expect(t, 4, verbs.Success)
		} else {
			b.expect(t, 3, verbs.Success) // sent, and perhaps lost for want of a receive
			a.cq.Poll(make([]verbs.WC, 1))
		}
		a.noEvent(t)
		a.resume(t)
		a.expect(t, 1, verbs.Success)
		a.expect(t, 2, verbs.Success)
		b.expect(t, 10, verbs.Success)
		b.expect(t, 11, verbs.Success)
		a.noEvent(t)
	})
}

// TestSQDDrains enters SQD with requests in flight: those that have begun complete, and SQ_DRAINED comes after them.
func TestSQDDrains(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := pairWith(t, f, func(_ int, at *verbs.QPAttr) { at.Timeout = 13 }, nil) // 33 ms, eight times: also on a busy machine
		mem, out := b.reg(t, pattern(60_000, 3), allRights), a.reg(t, make([]byte, 60_000), verbs.LocalWrite)
		for i := range uint64(8) {
			must(t, a.qp.PostSend(verbs.SendWR{ID: i, Opcode: verbs.Read, Flags: verbs.Signaled, SG: []verbs.SGE{out.sge()}, RemoteAddr: mem.Addr(), RKey: mem.RKey()}))
		}
		a.drain(t)
		must(t, a.qp.PostSend(verbs.SendWR{ID: 8, Opcode: verbs.Read, Flags: verbs.Signaled, SG: []verbs.SGE{out.sge()}, RemoteAddr: mem.Addr(), RKey: mem.RKey()}))
		a.event(t, verbs.EventSQDrained)
		if a.draining() {
			t.Error("draining after SQ_DRAINED")
		}
		done := uint64(0)
		for wcs := make([]verbs.WC, 16); ; {
			n, err := a.cq.Poll(wcs)
			must(t, err)
			if n == 0 {
				break
			}
			for _, wc := range wcs[:n] {
				if wc.ID != done || wc.Status != verbs.Success {
					t.Fatalf("completion of %d with %v, want %d", wc.ID, wc.Status, done)
				}
				done++
			}
		}
		if done > 8 {
			t.Errorf("%d requests are complete, of which the last was posted in SQD", done)
		}
		a.quiet(t, 3*time.Millisecond)
		a.resume(t)
		for ; done <= 8; done++ {
			a.expect(t, done, verbs.Success)
		}
	})
}

// TestSQDrainingIsTold has the peer not answer for a while.
func TestSQDrainingIsTold(t *testing.T) {
	f := fabricUnder{name: "IBTA packets", open: openInproc, opts: verbs.Options{Packets: true}}
	a, b := pair(t, f)
	must(t, a.qp.PostSend(verbs.SendWR{ID: 1, Flags: verbs.Signaled})) // begun, and refused for want of a receive
	a.quiet(t, time.Millisecond)
	a.drain(t)
	if !a.draining() {
		t.Error("not draining with a request in flight")
	}
	a.noEvent(t)
	must(t, b.qp.PostRecv(verbs.RecvWR{ID: 2}))
	a.expect(t, 1, verbs.Success)
	a.event(t, verbs.EventSQDrained)
	if a.draining() {
		t.Error("draining after SQ_DRAINED")
	}
}

func TestSQDrainedOnlyIfAsked(t *testing.T) {
	eachConnected(t, func(t *testing.T, typ verbs.QPType, f fabricUnder) {
		a, _ := typedPair(t, f, typ)
		for name, leave := range map[string]func(){
			"without the attribute": func() { a.modify(t, verbs.QPAttr{State: verbs.SQD, EnSQDAsyncNotify: true}, verbs.AttrState) },
			"false":                 func() { a.modify(t, verbs.QPAttr{State: verbs.SQD}, verbs.AttrState|notify) },
			"SQD to SQD after it was asked for": func() {
				a.drain(t)
				a.event(t, verbs.EventSQDrained)
				a.modify(t, verbs.QPAttr{State: verbs.SQD}, verbs.AttrState)
				a.modify(t, verbs.QPAttr{Access: allRights}, access)
			},
		} {
			leave()
			if a.draining() {
				t.Errorf("%s: draining an empty queue", name)
			}
			a.noEvent(t)
			a.resume(t)
		}
	})
}

// TestNothingTimesOutInSQD holds a request for longer than the peer would be given.
func TestNothingTimesOutInSQD(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := pairWith(t, f, func(side int, at *verbs.QPAttr) {
			if at.RNRRetry, at.MinRNRTimer = 1, 1; !f.lossy && side == 0 {
				at.Timeout, at.RetryCnt = 14, 0 // 67 ms
			}
		}, nil)
		a.drain(t)
		a.event(t, verbs.EventSQDrained)
		must(t, a.qp.PostSend(verbs.SendWR{ID: 1, Flags: verbs.Signaled})) // the peer has no receive
		a.quiet(t, 80*time.Millisecond)
		must(t, b.qp.PostRecv(verbs.RecvWR{ID: 2}))
		a.resume(t)
		a.expect(t, 1, verbs.Success)
		b.expect(t, 2, verbs.Success)
	})
}

func TestSQDChangesAttributes(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := pair(t, f)
		mem := b.reg(t, pattern(64, 1), allRights)
		out := a.reg(t, make([]byte, 64), verbs.LocalWrite)
		a.drain(t)
		b.drain(t)
		// a takes no request of b any more, and gives up at once on a peer without receives.
		a.modify(t, verbs.QPAttr{State: verbs.SQD, Timeout: 12, RetryCnt: 3, RNRRetry: 0, Access: verbs.RemoteRead, AV: b.ctx.Addr(), GRH: verbs.GRH{SGIDIndex: 1, FlowLabel: 5}},
			verbs.AttrState|timeout|retries|rnrs|access|av)
		b.modify(t, verbs.QPAttr{MaxDestRdAtomic: 1, MinRNRTimer: 3}, destRd|minRNR)
		if got, _ := a.qp.Query(); got.Timeout != 12 || got.RetryCnt != 3 || got.RNRRetry != 0 || got.Access != verbs.RemoteRead || got.GRH.FlowLabel != 5 {
			t.Errorf("attributes %+v after a change in SQD", got)
		}
		a.modify(t, verbs.QPAttr{MaxRdAtomic: 1}, rd)
		a.resume(t)
		b.resume(t)
		for i := range uint64(5) { // one at a time is what the peer takes
			must(t, a.qp.PostSend(verbs.SendWR{ID: i, Opcode: verbs.Read, Flags: verbs.Signaled, SG: []verbs.SGE{out.sge()}, RemoteAddr: mem.Addr(), RKey: mem.RKey()}))
		}
		for i := range uint64(5) {
			a.expect(t, i, verbs.Success)
		}
		a.ctx.AsyncEvents()
		must(t, a.qp.PostSend(verbs.SendWR{ID: 9}))
		a.expect(t, 9, verbs.RNRRetryExcErr)
	})
}

// TestSQDChangesRights takes a right from the peer.
func TestSQDChangesRights(t *testing.T) {
	eachLossless(t, func(t *testing.T, f fabricUnder) {
		a, b := pair(t, f)
		mem, src := b.reg(t, make([]byte, 8), allRights), a.reg(t, pattern(8, 4), 0)
		b.modify(t, verbs.QPAttr{State: verbs.SQD}, verbs.AttrState)
		b.modify(t, verbs.QPAttr{State: verbs.SQD, Access: verbs.RemoteRead}, verbs.AttrState|access)
		must(t, a.qp.PostSend(verbs.SendWR{ID: 1, Opcode: verbs.Write, SG: []verbs.SGE{src.sge()}, RemoteAddr: mem.Addr(), RKey: mem.RKey()}))
		a.expect(t, 1, verbs.RemInvReqErr)
		b.event(t, verbs.EventQPReqErr)
	})
}

func TestSQDToErrAndReset(t *testing.T) {
	eachConnected(t, func(t *testing.T, typ verbs.QPType, f fabricUnder) {
		for _, to := range []verbs.State{verbs.Err, verbs.Reset} {
			a, _ := typedPair(t, f, typ)
			a.modify(t, verbs.QPAttr{State: verbs.SQD}, verbs.AttrState)
			must(t, a.qp.PostSend(verbs.SendWR{ID: 1}, verbs.SendWR{ID: 2}))
			must(t, a.qp.PostRecv(verbs.RecvWR{ID: 3}))
			a.modify(t, verbs.QPAttr{State: to}, verbs.AttrState)
			if to == verbs.Err {
				for id := range uint64(3) {
					a.expect(t, id+1, verbs.WRFlushErr)
				}
			}
			a.quiet(t, 0)
			a.noEvent(t)
			if a.draining() {
				t.Errorf("draining in %v", to)
			}
		}
	})
}

// TestRequestsAreCopied changes what a request pointed at while it waits.
func TestRequestsAreCopied(t *testing.T) {
	f := plainFabrics[0]
	a, b := pair(t, f)
	mem, out := b.reg(t, make([]byte, 8), allRights), a.reg(t, make([]byte, 8), verbs.LocalWrite)
	a.modify(t, verbs.QPAttr{State: verbs.SQD}, verbs.AttrState)
	mask := verbs.AtomicMask{Compare: 0, Swap: 0xff}
	sg := []verbs.SGE{out.sge()}
	must(t, a.qp.PostSend(verbs.SendWR{ID: 1, Opcode: verbs.MaskedCompareSwap, Flags: verbs.Signaled, SG: sg, Mask: &mask, Swap: 0x1234, RemoteAddr: mem.Addr(), RKey: mem.RKey()}))
	mask.Swap, sg[0] = 0, verbs.SGE{}
	a.resume(t)
	a.expect(t, 1, verbs.Success)
	if b.sync(); mem.b[0] != 0x34 || mem.b[1] != 0 {
		t.Errorf("the atomic left %v, want 0x34 in the first byte", mem.b)
	}
}
