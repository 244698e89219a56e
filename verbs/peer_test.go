package verbs_test

import (
	"errors"
	"testing"
	"time"

	"outboard/verbs"
)

func TestPeerGone(t *testing.T) {
	for name, leave := range map[string]func(b *end) error{
		"closes its context":      func(b *end) error { return b.ctx.Close() },
		"destroys its queue pair": func(b *end) error { return b.qp.Destroy() },
		"resets its queue pair":   func(b *end) error { return b.qp.Modify(verbs.QPAttr{State: verbs.Reset}, verbs.AttrState) },
	} {
		t.Run(name, func(t *testing.T) {
			eachFabric(t, func(t *testing.T, f fabricUnder) {
				a, b := pairWith(t, f, func(_ int, at *verbs.QPAttr) { at.Timeout = 0 }, nil)
				must(t, a.qp.PostRecv(verbs.RecvWR{ID: 7}))
				must(t, a.qp.PostSend(verbs.SendWR{ID: 1}, verbs.SendWR{ID: 2})) // the peer has no receive
				must(t, leave(b))
				a.expect(t, 1, verbs.RetryExcErr)
				a.expect(t, 2, verbs.WRFlushErr)
				a.expect(t, 7, verbs.WRFlushErr)
				a.reaches(t, verbs.Err)
			})
		})
	}
}

func TestLastMessageBeforeTheEnd(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := pair(t, f)
		must(t, b.qp.PostRecv(verbs.RecvWR{ID: 1}, verbs.RecvWR{ID: 2}))
		must(t, a.qp.PostSend(verbs.SendWR{}))
		must(t, a.ctx.Close())
		b.expect(t, 1, verbs.Success)
		b.expect(t, 2, verbs.WRFlushErr)
	})
}

// TestReset takes both sides back to RESET and connects them again, many times, with work in every state.
func TestReset(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := newEnd(t, f), newEnd(t, f)
		qpn := [2]uint32{a.qp.QPN(), b.qp.QPN()}
		for round := range 20 {
			a.bring(t, attrFor(b), verbs.Init)
			b.bring(t, attrFor(a), verbs.Init)
			for _, e := range []*end{a, b} {
				at := attrFor(map[*end]*end{a: b, b: a}[e])
				retryBusy(t, func() error { at.State = verbs.RTR; return e.qp.Modify(at, maskRTR) })
				at.State = verbs.RTS
				must(t, e.qp.Modify(at, maskRTS))
			}
			exchange(t, a, b)
			exchange(t, b, a)
			// Work that the reset swallows, without completions.
			src := a.reg(t, pattern(100, 1), allRights)
			must(t, a.qp.PostSend(verbs.SendWR{Flags: verbs.Signaled, SG: []verbs.SGE{src.sge()}}))
			must(t, a.qp.PostRecv(verbs.RecvWR{SG: []verbs.SGE{src.sge()}}))
			if round%3 == 1 {
				must(t, a.qp.Modify(verbs.QPAttr{State: verbs.Err}, verbs.AttrState))
				a.wait(t)
				a.wait(t)
			}
			must(t, a.qp.Modify(verbs.QPAttr{State: verbs.Reset}, verbs.AttrState))
			must(t, src.Dereg())
			if round%2 == 0 {
				b.reaches(t, verbs.Err)
			}
			must(t, b.qp.Modify(verbs.QPAttr{State: verbs.Reset}, verbs.AttrState))
			a.quiet(t, 0)
			b.quiet(t, 0)
			if got := [2]uint32{a.qp.QPN(), b.qp.QPN()}; got != qpn {
				t.Fatalf("queue pair numbers %v after a reset, want %v", got, qpn)
			}
		}
	})
}

// retryBusy repeats a call while the queue pair's last peer has not left.
func retryBusy(t *testing.T, call func() error) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		err := call()
		if err == nil {
			return
		}
		if !errors.Is(err, verbs.ErrBusy) || time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// TestResetWhilePeerHoldsOn resets one side only; another peer connects to it.
func TestResetWhilePeerHoldsOn(t *testing.T) {
	a, b := pair(t, plainFabrics[0])
	c := newEnd(t, plainFabrics[0])
	must(t, a.qp.Modify(verbs.QPAttr{State: verbs.Reset}, verbs.AttrState))
	// No new queue pair takes a's number meanwhile.
	for range 2000 {
		qp, err := a.ctx.CreateQP(a.pd, verbs.QPInit{SendCQ: a.cq, RecvCQ: a.cq})
		must(t, err)
		if qp.QPN() == a.qp.QPN() {
			t.Fatalf("a second queue pair %#x", qp.QPN())
		}
		must(t, qp.Destroy())
	}
	b.reaches(t, verbs.Err)
	a.bring(t, attrFor(c), verbs.Init)
	retryBusy(t, func() error { at := attrFor(c); at.State = verbs.RTR; return a.qp.Modify(at, maskRTR) })
	at := attrFor(c)
	at.State = verbs.RTS
	must(t, a.qp.Modify(at, maskRTS))
	c.connect(t, a)
	exchange(t, a, c)
	exchange(t, c, a)
}

// TestVisitorLeaves has a peer connect to a queue pair that is not connected, and leave: the next one must find it
// as if nothing had been.
func TestVisitorLeaves(t *testing.T) {
	for _, s := range []verbs.State{verbs.Reset, verbs.Init} {
		t.Run(s.String(), func(t *testing.T) {
			host, friend := newEnd(t, plainFabrics[0]), newEnd(t, plainFabrics[0])
			host.bring(t, attrFor(friend), s)
			for range 5 {
				visitor := newEnd(t, plainFabrics[0])
				retryUnreachable(t, func() error { return tryConnect(visitor, host) })
				must(t, visitor.qp.Destroy())
				host.quiet(t, time.Millisecond)
				if host.state() != s {
					t.Fatalf("queue pair in %v, want %v", host.state(), s)
				}
			}
			if s == verbs.Reset {
				host.bring(t, attrFor(friend), verbs.Init)
			}
			host.bringFromInit(t, attrFor(friend))
			friend.connect(t, host)
			exchange(t, host, friend)
		})
	}
}

func tryConnect(e, peer *end) error {
	a := attrFor(peer)
	if e.state() == verbs.Reset {
		a.State = verbs.Init
		if err := e.qp.Modify(a, maskInit); err != nil {
			return err
		}
	}
	a.State = verbs.RTR
	return e.qp.Modify(a, maskRTR)
}

func retryUnreachable(t *testing.T, call func() error) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		err := call()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func TestDestroyWithWork(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := pair(t, f)
		src := a.reg(t, pattern(5000, 1), allRights)
		must(t, a.qp.PostRecv(verbs.RecvWR{SG: []verbs.SGE{src.sge()}}))
		must(t, b.qp.PostRecv(verbs.RecvWR{ID: 1}))
		must(t, a.qp.PostSend(verbs.SendWR{}, verbs.SendWR{SG: []verbs.SGE{src.sge()}}))
		must(t, a.qp.Destroy())
		must(t, src.Dereg())
		a.quiet(t, 0)
		b.expect(t, 1, verbs.Success)
		b.reaches(t, verbs.Err)
		must(t, b.qp.Destroy())
		must(t, a.cq.Destroy())
	})
}
