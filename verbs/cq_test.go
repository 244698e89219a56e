package verbs_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"outboard/verbs"
)

func TestCreateCQ(t *testing.T) {
	e, other := newEnd(t, plainFabrics[0]), newEnd(t, plainFabrics[0])
	for _, n := range []int{-1, 0, e.ctx.Limits().MaxCQE + 1} {
		_, err := e.ctx.CreateCQ(n, nil)
		wantErr(t, err, verbs.ErrInvalid)
	}
	ch, err := other.ctx.CreateCompChannel()
	must(t, err)
	_, err = e.ctx.CreateCQ(1, ch)
	wantErr(t, err, verbs.ErrInvalid)
	must(t, ch.Close())
	wantErr(t, ch.Close(), verbs.ErrDestroyed)
	_, err = other.ctx.CreateCQ(1, ch)
	wantErr(t, err, verbs.ErrInvalid)
	wantErr(t, e.cq.ReqNotify(false), verbs.ErrInvalid)
}

func TestDestroyCQ(t *testing.T) {
	e := newEnd(t, plainFabrics[0])
	wantErr(t, e.cq.Destroy(), verbs.ErrBusy)
	must(t, e.qp.Destroy())
	wantErr(t, e.qp.Destroy(), verbs.ErrDestroyed)
	must(t, e.cq.Destroy())
	wantErr(t, e.cq.Destroy(), verbs.ErrDestroyed)
	_, err := e.cq.Poll(make([]verbs.WC, 1))
	wantErr(t, err, verbs.ErrDestroyed)
	_, err = e.cq.Wait(t.Context(), make([]verbs.WC, 1))
	wantErr(t, err, verbs.ErrDestroyed)
	_, err = e.ctx.CreateQP(e.pd, verbs.QPInit{SendCQ: e.cq, RecvCQ: e.cq})
	wantErr(t, err, verbs.ErrInvalid)
}

func TestCQWrapsAround(t *testing.T) {
	a, b := newEnd(t, plainFabrics[0]), newEnd(t, plainFabrics[0])
	small, err := b.ctx.CreateCQ(3, nil)
	must(t, err)
	b.cq = small
	b.qp, err = b.ctx.CreateQP(b.pd, verbs.QPInit{SendCQ: small, RecvCQ: small, Cap: defaultCap})
	must(t, err)
	a.connect(t, b)
	b.connect(t, a)
	for i := range uint64(20) {
		n := 1 + i%3 // up to the capacity at once
		for k := range n {
			must(t, b.qp.PostRecv(verbs.RecvWR{ID: i*10 + k}))
			must(t, a.qp.PostSend(verbs.SendWR{}))
		}
		for k := range n {
			b.expect(t, i*10+k, verbs.Success)
		}
	}
}

func TestCQOverflow(t *testing.T) {
	a, b := newEnd(t, plainFabrics[0]), newEnd(t, plainFabrics[0])
	small, err := b.ctx.CreateCQ(3, nil)
	must(t, err)
	roomy := b.cq
	b.qp, err = b.ctx.CreateQP(b.pd, verbs.QPInit{SendCQ: roomy, RecvCQ: small, Cap: defaultCap})
	must(t, err)
	bystander, err := b.ctx.CreateQP(b.pd, verbs.QPInit{SendCQ: small, RecvCQ: small, Cap: defaultCap})
	must(t, err)
	standing := &end{ctx: b.ctx, pd: b.pd, cq: small, qp: bystander}
	standing.bring(t, attrFor(standing), verbs.RTS)
	other := newEndOn(t, b.f, b.ctx, nil)
	other.bring(t, attrFor(other), verbs.RTS)

	a.bring(t, func() verbs.QPAttr { x := attrFor(b); x.Timeout, x.RetryCnt = 10, 0; return x }(), verbs.RTS)
	b.connect(t, a)
	for i := range uint64(6) {
		must(t, b.qp.PostRecv(verbs.RecvWR{ID: i}))
		must(t, a.qp.PostSend(verbs.SendWR{ID: i, Flags: verbs.Signaled}))
	}
	for i := range uint64(3) {
		a.expect(t, i, verbs.Success)
	}
	b.reaches(t, verbs.Err)
	standing.reaches(t, verbs.Err)
	if other.state() != verbs.RTS {
		t.Errorf("a queue pair of another completion queue is in %v, want RTS", other.state())
	}
	b.cq = small
	for i := range uint64(3) {
		b.expect(t, i, verbs.Success)
	}
	_, err = small.Poll(make([]verbs.WC, 1))
	wantErr(t, err, verbs.ErrOverflow)
	_, err = small.Wait(t.Context(), make([]verbs.WC, 1))
	wantErr(t, err, verbs.ErrOverflow)
	wantErr(t, small.Resize(100), verbs.ErrOverflow)
	a.expect(t, 3, verbs.RetryExcErr) // its completion was lost, so it was not acknowledged
	for i := uint64(4); i < 6; i++ {
		a.expect(t, i, verbs.WRFlushErr)
	}
	if ev := b.ctx.AsyncEvents(); len(ev) != 1 || ev[0].Type != verbs.EventCQErr || ev[0].CQ != small || !errors.Is(ev[0].Err, verbs.ErrOverflow) {
		t.Errorf("events %v, want one CQ_ERR", ev)
	}
}

// channelEnd gives b a completion queue with a channel.
func channelEnd(t *testing.T) (a, b *end, ch *verbs.CompChannel) {
	a, b = newEnd(t, plainFabrics[0]), newEnd(t, plainFabrics[0])
	ch, err := b.ctx.CreateCompChannel()
	must(t, err)
	b.cq, err = b.ctx.CreateCQ(16, ch)
	must(t, err)
	b.qp, err = b.ctx.CreateQP(b.pd, verbs.QPInit{SendCQ: b.cq, RecvCQ: b.cq, Cap: defaultCap})
	must(t, err)
	a.connect(t, b)
	b.connect(t, a)
	return a, b, ch
}

// event reports whether the channel delivers an event soon.
func event(t *testing.T, ch *verbs.CompChannel, cq *verbs.CQ) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	got, err := ch.Get(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	must(t, err)
	if got != cq {
		t.Fatalf("event of queue %p, want %p", got, cq)
	}
	return true
}

func TestCompletionEvents(t *testing.T) {
	for _, c := range []struct {
		name      string
		arm       []bool // solicited only
		solicited bool
		fail      bool
		want      bool
	}{
		{name: "not armed", want: false},
		{name: "any", arm: []bool{false}, want: true},
		{name: "solicited by an ordinary message", arm: []bool{true}, want: false},
		{name: "solicited by a solicited message", arm: []bool{true}, solicited: true, want: true},
		{name: "solicited by a failure", arm: []bool{true}, fail: true, want: true},
		{name: "any after solicited", arm: []bool{true, false}, want: true},
		{name: "solicited after any", arm: []bool{false, true}, want: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b, ch := channelEnd(t)
			must(t, b.qp.PostRecv(verbs.RecvWR{}, verbs.RecvWR{}))
			for _, solicited := range c.arm {
				must(t, b.cq.ReqNotify(solicited))
			}
			if c.fail {
				must(t, b.qp.Modify(verbs.QPAttr{State: verbs.Err}, verbs.AttrState))
			} else {
				wr := verbs.SendWR{}
				if c.solicited {
					wr.Flags |= verbs.Solicited
				}
				must(t, a.qp.PostSend(wr, wr))
			}
			if got := event(t, ch, b.cq); got != c.want {
				t.Errorf("event: %v, want %v", got, c.want)
			}
			if event(t, ch, b.cq) {
				t.Error("a second event without arming again")
			}
		})
	}
}

func TestChannelEnds(t *testing.T) {
	t.Run("Close wakes Get", func(t *testing.T) {
		_, _, ch := channelEnd(t)
		done := make(chan error)
		go func() { _, err := ch.Get(context.Background()); done <- err }()
		time.Sleep(2 * time.Millisecond)
		must(t, ch.Close())
		wantErr(t, <-done, verbs.ErrDestroyed)
	})
	t.Run("closing the context wakes Get", func(t *testing.T) {
		_, b, ch := channelEnd(t)
		done := make(chan error)
		go func() { _, err := ch.Get(context.Background()); done <- err }()
		time.Sleep(2 * time.Millisecond)
		must(t, b.ctx.Close())
		wantErr(t, <-done, verbs.ErrDestroyed)
	})
	t.Run("a destroyed queue has no events", func(t *testing.T) {
		_, b, ch := channelEnd(t)
		must(t, b.qp.PostRecv(verbs.RecvWR{}))
		must(t, b.cq.ReqNotify(false))
		must(t, b.qp.Modify(verbs.QPAttr{State: verbs.Err}, verbs.AttrState))
		must(t, b.qp.Destroy())
		must(t, b.cq.Destroy())
		if event(t, ch, b.cq) {
			t.Error("event of a destroyed queue")
		}
		wantErr(t, b.cq.ReqNotify(false), verbs.ErrDestroyed)
	})
}
