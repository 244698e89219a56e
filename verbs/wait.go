package verbs

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"outboard/verbs/internal/trace"
)

// WaitPolicy is how a waiting goroutine lends its thread to the NIC: first it
// polls in a tight loop, then it polls and yields, then it sleeps until a
// peer rings.
type WaitPolicy struct {
	// Spin is the number of looks at the NIC before the first yield.
	Spin int
	// Polls is the number of polls in one look, during which the waiter holds the
	// NIC's lock: taking it costs as much as two polls.
	Polls int
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
		return WaitPolicy{Spin: 4, Polls: 4, Yield: 100 * time.Microsecond}
	}
	return WaitPolicy{Spin: 1000, Polls: 8, Yield: 100 * time.Microsecond, OSYield: true}
}

// SetWait replaces the policy. Call it before the first wait.
func (c *Context) SetWait(p WaitPolicy) { c.wait = p }

// Wait runs the NIC on the caller's goroutine until done reports true or ctx is over,
// and returns ctx's error in that case, ErrDestroyed if the context is closed. done is called under the NIC's
// lock, so it must not call methods that lock. A nil ctx waits for ever.
//
// What makes done true must happen under the NIC's lock and be a completion, an event, or
// followed by Engine.Progressed: a goroutine that sleeps looks again only then.
func (c *Context) Wait(ctx context.Context, done func() bool) error {
	return c.await(ctx, nil, done)
}

// WaitFlag is Wait until f is not zero: the cheaper form, which looks at f without the lock.
func (e Engine) WaitFlag(ctx context.Context, f *atomic.Uint32) error {
	return e.c.await(ctx, f, nil)
}

// outcome of one look at what is waited for.
type outcome uint8

const (
	notYet outcome = iota
	over
	closed // the context is, and what was waited for did not come
)

func (o outcome) err() error {
	if o == closed {
		return opErr("wait", "", ErrDestroyed, "context is closed")
	}
	return nil
}

func (c *Context) await(ctx context.Context, f *atomic.Uint32, done func() bool) error {
	for i := 0; i < c.wait.Spin; i++ {
		if o := c.look(f, done); o != notYet {
			return o.err()
		}
	}
	return c.awaitSlow(ctx, f, done)
}

// look polls, if nobody else is doing so, and reports whether the wait is over.
func (c *Context) look(f *atomic.Uint32, done func() bool) outcome {
	if f != nil && f.Load() != 0 {
		return over
	}
	if !c.mu.TryLock() {
		return notYet
	}
	defer c.unlock() // also when a function of the host's, or of the runtime on the NIC, panics
	return c.lookLocked(f, done)
}

func (c *Context) lookLocked(f *atomic.Uint32, done func() bool) outcome {
	if done != nil && done() {
		return over
	}
	for range max(c.wait.Polls, 1) {
		c.poll()
		if f != nil && f.Load() != 0 || done != nil && done() {
			return over
		}
		if c.closed {
			return closed
		}
	}
	return notYet
}

// awaitSlow polls and yields, then sleeps, and so on.
func (c *Context) awaitSlow(ctx context.Context, f *atomic.Uint32, done func() bool) error {
	for {
		for start := time.Now(); time.Since(start) < c.wait.Yield; {
			if o := c.yieldAndLook(f, done); o != notYet {
				return o.err()
			}
			if ctx != nil && ctx.Err() != nil {
				return ctx.Err()
			}
		}
		if o := c.sleep(ctx, f, done); o != notYet {
			return o.err()
		}
		if ctx != nil && ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// yieldAndLook looks and yields the goroutine, and between looks the processor several times: a
// goroutine's yield and a reading of the clock cost as much as what other processes need to answer.
func (c *Context) yieldAndLook(f *atomic.Uint32, done func() bool) outcome {
	for i := 0; ; i++ {
		if o := c.look(f, done); o != notYet {
			return o
		}
		if !c.wait.OSYield || i == yieldsPerLook {
			runtime.Gosched()
			return notYet
		}
		osYield()
	}
}

// yieldsPerLook bounds how long other goroutines of the process wait for their turn.
const yieldsPerLook = 8

// sleep arms the port, looks once more and sleeps until it is rung.
func (c *Context) sleep(ctx context.Context, f *atomic.Uint32, done func() bool) outcome {
	c.sleepers.Add(1)
	c.thread.grace.Store(0) // one of those who sleep is enough
	defer func() {
		c.sleepers.Add(-1)
		c.thread.nudge()
	}()
	if ctx != nil && ctx.Done() != nil {
		defer context.AfterFunc(ctx, c.port.Ring)()
	}
	ticket := c.port.Arm()
	o, idle, nap := c.lastLook(f, done)
	if o == notYet && idle && (ctx == nil || ctx.Err() == nil) {
		c.flushTrace()
		c.port.Sleep(ticket, nap)
	}
	return o
}

// lastLook looks, and says whether to sleep now, and how long.
func (c *Context) lastLook(f *atomic.Uint32, done func() bool) (o outcome, idle bool, nap time.Duration) {
	c.mu.Lock()
	defer c.unlock() // if the look has served others, this rings for them, and the ticket is used
	o = c.lookLocked(f, done)
	idle = o != notYet || c.idleNow()
	if o == notYet && (f != nil && f.Load() != 0 || done != nil && done()) {
		o = over
	}
	nap = c.nap()
	c.deep = c.deep || o == notYet && idle && deep(nap)
	return o, idle, nap
}

// idleNow reports whether there is nothing to do: one poll may leave work to the next that no ring
// announces, such as the packets of a connection that it has opened. The caller holds the lock.
func (c *Context) idleNow() bool {
	for range 2 {
		if c.poll() > 0 {
			return false
		}
	}
	return true
}

// unlock leaves the NIC; sleepers whose work may be done are woken, and one that sleeps without limit although there is
// work now that nobody rings for, such as what another goroutine has posted.
func (c *Context) unlock() {
	ring := c.progressed && c.sleepers.Load() > 0
	if c.deep && len(c.active) > 0 {
		c.deep, ring = false, true
	}
	c.progressed = false
	c.tick = time.Time{}
	c.mu.Unlock()
	if ring {
		c.port.Ring()
	}
}

// nap is how long a sleeper may sleep: until the runtime's next wake-up time and,
// while there is work left that nobody rings for (room on the wire, timers, what
// a sink refused), not long. 0 is no limit. The caller holds the lock.
func (c *Context) nap() time.Duration {
	nap := c.hookNap
	if nap > 0 {
		c.again = true // the poll after it is the runtime's
	}
	if (len(c.active) > 0 || c.refused) && deep(nap) {
		nap = workNap
	}
	if c.lanes.scant {
		c.lanes.makeRoom()
		if nap == 0 || nap > laneIdle {
			nap = laneIdle
		}
	}
	if c.trace != nil && (nap == 0 || nap > trace.FlushPeriod) {
		nap = trace.FlushPeriod // a post traces packets, and may wake nobody
	}
	c.refused = false
	return nap
}

// workNap is the nap while there is work left.
const workNap = time.Millisecond

// deep tells whether a nap is too long for work that is left.
func deep(nap time.Duration) bool { return nap == 0 || nap > workNap }
