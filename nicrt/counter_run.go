package nicrt

import (
	"fmt"
	"runtime/debug"
	"slices"
)

// busy reports whether kick has something to do.
func (u *counterUnit) busy() bool { return u.queued() || len(u.stalled) > 0 }

// queued reports whether there are operations that kick would do at once.
func (u *counterUnit) queued() bool { return u.head < len(u.queue) }

// kick retries the sends that the wire refused and goes on with what is queued.
func (u *counterUnit) kick() {
	u.retry()
	u.run()
}

// run works the queue off, or a burst of it.
func (u *counterUnit) run() {
	if u.running || u.head == len(u.queue) {
		return
	}
	u.running = true
	for n := 0; u.head < len(u.queue) && n < u.cfg.burst; n++ {
		op := u.queue[u.head]
		u.queue[u.head] = nil
		u.head++
		u.perform(op)
	}
	rest := copy(u.queue, u.queue[u.head:])
	clear(u.queue[rest:])
	u.queue, u.head = u.queue[:rest], 0
	u.running = false
}

// perform does a released operation and drops its reference.
func (u *counterUnit) perform(op *armedOp) {
	var err error
	switch op.Kind {
	case TriggerSend:
		if len(u.stalled) > 0 || !u.trySend(op, op.Payload) { // sends stay in order
			u.stall(op)
			return
		}
		err = u.cfg.wire.peerErr(op.Peer)
	case TriggerReduce:
		u.stats.Reduced += uint64(len(op.Dst))
		if op.Kernel == nil {
			copy(op.Dst, op.Src)
		} else {
			err = callKernel(op.Kernel, op.Dst, op.Src)
		}
	case TriggerIncrement:
		u.alter(op.Target, op.Value, true)
	case TriggerSet:
		u.alter(op.Target, op.Value, false)
	case TriggerCall:
		err = callTriggered(op.Call)
	}
	u.over(op, err)
}

// over counts the end of an operation.
func (u *counterUnit) over(op *armedOp, err error) {
	by := CounterValue{Success: 1}
	if err != nil {
		u.stats.Failed++
		by = CounterValue{Failure: 1}
	}
	if op.Then != 0 {
		u.alter(op.Then, by, true)
	}
	u.drop(op)
}

// alter changes a counter that may have been freed since the operation was armed.
func (u *counterUnit) alter(c Counter, v CounterValue, add bool) {
	s, err := u.find(c)
	if err != nil {
		u.stats.Strays++
		return
	}
	if add {
		v = v.Plus(u.value(s))
	}
	u.change(c, s, v)
}

// trySend gives a message to the wire, or to nobody if the peer is lost. It
// returns false if there is no room.
func (u *counterUnit) trySend(op *armedOp, payload []byte) bool {
	return u.cfg.wire.peerErr(op.Peer) != nil || u.cfg.wire.send(op.Peer, &op.Header, payload)
}

func (u *counterUnit) stall(op *armedOp) {
	u.stats.Retries++
	var b []byte
	if n := len(u.buffers); n > 0 {
		b = u.buffers[n-1]
		u.buffers = u.buffers[:n-1]
	}
	u.stalled = append(u.stalled, triggeredSend{op, append(b[:0], op.Payload...)})
}

// retry sends what the wire refused, in order for each peer.
func (u *counterUnit) retry() {
	if len(u.stalled) == 0 || u.running {
		return
	}
	u.running = true // ends of sends are queued
	u.blocked = u.blocked[:0]
	left := u.stalled[:0]
	for _, s := range u.stalled {
		peer := s.op.Peer
		if slices.Contains(u.blocked, peer) {
			left = append(left, s)
			continue
		}
		if !u.trySend(s.op, s.payload) {
			u.stats.Retries++
			u.blocked = append(u.blocked, peer)
			left = append(left, s)
			continue
		}
		u.buffers = append(u.buffers, s.payload)
		u.over(s.op, u.cfg.wire.peerErr(peer))
	}
	clear(u.stalled[len(left):])
	u.stalled = left
	u.running = false
}

// callTriggered calls a user's function and turns a panic into an error.
func callTriggered(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("triggered call panicked: %v\n%s", v, debug.Stack())
		}
	}()
	return f()
}
