package verbs_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"outboard/verbs"
	"outboard/verbs/fabric"
	"outboard/verbs/fabric/faulty"
)

// TestSelectWakes has a host that only selects: nobody polls either context, so its progress goroutine must
// take the message in.
func TestSelectWakes(t *testing.T) {
	for _, f := range plainFabrics {
		t.Run(f.name, func(t *testing.T) {
			a, b := newEnd(t, f), newEnd(t, f)
			ch := b.withChannel(t)
			a.connect(t, b)
			b.connect(t, a)
			const messages = 8
			for i := range uint64(messages) {
				must(t, b.qp.PostRecv(verbs.RecvWR{ID: i}))
			}
			best := time.Hour
			for i := range uint64(messages) {
				must(t, b.cq.ReqNotify(false))
				time.Sleep(3 * time.Millisecond) // the host of b is away
				start := time.Now()
				must(t, a.qp.PostSend(verbs.SendWR{}))
				select {
				case <-ch.C():
				case <-time.After(10 * time.Second):
					t.Fatal("a select does not wake")
				}
				best = min(best, time.Since(start))
				if q, ok := ch.TryGet(); !ok || q != b.cq {
					t.Fatalf("event of queue %p, %v, want one of %p", q, ok, b.cq)
				}
				b.expect(t, i, verbs.Success)
			}
			if best > 50*time.Millisecond {
				t.Errorf("the fastest of %d selects took %v", messages, best)
			}
		})
	}
}

// TestSelectWakesAfterLoss loses the first packet: only a timer, which nobody rings for, sends it again.
func TestSelectWakesAfterLoss(t *testing.T) {
	dropFirst := func(t testing.TB) fabric.Port {
		p, err := faulty.Wrap(openInproc(t), faulty.Options{Inject: faulty.OnIndex(0, faulty.Drop)})
		must(t, err)
		return p
	}
	a, b := newEnd(t, fabricUnder{name: "drops the first", open: dropFirst}), newEnd(t, plainFabrics[0])
	ch := a.withChannel(t)
	a.connect(t, b)
	b.connect(t, a)
	must(t, b.qp.PostRecv(verbs.RecvWR{}))
	must(t, a.cq.ReqNotify(false))
	time.Sleep(20 * time.Millisecond) // a's progress goroutine sleeps, with nothing to do
	must(t, a.qp.PostSend(verbs.SendWR{ID: 5, Flags: verbs.Signaled}))
	select {
	case <-ch.C():
		a.expect(t, 5, verbs.Success)
	case <-time.After(10 * time.Second):
		t.Fatal("what was lost is not sent again")
	}
}

// withChannel gives e a completion queue with a channel, and a queue pair that uses it.
func (e *end) withChannel(t testing.TB) *verbs.CompChannel {
	t.Helper()
	ch, err := e.ctx.CreateCompChannel()
	must(t, err)
	e.cq, err = e.ctx.CreateCQ(64, ch)
	must(t, err)
	must(t, e.qp.Destroy())
	e.qp, err = e.ctx.CreateQP(e.pd, verbs.QPInit{SendCQ: e.cq, RecvCQ: e.cq, Cap: defaultCap})
	must(t, err)
	return ch
}

// raiser is a completion queue on ch whose events come when asked for.
type raiser struct {
	cq *verbs.CQ
	qp *verbs.QP
}

func newRaiser(t testing.TB, e *end, ch *verbs.CompChannel) raiser {
	t.Helper()
	cq, err := e.ctx.CreateCQ(64, ch)
	must(t, err)
	side := newEndOn(t, e.f, e.ctx, func(in *verbs.QPInit) { in.SendCQ, in.RecvCQ = cq, cq })
	side.bring(t, attrFor(side), verbs.Init)
	must(t, side.qp.Modify(verbs.QPAttr{State: verbs.Err}, verbs.AttrState))
	return raiser{cq, side.qp}
}

func (r raiser) raise(t testing.TB) {
	t.Helper()
	must(t, r.cq.ReqNotify(false))
	must(t, r.qp.PostRecv(verbs.RecvWR{}))
}

func (r raiser) destroy(t testing.TB) {
	t.Helper()
	must(t, r.qp.Destroy())
	must(t, r.cq.Destroy())
}

// readable tells whether a select on the channel's token would run, and leaves the token there.
func readable(ch *verbs.CompChannel) bool { return len(ch.C()) > 0 }

func TestChannelTokens(t *testing.T) {
	open := func(t *testing.T) (*end, *verbs.CompChannel) {
		e := newEnd(t, plainFabrics[0])
		ch, err := e.ctx.CreateCompChannel()
		must(t, err)
		return e, ch
	}
	take := func(t *testing.T, ch *verbs.CompChannel, want ...*verbs.CQ) {
		t.Helper()
		for i, cq := range want {
			if !readable(ch) {
				t.Fatalf("no token for event %d", i)
			}
			if q, ok := ch.TryGet(); !ok || q != cq {
				t.Fatalf("event %d: queue %p, %v, want %p", i, q, ok, cq)
			}
		}
		if q, ok := ch.TryGet(); ok || q != nil || readable(ch) {
			t.Fatalf("one more event, of %p, or token", q)
		}
	}
	t.Run("several queues in the order of their events", func(t *testing.T) {
		e, ch := open(t)
		x, y, z := newRaiser(t, e, ch), newRaiser(t, e, ch), newRaiser(t, e, ch)
		y.raise(t)
		x.raise(t)
		z.raise(t)
		take(t, ch, y.cq, x.cq, z.cq)
	})
	t.Run("armed again before the event is taken", func(t *testing.T) {
		e, ch := open(t)
		x := newRaiser(t, e, ch)
		x.raise(t)
		x.raise(t)
		take(t, ch, x.cq, x.cq)
	})
	t.Run("the token comes back while events are left", func(t *testing.T) {
		e, ch := open(t)
		x := newRaiser(t, e, ch)
		x.raise(t)
		x.raise(t)
		<-ch.C()
		if _, ok := ch.TryGet(); !ok || !readable(ch) {
			t.Fatal("no token for the second event")
		}
		<-ch.C()
		if _, ok := ch.TryGet(); !ok || readable(ch) {
			t.Fatal("no second event, or a token without one")
		}
	})
	t.Run("Get takes the token with the last event", func(t *testing.T) {
		e, ch := open(t)
		x := newRaiser(t, e, ch)
		x.raise(t)
		if !event(t, ch, x.cq) || readable(ch) {
			t.Fatal("no event, or a token without one")
		}
	})
	t.Run("the events of a destroyed queue are gone", func(t *testing.T) {
		e, ch := open(t)
		x, y := newRaiser(t, e, ch), newRaiser(t, e, ch)
		x.raise(t)
		y.raise(t)
		x.destroy(t)
		take(t, ch, y.cq)
		y.raise(t)
		y.destroy(t)
		take(t, ch)
	})
	for _, c := range []struct {
		name string
		end  func(*end, *verbs.CompChannel) error
	}{
		{"closing the channel", func(_ *end, ch *verbs.CompChannel) error { return ch.Close() }},
		{"closing the context", func(e *end, _ *verbs.CompChannel) error { return e.ctx.Close() }},
	} {
		t.Run(c.name+" wakes a select", func(t *testing.T) {
			e, ch := open(t)
			newRaiser(t, e, ch).raise(t)
			<-ch.C()
			must(t, c.end(e, ch))
			if _, ok := <-ch.C(); ok {
				t.Error("the token's channel is not closed")
			}
			if q, ok := ch.TryGet(); ok {
				t.Errorf("event of %p on a closed channel", q)
			}
			wantErr(t, ch.Close(), verbs.ErrDestroyed)
		})
	}
}

// TestChannelRace destroys queues while their events are being taken, by several goroutines in all three ways. What is taken is
// an event that was raised.
func TestChannelRace(t *testing.T) {
	e := newEnd(t, plainFabrics[0])
	ch, err := e.ctx.CreateCompChannel()
	must(t, err)
	var mu sync.Mutex
	raised := map[*verbs.CQ]int{}
	note := func(q *verbs.CQ) error {
		mu.Lock()
		defer mu.Unlock()
		if raised[q]--; raised[q] < 0 {
			return fmt.Errorf("queue %p: more events than were raised", q)
		}
		return nil
	}
	var takers sync.WaitGroup
	for range 2 {
		takers.Go(func() {
			for range ch.C() {
				for q, ok := ch.TryGet(); ok; q, ok = ch.TryGet() {
					if err := note(q); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	takers.Go(func() {
		for {
			q, err := ch.Get(t.Context())
			if err != nil {
				return
			}
			if err := note(q); err != nil {
				t.Error(err)
			}
		}
	})
	var raisers sync.WaitGroup
	for range 2 {
		raisers.Go(func() {
			for range 100 {
				r := newRaiser(t, e, ch)
				for range 3 {
					mu.Lock()
					raised[r.cq]++
					mu.Unlock()
					r.raise(t)
				}
				r.destroy(t)
			}
		})
	}
	raisers.Wait()
	must(t, ch.Close())
	takers.Wait()
}
