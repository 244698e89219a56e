package nicrt

import (
	"context"
	"sync/atomic"
	"time"
)

// Poll runs the NIC once; the caller holds the lock.
func (n *NIC) Poll() { n.eng.Poll() }

// Spin runs the NIC for about a microsecond, or until f is not zero: an answer that is
// near comes without another turn of the lock, which the caller holds.
func (n *NIC) Spin(f *atomic.Uint32) { n.eng.Spin(f) }

// SpinRun is Spin for a completion.
func (n *NIC) SpinRun(done *Completion) { n.eng.Spin(&done.done) }

// Wait runs the NIC on the caller's goroutine until f is not zero, or ctx is over; the error is ctx's, or
// ErrClosed. A nil ctx waits for ever. The caller does not hold the lock.
func (n *NIC) Wait(ctx context.Context, f *atomic.Uint32) error {
	if err := n.eng.WaitFlag(ctx, f); err != nil {
		return waitError(err)
	}
	return nil
}

// WaitRun is Wait until done: until a run has ended, a posted message has left, or a counter is
// where it was waited for. How that ended is in done.
func (n *NIC) WaitRun(ctx context.Context, done *Completion) error { return n.Wait(ctx, &done.done) }

// WaitFor is Wait until done reports true. done is called with the lock held, after polls; what makes it true is
// a completion or followed by Completed.
func (n *NIC) WaitFor(ctx context.Context, done func() bool) error {
	if err := n.ctx.Wait(ctx, done); err != nil {
		return waitError(err)
	}
	return nil
}

// NextEvent takes the next event of a program, waiting as Wait does. It returns the program's
// *Fault after the last event of one that was stopped, and ErrRemoved for one that
// the host stopped.
func (n *NIC) NextEvent(ctx context.Context, in *Installed) (e Event, err error) {
	var fault *Fault
	removed, got := false, false
	err = n.WaitFor(ctx, func() bool {
		if e, got = in.events.Poll(); got {
			return true
		}
		fault, removed = in.failure.Load(), in.removed
		return fault != nil || removed
	})
	switch {
	case err != nil:
		return Event{}, err
	case got:
		return e, nil
	case fault != nil:
		return Event{}, fault
	}
	return Event{}, ErrRemoved
}

// Completed tells the NIC that a host goroutine's wait may be over: whoever
// sets a flag that another goroutine waits for calls it, with the lock held.
func (n *NIC) Completed() { n.eng.Progressed() }

// Again has the functions of OnPoll run at the end of the next poll. The caller holds the lock.
func (n *NIC) Again() { n.eng.Again() }

// OnPoll adds a function that runs at the end of a poll that follows Again or a refused Send, or in which
// something completed. It runs with the lock held.
func (n *NIC) OnPoll(f func()) {
	n.Lock()
	defer n.Unlock()
	n.onPoll = append(n.onPoll, f)
}

// rouse has the NIC run once more on the thread that sleeps on it, if one does: there may be work
// that no arrival will remind it of. The caller holds the lock.
func (n *NIC) rouse() {
	n.eng.Again()
	n.eng.Progressed()
	n.eng.Ring()
}

// soon is a nap after which the NIC is polled again without delay.
const soon = time.Nanosecond

// afterPoll runs what is left when arrivals are dealt with. It returns how long the NIC may be left alone, 0 for
// as long as nothing arrives.
func (n *NIC) afterPoll() (nap time.Duration) {
	if n.requests.live > 0 {
		n.advance()
	}
	if len(n.down) > 0 {
		n.mourn()
	}
	if n.workers.running > 0 {
		nap = n.pollWorkers()
	}
	n.machine.kick()
	n.exec.kick()
	if n.counters.busy() {
		n.counters.kick()
	}
	for _, f := range n.onPoll {
		f()
	}
	if n.counters.queued() {
		n.eng.Again()
		nap = soon
	}
	return nap
}

// pollWorkers brings in what handlers on HPUs have done. While one runs, the next poll asks
// again, and a sleeper wakes for its deadline.
func (n *NIC) pollWorkers() time.Duration {
	n.eng.Again()
	if n.workers.poll() > 0 {
		return soon // there may be room now for a packet that waits on the wire
	}
	nap, limited := n.workers.untilDeadline()
	if !limited {
		return 0
	}
	return max(nap, soon)
}
