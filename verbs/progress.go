package verbs

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"outboard/verbs/fabric"
)

// progress is the goroutine that runs the NIC while the host computes. It
// watches whether anybody polls. If nobody has for a period it arms the port, so that
// peers ring, and runs the NIC at each ring, until the host comes back. A host that is about to
// wait in a select tells it, and it takes over at once.
//
// The host does not arm the port itself when it stops waiting: in a
// ping-pong that would cost both sides a system call a message.
type progress struct {
	armed atomic.Bool   // the goroutine has taken over
	grace atomic.Int32  // so many polls of the host do not end the turn
	kick  chan struct{} // a sleeping host woke
	over  chan struct{} // the host hands the NIC over
	stop  chan struct{}
	ended sync.WaitGroup
}

// watchPeriod is how long the host must be away before the progress goroutine takes over, with one
// context in the process; many share the cost of the timers by a longer one.
const watchPeriod = time.Millisecond

// handoverGrace is how many polls a host may make after it has handed the NIC over: one for each queue that it has armed, and
// some more, before it counts as one that polls instead of waiting.
const handoverGrace = 32

var liveContexts atomic.Int64

func (c *Context) startProgress() {
	t := &c.thread
	t.kick, t.over, t.stop = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{})
	liveContexts.Add(1)
	t.ended.Go(c.runProgress)
}

func (c *Context) stopProgress() {
	close(c.thread.stop)
	c.port.Ring()
	c.thread.ended.Wait()
	liveContexts.Add(-1)
}

// nudge tells the goroutine that a host has woken.
func (t *progress) nudge() {
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

// handOver has the goroutine take over at once, for a host that will wait where it does not run the NIC. In a conversation the
// goroutine is still there from the last time, and this costs nothing. It may be called without the NIC's lock.
func (t *progress) handOver() {
	t.grace.Store(handoverGrace)
	if t.armed.Load() {
		return
	}
	select {
	case t.over <- struct{}{}:
	default:
	}
}

// visit is a poll of the host during the goroutine's turn, which it ends unless the host has just handed over, and polls
// once more as it must after ReqNotify. A runtime on the NIC has wake-up times that the poll may change and the
// goroutine, asleep, does not know of: it is no grace then.
func (c *Context) visit() {
	if t := &c.thread; c.hook != nil || t.grace.Add(-1) < 0 {
		t.dismiss(c.port)
	}
}

// dismiss ends the goroutine's turn: the host polls again.
func (t *progress) dismiss(port fabric.Port) {
	t.grace.Store(0)
	t.armed.Store(false)
	port.Ring()
}

func (c *Context) runProgress() {
	t := &c.thread
	timer := time.NewTimer(0)
	defer timer.Stop()
	last := uint64(0)
	for {
		timer.Reset(watchPeriod * time.Duration(1+liveContexts.Load()/8))
		handed := false
		select {
		case <-t.stop:
			return
		case <-timer.C:
		case <-t.over:
			handed = true
		}
		c.flushStaleTrace()        // the host may poll without end, and nothing come
		if c.sleepers.Load() > 0 { // the host sleeps on the port itself
			select {
			case <-t.stop:
				return
			case <-t.kick:
			}
			continue
		}
		c.mu.Lock()
		away := c.visits == last
		last = c.visits
		c.mu.Unlock()
		if away || handed {
			last = c.standIn()
		}
	}
}

// standIn runs the NIC at each ring until the host polls or the context
// closes, and returns the count of polls.
func (c *Context) standIn() uint64 {
	t := &c.thread
	for {
		ticket := c.port.Arm()
		c.mu.Lock()
		t.armed.Store(false) // this poll is not the host's
		idle := c.idleNow()
		nap := c.nap()
		t.armed.Store(true)
		c.deep = c.deep || idle && deep(nap)
		visits, closed := c.visits, c.closed
		c.unlock()
		if closed {
			t.armed.Store(false)
			return visits
		}
		if idle {
			c.flushTrace()
			c.port.Sleep(ticket, nap)
		} else {
			runtime.Gosched()
		}
		if !t.armed.Load() {
			return visits
		}
	}
}
