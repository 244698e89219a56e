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
// peers ring, and runs the NIC at each ring, until the host comes back.
//
// The host does not arm the port itself when it stops waiting: in a
// ping-pong that would cost both sides a system call a message.
type progress struct {
	armed atomic.Bool   // the goroutine has taken over
	kick  chan struct{} // a sleeping host woke
	stop  chan struct{}
	ended sync.WaitGroup
}

// watchPeriod is how long the host must be away before the progress goroutine takes over, with one
// context in the process; many share the cost of the timers by a longer one.
const watchPeriod = time.Millisecond

var liveContexts atomic.Int64

func (c *Context) startProgress() {
	t := &c.thread
	t.kick, t.stop = make(chan struct{}, 1), make(chan struct{})
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

// dismiss ends the goroutine's turn: the host polls again.
func (t *progress) dismiss(port fabric.Port) {
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
		select {
		case <-t.stop:
			return
		case <-timer.C:
		}
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
		if away {
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
			c.port.Sleep(ticket, nap)
		} else {
			runtime.Gosched()
		}
		if !t.armed.Load() {
			return visits
		}
	}
}
