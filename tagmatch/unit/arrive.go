package unit

import "outboard/nicrt"

// message is one that came before its receive.
type message struct {
	peer        int32
	source, tag int32
	eager       bool
	data        []byte // eager: pooled copy
	rts         rts
}

func (m *message) length() int {
	if m.eager {
		return len(m.data)
	}
	return int(m.rts.len)
}

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
		ok = u.arriveFIN(int32(t.Peer()), &h)
	case h.Op == opRevoke:
		ok = u.arriveRevoke(t.Peer(), h.Ctx, payload)
	default:
		ok = false
	}
	if !ok {
		u.stats.Malformed++
		return nicrt.Fail
	}
	return nicrt.Process // without a payload handler: all is done
}

func (u *Unit) arriveEager(t *nicrt.Task, h *nicrt.Header, data []byte) bool {
	k := keyOf(h)
	if op, ok := u.match.Match(k); ok {
		t.AddMatches(1)
		u.stats.Eager++
		u.deliver(op, k.Source, k.Tag, data)
		return true
	}
	if k.Source|k.Tag < 0 {
		return false
	}
	if u.ended.err(k.Ctx) != nil {
		u.stats.Eager++
		u.stats.Refused++
		return true
	}
	m := message{peer: int32(t.Peer()), source: k.Source, tag: k.Tag, eager: true, data: u.pool.get(len(data))}
	copy(m.data, data)
	if _, err := u.match.Unexpected(k, m); err != nil {
		u.pool.put(m.data)
		return false
	}
	u.stats.Eager++
	u.stats.Unexpected++
	return true
}

func (u *Unit) arriveRTS(t *nicrt.Task, h *nicrt.Header, payload []byte) bool {
	k := keyOf(h)
	m := message{peer: int32(t.Peer()), source: k.Source, tag: k.Tag}
	if !m.rts.decode(payload) || k.Source|k.Tag < 0 {
		return false
	}
	if op, ok := u.match.Match(k); ok {
		t.AddMatches(1)
		u.stats.Rendezvous++
		u.read(op, &m)
		return true
	}
	if u.ended.err(k.Ctx) != nil {
		u.stats.Rendezvous++
		u.stats.Refused++
		u.answer(m.peer, m.rts.id, finRefused)
		return true
	}
	if _, err := u.match.Unexpected(k, m); err != nil {
		return false
	}
	u.stats.Rendezvous++
	u.stats.Unexpected++
	return true
}

// arriveFIN ends a send, if it is one that the peer was told of.
func (u *Unit) arriveFIN(peer int32, h *nicrt.Header) bool {
	id := uint32(h.Tag)
	e := u.sends.get(id)
	if e == nil || h.Tag>>32 != 0 || h.Aux > finRefused || e.peer != peer || e.op != nil && e.op.state != waiting {
		return false
	}
	var err error
	if h.Aux == finRefused {
		err = ErrRefused
	}
	u.endSend(id, err)
	return true
}

// endSend ends a send by rendezvous: the peer does not read its buffer any more.
func (u *Unit) endSend(id uint32, err error) {
	e := u.sends.get(id)
	op := e.op
	u.nic.Conceal(e.key)
	u.sends.remove(id)
	if op != nil {
		u.finish(op, err)
	}
}
