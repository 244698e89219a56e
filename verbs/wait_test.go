package verbs_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"outboard/verbs"
)

// sleepy makes waiters go to sleep almost at once.
var sleepy = verbs.WaitPolicy{Spin: 1, Yield: time.Nanosecond}

func TestWaitEndsWithItsContext(t *testing.T) {
	for _, f := range plainFabrics {
		for name, policy := range map[string]verbs.WaitPolicy{"spinning": verbs.DefaultWait(f.name), "asleep": sleepy} {
			t.Run(f.name+"/"+name, func(t *testing.T) {
				e := newEnd(t, f)
				e.ctx.SetWait(policy)
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(5*time.Millisecond, func() { cancel(errors.New("enough")) })
				if _, err := e.cq.Wait(ctx, make([]verbs.WC, 1)); !errors.Is(err, context.Canceled) {
					t.Errorf("Wait gave %v, want %v", err, context.Canceled)
				}
				if _, err := e.cq.Wait(ctx, make([]verbs.WC, 1)); !errors.Is(err, context.Canceled) {
					t.Errorf("Wait with a context that is over gave %v, want %v", err, context.Canceled)
				}
				_, err := e.cq.Wait(t.Context(), nil)
				wantErr(t, err, verbs.ErrInvalid)
			})
		}
	}
}

func TestWaitFindsWhatIsThere(t *testing.T) {
	e := newEnd(t, plainFabrics[0])
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, e.ctx.Wait(ctx, func() bool { return true }))
	var flag atomic.Uint32
	flag.Store(1)
	must(t, e.ctx.Engine().WaitFlag(ctx, &flag))
	must(t, e.ctx.Engine().WaitFlag(nil, &flag)) //nolint:staticcheck // nil is for ever
}

// TestManyWaiters has waiters asleep on one context, each for something else; a peer, or a goroutine of the same
// context, brings them what they wait for, and none must be missed.
func TestManyWaiters(t *testing.T) {
	for _, f := range plainFabrics {
		t.Run(f.name, func(t *testing.T) {
			a, b := newEnd(t, f), newEnd(t, f)
			a.ctx.SetWait(sleepy)
			b.ctx.SetWait(sleepy)
			const waiters, rounds = 6, 40
			var wg sync.WaitGroup
			for i := range waiters {
				x, y := newEndOn(t, f, a.ctx, nil), newEndOn(t, f, b.ctx, nil)
				x.connect(t, y)
				y.connect(t, x)
				wg.Go(func() { // waits for the peer
					for round := range uint64(rounds) {
						if !serve(t, y, round) {
							return
						}
					}
				})
				wg.Go(func() {
					for round := range uint64(rounds) {
						if i%2 == 0 {
							time.Sleep(time.Duration(round%5) * 50 * time.Microsecond)
						}
						if !call(t, x, round) {
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// serve waits for a message and answers it; call sends one and waits for the answer.
func serve(t *testing.T, e *end, id uint64) bool {
	return check(t, e.qp.PostRecv(verbs.RecvWR{ID: id})) && got(t, e, id) &&
		check(t, e.qp.PostSend(verbs.SendWR{}))
}

func call(t *testing.T, e *end, id uint64) bool {
	return check(t, e.qp.PostRecv(verbs.RecvWR{ID: id})) && check(t, e.qp.PostSend(verbs.SendWR{})) && got(t, e, id)
}

func check(t *testing.T, err error) bool {
	if err != nil {
		t.Error(err)
	}
	return err == nil
}

func got(t *testing.T, e *end, id uint64) bool {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var wc [1]verbs.WC
	if _, err := e.cq.Wait(ctx, wc[:]); err != nil || wc[0].ID != id || wc[0].Status != verbs.Success {
		t.Errorf("completion %+v, error %v; want request %d", wc[0], err, id)
		return false
	}
	return true
}

// TestCompletionWakesSleeper has one goroutine asleep while another's call, which never polls, brings its completion.
func TestCompletionWakesSleeper(t *testing.T) {
	for _, f := range plainFabrics {
		for name, act := range map[string]func(a *end) error{
			"a direct write": func(a *end) error {
				return a.qp.PostSend(verbs.SendWR{ID: 1, Opcode: verbs.Write, Flags: verbs.Signaled})
			},
			"a flush": func(a *end) error {
				return errors.Join(a.qp.PostRecv(verbs.RecvWR{ID: 1}), a.qp.Modify(verbs.QPAttr{State: verbs.Err}, verbs.AttrState))
			},
		} {
			t.Run(f.name+"/"+name, func(t *testing.T) {
				a, _ := pair(t, f)
				a.ctx.SetWait(sleepy)
				done := make(chan bool)
				go func() { done <- waitsWell(a) }()
				time.Sleep(3 * time.Millisecond)
				must(t, act(a))
				select {
				case <-done:
				case <-time.After(5 * time.Second):
					t.Fatal("the sleeper was not woken")
				}
			})
		}
	}
}

func waitsWell(e *end) bool {
	_, err := e.cq.Wait(context.Background(), make([]verbs.WC, 1))
	return err == nil
}

func TestCloseWhileOthersWait(t *testing.T) {
	for _, f := range plainFabrics {
		t.Run(f.name, func(t *testing.T) {
			for range 20 {
				a, b := pair(t, f)
				a.ctx.SetWait(sleepy)
				const waiters = 4
				errs := make(chan error, waiters)
				for range waiters {
					go func() { _, err := a.cq.Wait(context.Background(), make([]verbs.WC, 1)); errs <- err }()
				}
				must(t, a.qp.PostSend(verbs.SendWR{}))
				must(t, a.ctx.Close())
				for range waiters {
					wantErr(t, <-errs, verbs.ErrDestroyed)
				}
				must(t, b.ctx.Close())
			}
		})
	}
}

// TestProgressWithoutHost has a host that computes and calls nothing, while its peer uses its memory by packets.
func TestProgressWithoutHost(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := pair(t, f)
		mem, buf := b.reg(t, pattern(20_000, 1), allRights), a.reg(t, make([]byte, 20_000), verbs.LocalWrite)
		dst := b.reg(t, make([]byte, 8), verbs.LocalWrite)
		must(t, b.qp.PostRecv(verbs.RecvWR{ID: 7, SG: []verbs.SGE{dst.sge()}}))
		time.Sleep(5 * time.Millisecond) // the host is away
		for i := range uint64(10) {
			must(t, a.qp.PostSend(verbs.SendWR{ID: i, Opcode: verbs.Read, Flags: verbs.Signaled, SG: []verbs.SGE{buf.sge()}, RemoteAddr: mem.Addr(), RKey: mem.RKey()},
				verbs.SendWR{ID: i, Opcode: verbs.Write, Flags: verbs.Signaled | verbs.Fence, SG: []verbs.SGE{buf.sge()}, RemoteAddr: mem.Addr(), RKey: mem.RKey()}))
			a.expect(t, i, verbs.Success)
			a.expect(t, i, verbs.Success)
			time.Sleep(time.Duration(i) * 300 * time.Microsecond)
		}
		must(t, a.qp.PostSend(verbs.SendWR{ID: 11, Flags: verbs.Signaled}))
		a.expect(t, 11, verbs.Success)
		b.expect(t, 7, verbs.Success)
	})
}

// TestNapRunsTheRuntime has a runtime that asks to be called again after a while: it must be, though nothing arrives.
func TestNapRunsTheRuntime(t *testing.T) {
	for _, f := range plainFabrics {
		t.Run(f.name, func(t *testing.T) {
			ctx, err := verbs.Open(f.open(t))
			must(t, err)
			defer ctx.Close()
			ctx.SetWait(sleepy)
			e := ctx.Engine()
			var runs int
			var flag atomic.Uint32
			e.Lock()
			e.Attach(func() time.Duration {
				if runs++; runs == 5 {
					flag.Store(1)
					e.Progressed()
				}
				return time.Millisecond
			}, nil)
			e.Again()
			e.Unlock()
			c, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			must(t, e.WaitFlag(c, &flag))
		})
	}
}
