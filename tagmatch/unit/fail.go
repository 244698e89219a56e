package unit

import (
	"slices"

	"outboard/tagmatch"
)

// failPeer ends the sends to a peer that is gone. Receives that name it are
// the host's to end: the unit does not know which senders a context has. Reads from it
// end through the NIC.
func (u *Unit) failPeer(peer int, err error) {
	items := u.out.queues[peer]
	u.out.queues[peer] = nil
	u.out.busy = slices.DeleteFunc(u.out.busy, func(p int) bool { return p == peer })
	for _, it := range items {
		u.lost(it, err)
	}
	for i := range u.sends.entries {
		if e := &u.sends.entries[i]; e.live && e.peer == int32(peer) {
			u.endSend(u.sends.id(i), err)
		}
	}
}

// FailContext ends everything in a context: receives posted, sends that wait, messages kept.
func (u *Unit) FailContext(ctx uint32, err error) {
	receives, messages := u.match.RemoveContext(ctx)
	for _, r := range receives {
		u.finish(r.Value, err)
	}
	for _, m := range messages {
		u.pool.put(m.Value.data)
	}
	for _, peer := range slices.Clone(u.out.busy) {
		q := u.out.queues[peer]
		u.out.queues[peer] = slices.DeleteFunc(q, func(it item) bool {
			if it.op == nil || it.op.key.Ctx != ctx {
				return false
			}
			u.lost(it, err)
			return true
		})
		if len(u.out.queues[peer]) == 0 {
			u.out.busy = slices.DeleteFunc(u.out.busy, func(p int) bool { return p == peer })
		}
	}
	for i := range u.sends.entries {
		if e := &u.sends.entries[i]; e.live && e.op != nil && e.op.key.Ctx == ctx {
			op := e.op
			e.op = nil // the peer may be reading: the buffer stays exposed until it says that it has done
			u.finish(op, err)
		}
	}
}

// Abandon gives up waiting for a send, whose Op is the caller's again. The peer may still read
// the buffer. It reports false if the send has ended.
func (u *Unit) Abandon(op *Op) bool {
	switch op.state {
	case queued:
		q := u.out.queues[op.peer]
		u.out.queues[op.peer] = slices.DeleteFunc(q, func(it item) bool { return it.op == op })
		if len(u.out.queues[op.peer]) == 0 {
			u.out.busy = slices.DeleteFunc(u.out.busy, func(p int) bool { return p == int(op.peer) })
		}
		if op.Len > u.eager {
			u.nic.Conceal(op.rts.key)
			u.sends.remove(op.rts.id)
		}
	case waiting:
		u.sends.get(op.rts.id).op = nil
	default:
		return false
	}
	op.state, op.buf = idle, nil
	return true
}

// Cancel takes back a receive that has not matched. It reports false if it has.
func (u *Unit) Cancel(op *Op, err error) bool {
	if op.state != posted {
		return false
	}
	if _, ok := u.match.Cancel(op.handle); !ok {
		return false
	}
	u.finish(op, err)
	return true
}

// An Envelope is what a probe tells of a message.
type Envelope struct {
	Source, Tag int32
	Len         int // bytes
}

// Probe looks for the message that a receive with key k would take.
func (u *Unit) Probe(k tagmatch.Key) (Envelope, bool, error) {
	e, ok, err := u.match.Probe(k)
	if !ok {
		return Envelope{}, false, err
	}
	return Envelope{Source: e.Value.source, Tag: e.Value.tag, Len: e.Value.length()}, true, nil
}

// Pending calls f for every message of a context that no receive has taken.
func (u *Unit) Pending(ctx uint32, f func(Envelope)) {
	for e := range u.match.Messages() {
		if e.Key.Ctx == ctx {
			f(Envelope{Source: e.Value.source, Tag: e.Value.tag, Len: e.Value.length()})
		}
	}
}
