package unit

import "outboard/nicrt"

// An item is a message that waits for room on the wire: a send's first
// message, or a FIN.
type item struct {
	op  *Op
	fin uint32
	how uint16 // of the FIN
}

// A queue holds what could not be sent to one peer yet, in order.
type queue struct {
	items []item // those before next have gone; empty when all have
	next  int
	busy  bool // in outbox.busy
}

type outbox struct {
	queues []queue // by peer
	busy   []int32 // peers whose queue was not empty when last looked at
}

func (q *queue) push(it item) {
	if len(q.items) == cap(q.items) && q.next > len(q.items)/2 {
		n := copy(q.items, q.items[q.next:])
		clear(q.items[n:])
		q.items, q.next = q.items[:n], 0
	}
	q.items = append(q.items, it)
}

func (q *queue) pop() {
	q.items[q.next] = item{}
	if q.next++; q.next == len(q.items) {
		q.items, q.next = q.items[:0], 0
	}
}

// cut takes out the items that which accepts.
func (q *queue) cut(which func(item) bool) {
	n := 0
	for _, it := range q.items[q.next:] {
		if !which(it) {
			q.items[n] = it
			n++
		}
	}
	clear(q.items[n:])
	q.items, q.next = q.items[:n], 0
}

// post sends an item, now or when there is room. The peer is not known to be lost.
func (u *Unit) post(peer int, it item) {
	q := &u.out.queues[peer]
	q.push(it)
	if len(q.items) > 1 {
		return
	}
	if u.drain(peer); len(q.items) > 0 && !q.busy {
		q.busy = true
		u.out.busy = append(u.out.busy, int32(peer))
	}
}

// kick sends what has waited, as far as there is room now.
func (u *Unit) kick() {
	if len(u.notices) > 0 {
		u.sendNotices()
	}
	if len(u.out.busy) == 0 {
		return
	}
	keep := u.out.busy[:0]
	for _, peer := range u.out.busy {
		u.drain(int(peer))
		if q := &u.out.queues[peer]; len(q.items) > 0 {
			keep = append(keep, peer)
		} else {
			q.busy = false
		}
	}
	u.out.busy = keep
}

// drain sends what waits for a peer, as far as there is room. It may find that the peer is lost: failPeer has emptied
// the queue then. So an item stays in its queue until it has been sent.
func (u *Unit) drain(peer int) {
	q := &u.out.queues[peer]
	for len(q.items) > 0 && u.transmit(peer, q.items[q.next]) {
		q.pop()
	}
}

// transmit puts an item on the wire if there is room.
func (u *Unit) transmit(peer int, it item) bool {
	op := it.op
	if op == nil {
		h := nicrt.Header{Program: Program, Op: opFIN, Aux: it.how, Tag: uint64(it.fin)}
		return u.nic.Send(peer, &h, nil)
	}
	if op.Len > u.eager {
		h, b := header(opRTS, op.key), op.rts.encode()
		if !u.nic.Send(peer, &h, b[:]) {
			return false
		}
		op.state = waiting
		return true
	}
	h := header(opEager, op.key)
	if !u.nic.Send(peer, &h, op.buf) {
		return false
	}
	u.finish(op, nil)
	return true
}

// lost ends an item that will not be sent.
func (u *Unit) lost(it item, err error) {
	switch {
	case it.op == nil:
	case it.op.Len > u.eager:
		u.endSend(it.op.rts.id, err)
	default:
		u.finish(it.op, err)
	}
}
