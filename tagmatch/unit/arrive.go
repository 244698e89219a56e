package unit

import (
	"outboard/nicrt"
	"outboard/tagmatch"
)

// arrive is the header handler: every message of the unit is one packet.
func (u *Unit) arrive(t *nicrt.Task) nicrt.Verdict {
	h, payload := t.Header(), t.Payload()
	ok := t.First() && t.Last()
	switch {
	case !ok:
	case h.Op == opEager:
		ok = u.arriveEager(t, &h, payload)
	case h.Op == opRTS:
		ok = u.arriveRTS(t, &h, payload)
	case h.Op == opFIN:
		ok = u.arriveFIN(int32(t.Peer()), h.Tag)
	default:
		ok = false
	}
	if !ok {
		u.stats.Malformed++
		return nicrt.Fail
	}
	return nicrt.Drop // nothing is left to process
}

func keyOf(h *nicrt.Header) tagmatch.Key {
	return tagmatch.Key{Ctx: h.Ctx, Source: int32(h.Tag >> 32), Tag: int32(h.Tag)}
}

func (u *Unit) arriveEager(t *nicrt.Task, h *nicrt.Header, data []byte) bool {
	k := keyOf(h)
	u.stats.Eager++
	if op, ok := u.match.Match(k); ok {
		t.AddMatches(1)
		u.deliver(op, k.Source, k.Tag, data)
		return true
	}
	m := message{peer: int32(t.Peer()), source: k.Source, tag: k.Tag, eager: true, data: u.pool.get(len(data))}
	copy(m.data, data)
	return u.keep(k, m)
}

func (u *Unit) arriveRTS(t *nicrt.Task, h *nicrt.Header, payload []byte) bool {
	k := keyOf(h)
	m := message{peer: int32(t.Peer()), source: k.Source, tag: k.Tag}
	if len(payload) != rtsLen {
		return false
	}
	m.rts.decode(payload)
	if int64(m.rts.len) < 0 {
		return false
	}
	u.stats.Rendezvous++
	if op, ok := u.match.Match(k); ok {
		t.AddMatches(1)
		u.read(op, &m)
		return true
	}
	return u.keep(k, m)
}

func (u *Unit) keep(k tagmatch.Key, m message) bool {
	if _, err := u.match.Unexpected(k, m); err != nil {
		u.pool.put(m.data)
		return false
	}
	u.stats.Unexpected++
	return true
}

// take gives a kept message to its receive.
func (u *Unit) take(op *Op, m *message) {
	if m.eager {
		u.deliver(op, m.source, m.tag, m.data)
		u.pool.put(m.data)
		return
	}
	u.read(op, m)
}

// deliver ends a receive with data that is here.
func (u *Unit) deliver(op *Op, source, tag int32, data []byte) {
	op.Source, op.Tag, op.Len = source, tag, len(data)
	var err error
	if copy(op.buf, data) < len(data) {
		err = ErrTruncate
	}
	u.finish(op, err)
}

// read starts the transfer of a long message from the sender's buffer.
func (u *Unit) read(op *Op, m *message) {
	op.Source, op.Tag, op.Len = m.source, m.tag, int(m.rts.len)
	op.peer, op.rts, op.state = m.peer, m.rts, reading
	n := min(len(op.buf), op.Len)
	if n == 0 {
		u.readDone(op, nil)
		return
	}
	id := u.reads.add(op, m.peer, 0)
	done, err := u.nic.Read(int(m.peer), op.buf[:n], m.rts.addr, m.rts.key, u, uint64(id))
	if done {
		u.reads.remove(id)
		u.readDone(op, err)
	}
}

// ReadDone takes the end of a read that the NIC could not do at once.
func (u *Unit) ReadDone(token uint64, err error) {
	op := u.reads.get(uint32(token)).op
	u.reads.remove(uint32(token))
	u.readDone(op, err)
}

func (u *Unit) readDone(op *Op, err error) {
	if err == nil && len(op.buf) < op.Len {
		err = ErrTruncate
	}
	u.post(int(op.peer), item{fin: op.rts.id})
	u.finish(op, err)
}

func (u *Unit) arriveFIN(peer int32, id uint64) bool {
	e := u.sends.get(uint32(id))
	if e == nil || id>>32 != 0 || e.peer != peer || e.op != nil && e.op.state != waiting {
		return false
	}
	u.endSend(uint32(id), nil)
	return true
}

// endSend ends a send by rendezvous.
func (u *Unit) endSend(id uint32, err error) {
	e := u.sends.get(id)
	op := e.op
	u.nic.Conceal(e.key)
	u.sends.remove(id)
	if op != nil {
		u.finish(op, err)
	}
}

func (u *Unit) finish(op *Op, err error) {
	op.Err, op.buf, op.state = err, nil, idle
	op.Done.Store(1)
	u.nic.Completed()
}
