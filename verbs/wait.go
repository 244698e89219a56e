package verbs

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"
)

// WaitPolicy is how a waiting goroutine lends its thread to the NIC: first it
// polls in a tight loop, then it polls and yields, then it sleeps until a
// peer rings.
type WaitPolicy struct {
	// Spin is the number of polls before the first yield.
	Spin int
	// Yield is how long it polls and yields. It must exceed the time that
	// waking a sleeper takes (20 µs between cores), or two sides
	// that answer each other keep sleeping.
	Yield time.Duration
	// OSYield yields the processor as well as the goroutine, for ranks in several processes.
	OSYield bool
}

// DefaultWait is the policy for a fabric when nothing is known about the load.
func DefaultWait(fabricName string) WaitPolicy {
	if fabricName == "inproc" {
		return WaitPolicy{Spin: 20, Yield: 100 * time.Microsecond}
	}
	return WaitPolicy{Spin: 2000, Yield: 100 * time.Microsecond, OSYield: true}
}

// SetWait replaces the policy. Call it before the first wait.
func (c *Context) SetWait(p WaitPolicy) { c.wait = p }

// Wait runs the NIC on the caller's goroutine until done reports true or ctx is over,
// and returns ctx's error in that case. done is called under the NIC's
// lock, so it must not call methods that lock.
func (c *Context) Wait(ctx context.Context, done func() bool) error {
	return c.await(ctx, nil, done)
}

// WaitFlag is Wait until f is not zero: the cheaper form, which looks at f without the lock.
func (e Engine) WaitFlag(ctx context.Context, f *atomic.Uint32) error {
	return e.c.await(ctx, f, nil)
}

// unlock leaves the NIC; sleepers whose work may be done are woken first.
func (c *Context) unlock() {
	ring := c.progressed && c.sleepers.Load() > 0
	c.progressed = false
	c.mu.Unlock()
	if ring {
		c.port.Ring()
	}
}

func (c *Context) await(ctx context.Context, f *atomic.Uint32, done func() bool) error {
	for i := 0; i < c.wait.Spin; i++ {
		if c.look(f, done) {
			return nil
		}
	}
	return c.awaitSlow(ctx, f, done)
}

// look polls once, if nobody else is doing so, and reports whether the wait is over.
func (c *Context) look(f *atomic.Uint32, done func() bool) bool {
	if f != nil && f.Load() != 0 {
		return true
	}
	if !c.mu.TryLock() {
		return false
	}
	return c.lookLocked(f, done)
}

// pollsPerLock is how often a waiter polls before it gives others a chance at the
// NIC: taking the lock costs as much as two polls.
const pollsPerLock = 8

func (c *Context) lookLocked(f *atomic.Uint32, done func() bool) bool {
	over := done != nil && done()
	for i := 0; i < pollsPerLock && !over; i++ {
		c.poll()
		over = f != nil && f.Load() != 0 || done != nil && done() || c.closed
	}
	c.unlock()
	return over
}

func (c *Context) awaitSlow(ctx context.Context, f *atomic.Uint32, done func() bool) error {
	for {
		for start := time.Now(); time.Since(start) < c.wait.Yield; {
			if c.look(f, done) {
				return nil
			}
			if ctx != nil && ctx.Err() != nil {
				return ctx.Err()
			}
			runtime.Gosched()
			if c.wait.OSYield {
				osYield()
			}
		}
		if c.sleep(ctx, f, done) {
			return nil
		}
	}
}

// sleep arms the port, looks once more and sleeps until it is rung. It reports
// whether the wait is over.
func (c *Context) sleep(ctx context.Context, f *atomic.Uint32, done func() bool) bool {
	c.sleepers.Add(1)
	defer func() {
		c.sleepers.Add(-1)
		c.thread.nudge()
	}()
	if ctx != nil && ctx.Done() != nil {
		defer context.AfterFunc(ctx, c.port.Ring)()
	}
	ticket := c.port.Arm()
	c.mu.Lock()
	if c.lookLocked(f, done) {
		return true
	}
	c.mu.Lock()
	nap := c.nap()
	c.mu.Unlock()
	if ctx == nil || ctx.Err() == nil {
		c.port.Sleep(ticket, nap)
	}
	return false
}

// nap is how long a sleeper may sleep: until the runtime's next wake-up time and,
// while queue pairs have work left that nobody rings for (room on the wire,
// timers), not long. 0 is no limit. The caller holds the lock.
func (c *Context) nap() time.Duration {
	nap := c.hookNap
	if len(c.active) > 0 && (nap == 0 || nap > time.Millisecond) {
		nap = time.Millisecond
	}
	return nap
}
