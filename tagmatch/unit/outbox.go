package unit

import "outboard/nicrt"

// An item is a message that waits for room on the wire: a send's first
// message, or a FIN.
type item struct {
	op  *Op
	fin uint32
}

// outbox holds, for each peer, what could not be sent yet, in order.
type outbox struct {
	queues [][]item
	busy   []int // peers whose queue is not empty
}

func (o *outbox) init(peers int) { o.queues = make([][]item, peers) }

func (o *outbox) empty(peer int) bool { return len(o.queues[peer]) == 0 }

// post sends an item, now or when there is room.
func (u *Unit) post(peer int, it item) {
	if u.out.empty(peer) {
		if u.transmit(peer, &it) {
			return
		}
		if u.nic.PeerErr(peer) != nil {
			u.lost(it, u.nic.PeerErr(peer))
			return
		}
		u.out.busy = append(u.out.busy, peer)
	}
	u.out.queues[peer] = append(u.out.queues[peer], it)
}

// transmit puts an item on the wire if there is room.
func (u *Unit) transmit(peer int, it *item) bool {
	op := it.op
	switch {
	case op == nil:
		h := nicrt.Header{Program: Program, Op: opFIN, Tag: uint64(it.fin)}
		return u.nic.Send(peer, &h, nil)
	case op.Len > u.eager:
		h, b := header(opRTS, op.key), op.rts.encode()
		if !u.nic.Send(peer, &h, b[:]) {
			return false
		}
		op.state = waiting
	default:
		h := eagerHeader(op.key)
		if !u.nic.Send(peer, &h, op.buf) {
			return false
		}
		u.finish(op, nil)
	}
	return true
}

// kick sends what has waited, as far as there is room now.
func (u *Unit) kick() {
	if len(u.out.busy) == 0 {
		return
	}
	keep := u.out.busy[:0]
	for _, peer := range u.out.busy {
		q := u.out.queues[peer]
		n := 0
		for n < len(q) && u.transmit(peer, &q[n]) {
			n++
		}
		rest := q[:copy(q, q[n:])]
		clear(q[len(rest):])
		u.out.queues[peer] = rest
		if len(rest) > 0 {
			keep = append(keep, peer)
		}
	}
	u.out.busy = keep
}

// lost ends an item that can no longer be sent.
func (u *Unit) lost(it item, err error) {
	switch {
	case it.op == nil:
	case it.op.Len > u.eager:
		u.endSend(it.op.rts.id, err)
	default:
		u.finish(it.op, err)
	}
}
