package verbs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"outboard/verbs/fabric"
)

// arrive takes one packet. It reports false if the packet must wait.
//
// Requests wait for nothing but a receive that a well-behaved peer knows to be
// posted, so that the responses and refusals behind them get through.
func (q *QP) arrive(h *fabric.Header, p []byte) bool {
	if h.Op == opPacket {
		q.arrivePacket(p)
		return true
	}
	if !q.receives() {
		// Before RTR the wire keeps the packet; in ERR it is never
		// accepted, because acceptance is the acknowledgement.
		return false
	}
	if q.wire != nil {
		return true // not what such a queue pair talks in: lost
	}
	if q.state == RTR && !q.rx.heard {
		q.rx.heard = true
		q.ctx.event(AsyncEvent{Type: EventCommEst, QPN: q.qpn})
	}
	if h.Op == opSend {
		if q.init.Sink != nil {
			return q.sinkPacket(h, p)
		}
		return q.recvSend(h, p)
	}
	switch h.Op {
	case opReadResp, opAtomicResp:
		q.recvResponse(h, p)
		return true
	case opNAK, opFault:
		q.recvNAK(h)
		return true
	case opWrite:
		return q.recvWrite(h, p)
	}
	if q.rx.mid != midNone {
		return q.reject(RemInvReqErr, "request in the middle of a message")
	}
	switch h.Op {
	case opWriteImm:
		return q.recvWriteImm(h, p)
	case opReadReq:
		return q.recvReadReq(h, p)
	case opAtomicReq:
		return q.recvAtomic(h, p)
	}
	return q.reject(RemInvReqErr, fmt.Sprintf("packet opcode %d: unknown", h.Op))
}

func (q *QP) recvSend(h *fabric.Header, p []byte) bool {
	x := &q.rx
	first := h.Flags&flagFirst != 0
	if x.outOfSequence(first, midSend) {
		return q.reject(RemInvReqErr, "packet out of sequence in a SEND")
	}
	if first && !q.beginReceive() {
		return false
	}
	if why := x.place(p); why != "" {
		return q.tooLong(why)
	}
	if h.Flags&flagLast == 0 {
		x.mid = midSend
		return true
	}
	x.mid = midNone
	wc := WC{Opcode: WCRecv, Bytes: x.offset}
	switch {
	case h.Flags&flagImm != 0:
		wc.Imm, wc.HasImm = h.Imm, true
	case h.Flags&flagInv != 0:
		if why := q.invalidateFor(h.Imm); why != "" {
			return q.badInvalidate(why)
		}
		wc.InvKey, wc.Flags = h.Imm, WithInv
	}
	q.completeReceive(wc, h.Flags&flagSolicited != 0)
	return q.state != Err // a completion that was lost is no acknowledgement
}

// badInvalidate ends a SEND with a key that cannot be invalidated: its receive is used up, and both queue pairs fail
// (IBTA 9.9.3, class J).
func (q *QP) badInvalidate(why string) bool {
	q.completeReceive(WC{Status: RemInvReqErr, Detail: why}, true)
	return q.reject(RemInvReqErr, why)
}

// beginReceive takes the oldest receive for a message, if there is one and its buffers are good.
func (q *QP) beginReceive() bool {
	x := &q.rx
	if x.waiting = !q.takeReceive(); x.waiting {
		return false
	}
	x.offset = 0
	if st, why := q.checkReceive(); st != Success {
		return q.malformedReceive(st, why)
	}
	return true
}

// target finds the region or window of a remote access and the bytes that it names. An access of no bytes needs no key.
func (q *QP) target(key uint32, addr, n uint64, need Access) ([]byte, Status, string) {
	if st, why := checkRequest(addr, need, q.attr.Access); st != Success {
		return nil, st, why
	}
	if n == 0 {
		return nil, Success, ""
	}
	r, ok := q.ctx.keys.remote(key)
	if !ok {
		return nil, RemAccessErr, noRegion(key)
	}
	if st, why := checkRegion(&r, q.pd.num, q.qpn, need, addr, n); st != Success {
		return nil, st, why
	}
	b := r.Buf[addr-r.Base:][:n]
	if need == RemoteAtomic && AddrOf(b)%8 != 0 { // a zero-based one
		return nil, RemOpErr, fmt.Sprintf("atomic at %#x of rkey %#x: the memory there is not 8-byte aligned", addr, key)
	}
	return b, Success, ""
}

func (q *QP) recvWrite(h *fabric.Header, p []byte) bool {
	x := &q.rx
	first := h.Flags&flagFirst != 0
	if x.outOfSequence(first, midWrite) || first && len(p) < 8 {
		return q.reject(RemInvReqErr, "packet out of sequence in an RDMA WRITE")
	}
	if first {
		x.key, x.addr, x.remaining = h.Key, h.Addr, binary.LittleEndian.Uint64(p)
		p = p[8:]
		if _, st, why := q.target(x.key, x.addr, x.remaining, RemoteWrite); st != Success {
			return q.reject(st, why)
		}
	}
	last := h.Flags&flagLast != 0
	if uint64(len(p)) > x.remaining || last && uint64(len(p)) != x.remaining {
		return q.reject(RemInvReqErr, "RDMA WRITE of another length than announced")
	}
	dst, st, why := q.target(x.key, x.addr, uint64(len(p)), RemoteWrite)
	if st != Success { // deregistered meanwhile
		return q.reject(st, why)
	}
	copy(dst, p)
	x.addr += uint64(len(p))
	x.remaining -= uint64(len(p))
	x.mid = midWrite
	if last {
		x.mid = midNone
	}
	return true
}

func (q *QP) recvWriteImm(h *fabric.Header, p []byte) bool {
	n := uint64(math.MaxUint64)
	if len(p) == 8 {
		n = binary.LittleEndian.Uint64(p) // once: the peer can still write there
	}
	if n > uint64(q.ctx.limits.MaxMsg) {
		return q.reject(RemInvReqErr, "malformed RDMA WRITE with immediate")
	}
	if st, why := checkRequest(0, RemoteWrite, q.attr.Access); st != Success {
		return q.reject(st, why)
	}
	if q.rx.waiting = !q.takeReceive(); q.rx.waiting {
		return false
	}
	q.completeReceive(WC{Opcode: WCRecvWriteImm, Bytes: int(n), Imm: h.Imm, HasImm: true}, h.Flags&flagSolicited != 0)
	return q.state != Err
}

func (q *QP) recvReadReq(h *fabric.Header, p []byte) bool {
	if len(p) != 16 {
		return q.reject(RemInvReqErr, "malformed RDMA READ")
	}
	n := binary.LittleEndian.Uint64(p)
	if _, st, why := q.target(h.Key, h.Addr, n, RemoteRead); st != Success {
		return q.reject(st, why)
	}
	return q.queueReply(reply{key: h.Key, addr: h.Addr, remaining: n})
}

func (q *QP) recvAtomic(h *fabric.Header, p []byte) bool {
	a, ok := parseAtomic(Opcode(h.Aux), p)
	if !ok {
		return q.reject(RemInvReqErr, fmt.Sprintf("malformed atomic %d", h.Aux))
	}
	b, st, why := q.target(h.Key, h.Addr, 8, RemoteAtomic)
	if st != Success {
		return q.reject(st, why)
	}
	if len(q.rx.replies) >= int(q.attr.MaxDestRdAtomic) {
		return q.tooManyReplies()
	}
	return q.queueReply(reply{atomic: true, value: a.run(b)})
}

func (q *QP) queueReply(r reply) bool {
	if len(q.rx.replies) >= int(q.attr.MaxDestRdAtomic) {
		return q.tooManyReplies()
	}
	q.rx.replies = append(q.rx.replies, r)
	q.wake()
	return true
}

func (q *QP) tooManyReplies() bool {
	return q.reject(RemInvReqErr, fmt.Sprintf("more reads and atomics than MAX_DEST_RD_ATOMIC %d", q.attr.MaxDestRdAtomic))
}

// respond sends what is due to the peer: responses in order, then an acknowledgement or a refusal.
func (q *QP) respond() {
	x := &q.rx
	if q.wire != nil {
		q.wireRespond()
		return
	}
	for len(x.replies) > 0 && q.sendReply(&x.replies[0]) {
		if x.replies[0].remaining == 0 {
			x.dropReply()
		}
	}
	if x.nak != Success && len(x.replies) == 0 {
		h := &q.ctx.header
		*h = fabric.Header{Op: x.nakOp, Flags: fabric.AckNow, Aux: uint16(x.nak)}
		if q.conn.Send(h, nil, nil) {
			x.nak = Success
		}
	}
	if x.pending() && !q.conn.PeerGrant().Ready { // who is not ready hears nothing more
		x.nak, x.replies = Success, x.replies[:0]
	}
}

func (q *QP) sendReply(r *reply) bool {
	h := &q.ctx.header
	if r.atomic {
		v := q.ctx.scratch[:8]
		binary.LittleEndian.PutUint64(v, r.value)
		*h = fabric.Header{Op: opAtomicResp, Flags: flagLast | fabric.AckNow}
		return q.conn.Send(h, v, nil)
	}
	n := min(uint64(q.attr.PathMTU), r.remaining)
	b, st, why := q.target(r.key, r.addr, n, RemoteRead)
	if st != Success { // deregistered meanwhile
		q.rx.replies = q.rx.replies[:0]
		return q.reject(st, why)
	}
	*h = fabric.Header{Op: opReadResp}
	if n == r.remaining {
		h.Flags = flagLast | fabric.AckNow
	}
	if !q.conn.Send(h, b, nil) {
		return false
	}
	r.addr += n
	r.remaining -= n
	return true
}

// reject answers a bad request with a NAK and goes to ERR (IBTA 9.9.3.1, class C).
// The packet stays unaccepted, and so unacknowledged. What was accepted before it is answered first.
func (q *QP) reject(st Status, why string) bool {
	if q.wire != nil {
		return q.rejectAt(q.wire.epsn, st, why)
	}
	return q.rejectAt(0, st, why)
}

// rejectAt is reject of the request that has a PSN.
func (q *QP) rejectAt(psn uint32, st Status, why string) bool {
	if q.wire != nil {
		q.wire.nakPSN = psn
	}
	q.refusalEvent(st, why)
	q.rx.nak, q.rx.nakOp = st, opNAK
	q.fail(WRFlushErr, why)
	q.respond()
	if q.rx.pending() {
		q.wake()
	}
	return false
}

// refusalEvent reports that a request of the peer was refused with st (IBTA 11.6.3.2).
func (q *QP) refusalEvent(st Status, why string) {
	typ := EventQPFatal
	switch st {
	case RemInvReqErr:
		typ = EventQPReqErr
	case RemAccessErr:
		typ = EventQPAccessErr
	}
	q.ctx.event(AsyncEvent{Type: typ, QPN: q.qpn, Err: &Error{Op: "responder", Object: q.name(), Detail: why, Err: st}})
}

// down handles the end of the wire.
func (q *QP) down(err error) {
	switch {
	case q.state == Reset || q.state == Init:
		q.rewire() // whoever tried to connect has left: the next may try
	case q.init.Type != RC:
		q.gone = true // what is sent is lost, and nothing more comes
	case errors.Is(err, fabric.ErrClosed):
		q.fail(WRFlushErr, err.Error())
	default:
		q.fail(RetryExcErr, err.Error())
	}
}
