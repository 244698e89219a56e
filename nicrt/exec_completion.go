package nicrt

import "sync/atomic"

// Completion is where a run of a schedule, or the wait for a counter, reports
// its end. It belongs to the host, which polls it from any goroutine; the NIC
// writes it once for each run. The zero
// value is ready for use, and one that is done may be used again.
type Completion struct {
	// Notify, if not nil, is called once when the run has ended, on the thread
	// that runs the NIC. It must not block; it may start further runs.
	Notify func(*Completion)

	done    atomic.Uint32 // 1 when the run has ended
	pending bool          // the NIC's: from start to end
	err     error         // written before done
}

// Done reports whether the run has ended.
func (c *Completion) Done() bool { return c.done.Load() != 0 }

// Err gives the error that the run ended with, a *RunError. It is nil if the
// run succeeded and as long as it has not ended.
func (c *Completion) Err() error {
	if !c.Done() {
		return nil
	}
	return c.err
}

// begin takes the completion for a run or a wait.
func (c *Completion) begin() {
	c.err = nil
	c.pending = true
	c.done.Store(0)
}

// finish ends the run.
func (c *Completion) finish(err error) {
	c.err = err
	c.pending = false
	c.done.Store(1)
	if c.Notify != nil {
		c.Notify(c)
	}
}
