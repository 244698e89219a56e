package verbs

import (
	"fmt"
	"time"

	"outboard/verbs/internal/ib"
)

// GRHLen is the number of bytes that the global routing header takes at the start of the buffers of a datagram's receive.
const GRHLen = ib.GRHLen

const (
	ownQKey   = 1 << 31               // in UDDest.QKey: use the queue pair's
	laneDelay = 10 * time.Millisecond // for which a full lane holds a queue pair up; then the datagram is lost
)

// checkUD checks the destination of a datagram.
func (q *QP) checkUD(wr *SendWR) *Error {
	const op = "post_send"
	switch d := wr.UD; {
	case d == nil || d.AH == nil:
		return opErr(op, q.name(), ErrInvalid, "datagram without an address handle")
	case d.AH.pd.ctx != q.ctx || d.AH.dead:
		return opErr(op, q.name(), ErrInvalid, "address handle is not a live one of this context")
	case d.QPN > ib.PSNMask:
		return opErr(op, q.name(), ErrInvalid, "remote queue pair %#x: expected 24 bits", d.QPN)
	}
	return nil
}

// sendDatagram sends a message of UD. When the lane to its port is full it waits, but not long.
func (q *QP) sendDatagram(w *wqe) bool {
	c, x, d := q.ctx, q.wire, w.wr.UD
	switch {
	case w.length > x.mtu:
		return q.failInTurn(LocLenErr, fmt.Sprintf("datagram of %d bytes: the port's MTU is %d", w.length, x.mtu))
	case d.AH.pd != q.pd:
		return q.failInTurn(LocQPOpErr, fmt.Sprintf("address handle of %s, the queue pair is of %s", d.AH.pd.name(), q.pd.name()))
	}
	h := &c.ibHeader
	*h = ib.Header{Opcode: ib.SendOpcode(ib.UD, true, true, w.wr.Opcode.has(opImm)), PSN: x.next, DestQP: d.QPN, SrcQP: q.qpn, QKey: d.QKey,
		Solicited: w.wr.Flags&Solicited != 0, Imm: w.wr.Imm}
	if d.QKey&ownQKey != 0 {
		h.QKey = q.attr.QKey
	}
	h.Src, h.Dst = c.gids[d.AH.attr.GRH.SGIDIndex], d.AH.gid
	q.address(h, &d.AH.attr.GRH)
	b := ib.Seal(appendSG(h.Append(c.frame[:0], w.length), w.wr.SG, 0, w.length))
	if !c.lanes.send(d.AH.addr, b) {
		if x.resume.IsZero() {
			x.resume = c.now().Add(laneDelay)
		}
		if c.now().Before(x.resume) {
			return false
		}
	}
	x.resume = time.Time{}
	x.next = ib.PSNAdd(x.next, 1)
	return true
}

// dispatch gives a datagram to its queue pair, or to whoever listens at QP1.
func (c *Context) dispatch(p []byte) {
	h := &c.ibHeader
	p, payload, err := c.parsePacket(p)
	if err != nil {
		c.hw.ICRCErrors++
		return
	}
	if h.DestQP == ib.QP1 {
		c.recvMAD(h, payload)
		return
	}
	if n := int(h.DestQP); n < len(c.uds) && c.uds[n] != nil {
		c.uds[n].recvDatagram(h, p, payload)
		return
	}
	c.hw.Dropped++
}

// listUD has datagrams to a queue pair find it.
func (c *Context) listUD(q *QP) {
	for len(c.uds) <= int(q.qpn) {
		c.uds = append(c.uds, nil)
	}
	c.uds[q.qpn] = q
}

// recvDatagram takes a message of UD, the packet p. What does not fit the queue pair, or finds no receive that is long enough, is lost.
func (q *QP) recvDatagram(h *ib.Header, p, payload []byte) {
	c, r := q.ctx, &q.rx
	if !q.receives() || h.Opcode.Transport() != ib.UD || !samePartition(h.PKey, q) || h.QKey != q.attr.QKey || !q.takeReceive() {
		c.hw.Dropped++
		return
	}
	if st, why := q.checkReceive(); st != Success {
		q.malformedReceive(st, why)
		return
	}
	r.offset = 0
	if lenSG(r.receive.SG) < GRHLen+len(payload) {
		c.hw.Dropped++
		return
	}
	r.place(p[:GRHLen])
	r.place(payload)
	c.hw.RDMARecvs++
	q.completeReceive(WC{Opcode: WCRecv, Bytes: r.offset, Imm: h.Imm, HasImm: h.Opcode.HasImm(), SrcQP: h.SrcQP, Flags: WithGRH}, h.Solicited)
}
