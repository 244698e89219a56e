package unit

import "outboard/tagmatch"

// Abandon gives up waiting for a send, whose Op is the caller's again; its Done does not change. If the peer has been told of the message
// it may still receive it, and read the buffer until then. It reports false if the send has ended, or op is a receive.
func (u *Unit) Abandon(op *Op) bool {
	switch op.state {
	case queued:
		u.out.queues[op.peer].cut(func(it item) bool { return it.op == op })
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

// Cancel takes back a receive that has not matched, which ends with err. It reports false if it has matched, or op is a send.
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

func (m *message) envelope() Envelope {
	return Envelope{Source: m.source, Tag: m.tag, Len: m.length()}
}

// Probe looks for the message that a receive with key k would take. The error is a *tagmatch.KeyError.
func (u *Unit) Probe(k tagmatch.Key) (Envelope, bool, error) {
	e, ok, err := u.match.Probe(k)
	if !ok {
		return Envelope{}, false, err
	}
	return e.Value.envelope(), true, nil
}

// Pending calls f for every message of a context that no receive has taken, in the order in which they came.
func (u *Unit) Pending(ctx uint32, f func(Envelope)) {
	for e := range u.match.Messages() {
		if e.Key.Ctx == ctx {
			f(e.Value.envelope())
		}
	}
}
