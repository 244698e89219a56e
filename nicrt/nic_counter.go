package nicrt

import "outboard/verbs"

// The counters of a NIC and the operations that they trigger: see [Triggered]. A handler
// counts by [Task.Count], the host by the methods here, and a triggered operation by its Then or
// as TriggerIncrement. All methods are called with the lock held. Their errors are
// a *CounterError or ErrClosed.

// AllocCounter makes a counter with the value 0, as PtlCTAlloc.
func (n *NIC) AllocCounter() (Counter, error) {
	if n.closed {
		return 0, ErrClosed
	}
	return n.counters.alloc()
}

// FreeCounter gives a counter back, unless a queue pair counts on it. The operations that it has yet to release are cancelled, waits for it
// end in an error. Its number may name another counter afterwards.
func (n *NIC) FreeCounter(c Counter) error {
	if n.closed {
		return ErrClosed
	}
	return n.counters.release(c)
}

// VerbsCounter is the device's counter under a counting event: the two are one. Queue pairs of Context may count on it
// and their send queues wait for it, see verbs.QP.AttachCounter and verbs.WaitFor; what their completions release runs before the poll is
// over. It is not the caller's to destroy.
func (n *NIC) VerbsCounter(c Counter) (*verbs.Counter, error) {
	if n.closed {
		return nil, ErrClosed
	}
	s, err := n.counters.find(c)
	if err != nil {
		return nil, err
	}
	return s.k, nil
}

// ReadCounter gives what a counter has counted.
func (n *NIC) ReadCounter(c Counter) (CounterValue, error) {
	if n.closed {
		return CounterValue{}, ErrClosed
	}
	return n.counters.get(c)
}

// SetCounter sets a counter, and Increment adds to it (see [Negative]). Both release what becomes due.
func (n *NIC) SetCounter(c Counter, v CounterValue) error {
	if n.closed {
		return ErrClosed
	}
	return n.released(n.counters.set(c, v))
}

// Increment adds to a counter; see SetCounter.
func (n *NIC) Increment(c Counter, by CounterValue) error {
	if n.closed {
		return ErrClosed
	}
	return n.released(n.counters.increment(c, by))
}

// Arm has an operation wait for its counter. One that is due runs at once. A send to a peer that is lost when
// it is released fails: that is counted by Then. Nothing else happens to counters when a peer is lost, so
// whoever waits for messages to be counted uses OnDown.
func (n *NIC) Arm(t Triggered) error {
	switch {
	case n.closed:
		return ErrClosed
	case t.Kind == TriggerSend && !n.isPeer(t.Peer):
		return counterErrorf(t.Counter, "triggered send to peer %d, expected %s", t.Peer, wantPeer(len(n.peers)))
	case t.Kind == TriggerSend && len(t.Payload) > n.eagerMax:
		return counterErrorf(t.Counter, "triggered send of %d bytes, expected at most %d", len(t.Payload), n.eagerMax)
	}
	return n.released(n.counters.arm(t))
}

// CancelTriggered cancels the operations that a counter has yet to release, and gives their number.
func (n *NIC) CancelTriggered(c Counter) (int, error) {
	if n.closed {
		return 0, ErrClosed
	}
	return n.counters.cancelTriggered(c)
}

// AwaitCounter finishes done when a counter has at least test successes, or, with a *CountedFailure, when it has
// a failure. WaitRun waits for done.
func (n *NIC) AwaitCounter(c Counter, test uint64, done *Completion) error {
	if n.closed {
		return ErrClosed
	}
	return n.counters.wait(c, test, done)
}

// released has the NIC go on with a chain of operations that is longer than one burst.
func (n *NIC) released(err error) error {
	if n.counters.queued() {
		n.rouse()
	}
	return err
}

// counterWire is the NIC as its counters see it.
type counterWire struct{ n *NIC }

func (w counterWire) send(peer int, h *Header, payload []byte) bool {
	return w.n.Send(peer, h, payload)
}

func (w counterWire) peerErr(peer int) error { return w.n.PeerErr(peer) }
