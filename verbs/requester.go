package verbs

import (
	"encoding/binary"

	"outboard/verbs/fabric"
)

// progress runs both halves of the queue pair as far as they go and reports
// whether work is left.
func (q *QP) progress() bool {
	q.respond()
	q.send()
	s := &q.sq
	if s.tail != s.head {
		q.retire()
		if q.wire != nil {
			q.wireTimer()
		} else {
			q.checkDeadline()
		}
	}
	return s.tail != s.head && (q.state == RTS || q.state == SQD) && !q.dormant() || q.rx.pending()
}

// send starts requests in order, as far as they go. In SQD only those that have begun go on.
func (q *QP) send() {
	s := &q.sq
	for s.next != s.head && (q.state == RTS || q.state == SQD) {
		w := s.at(s.next)
		if !w.begun && (q.state == SQD || q.held()) || !q.transmit(w) {
			return
		}
		s.next++
	}
}

// transmit puts a request on the wire, or executes it directly, and reports whether all of it is
// there: the caller goes on to the next. A request that fails takes the queue pair to ERR, or, on UC and UD, to SQE.
func (q *QP) transmit(w *wqe) bool {
	if !w.begun && !q.begin(w) {
		return false
	}
	op := w.wr.Opcode
	switch {
	case op.has(opLocal):
		return q.runLocal(w)
	case q.wire != nil:
		return q.wireTransmit(w)
	case op.has(opRemote) && !w.moved && !w.packets && q.direct != nil && !q.runDirect(w):
		return false
	}
	switch {
	case op == WriteImm:
		return q.sendWriteImm(w)
	case op == Write:
		return w.moved || q.sendSegments(w, msgWrite)
	case op.has(opTakesReceive):
		return q.sendSegments(w, msgSend)
	}
	return w.moved || q.sendRequest(w)
}

// begin decides whether a request may start: its fence, its local buffers, and the peer's leave.
func (q *QP) begin(w *wqe) bool {
	s := &q.sq
	if w.wr.Flags&Fence != 0 && s.reads > 0 {
		return false
	}
	if st, why := q.checkLocal(w); st != Success {
		return q.failInTurn(st, why)
	}
	if q.wire == nil && !w.wr.Opcode.has(opLocal) && !q.admitted(w) {
		return false
	}
	if s.takesReceive(w.wr.Opcode) {
		s.messages++
	}
	w.begun = true
	return true
}

// checkLocal checks the scatter/gather list against the regions.
func (q *QP) checkLocal(w *wqe) (Status, string) {
	if w.wr.Flags&Inline != 0 || w.wr.Opcode.has(opLocal) {
		return Success, ""
	}
	need := Access(0)
	if w.wr.Opcode.has(opReplies) {
		need = LocalWrite
	}
	return q.checkList(q.pd, w.wr.SG, &w.held, need)
}

// admitted tells whether the peer takes the request now: its queue pair is ready,
// and a receive is posted for a message that takes one. On the queue pairs of an Engine the wire
// keeps what comes too early.
func (q *QP) admitted(w *wqe) bool {
	s := &q.sq
	if q.init.engine || s.takesReceive(w.wr.Opcode) && creditsLeft(s.posted, s.messages) > 0 {
		return true
	}
	g := q.conn.PeerGrant()
	if !g.Ready {
		return false
	}
	if g.Access&grantPackets != 0 {
		q.usePackets()
		return true
	}
	s.posted, s.sink = g.Access>>grantCredit, g.Access&grantSink != 0
	return !s.takesReceive(w.wr.Opcode) || creditsLeft(s.posted, s.messages) > 0
}

// headerFlags are the flags of the last packet of a message that depend on the request.
func (w *wqe) headerFlags() uint8 {
	var f uint8
	if w.wr.Opcode.has(opImm) {
		f |= flagImm
	}
	if w.wr.Opcode == SendInv {
		f |= flagInv
	}
	if w.wr.Flags&Solicited != 0 {
		f |= flagSolicited
	}
	return f
}

// sendSegments sends the data of w in packets of the path MTU, from w.sent on. An empty message is one packet.
func (q *QP) sendSegments(w *wqe, op uint8) bool {
	h := &q.ctx.header
	for {
		*h = fabric.Header{Op: op, Imm: w.wr.Imm}
		var a []byte
		room := q.attr.PathMTU
		if w.sent == 0 {
			h.Flags = flagFirst
			if op == msgWrite {
				a = q.ctx.scratch[:8]
				binary.LittleEndian.PutUint64(a, uint64(w.length))
				room -= len(a)
			}
		}
		n := min(room, w.length-w.sent)
		if op == msgWrite {
			h.Addr, h.Key = w.wr.RemoteAddr+uint64(w.sent), w.wr.RKey
		}
		if w.sent+n == w.length {
			h.Flags |= flagLast | w.headerFlags() | fabric.AckNow
			if w.wr.Opcode == SendInv {
				h.Imm = w.wr.InvKey
			}
		}
		if !q.conn.Send(h, a, q.ctx.gather(w.wr.SG, w.sent, n)) {
			return false
		}
		w.sent += n
		if w.sent == w.length {
			w.last = q.conn.Sent()
			return true
		}
	}
}

// sendWriteImm sends the immediate, after the data unless that is in place.
func (q *QP) sendWriteImm(w *wqe) bool {
	if !w.moved && w.sent < w.length && !q.sendSegments(w, msgWrite) {
		return false
	}
	n := q.ctx.scratch[:8]
	binary.LittleEndian.PutUint64(n, uint64(w.length))
	h := &q.ctx.header
	*h = fabric.Header{Op: msgWriteImm, Flags: w.headerFlags() | flagLast | fabric.AckNow, Imm: w.wr.Imm}
	if !q.conn.Send(h, n, nil) {
		return false
	}
	w.last = q.conn.Sent()
	return true
}

// sendRequest sends a request that has a response; as many as MaxRdAtomic may be in flight.
func (q *QP) sendRequest(w *wqe) bool {
	if q.sq.reads >= int(q.attr.MaxRdAtomic) {
		return false
	}
	h := &q.ctx.header
	*h = fabric.Header{Op: msgReadReq, Flags: fabric.AckNow, Aux: uint16(w.wr.Opcode), Addr: w.wr.RemoteAddr, Key: w.wr.RKey}
	n := q.ctx.scratch[:16]
	if w.wr.Opcode.has(opAtomic) {
		h.Op = msgAtomicReq
		n = atomicOf(&w.wr).append(q.ctx.scratch[:0])
	} else {
		binary.LittleEndian.PutUint64(n, uint64(w.length))
		binary.LittleEndian.PutUint64(n[8:], 0)
	}
	if !q.conn.Send(h, n, nil) {
		return false
	}
	w.last = q.conn.Sent()
	w.reply = true
	q.sq.reads++
	return true
}

// recvResponse takes data for the oldest read or atomic that waits for it.
func (q *QP) recvResponse(h *fabric.Header, p []byte) {
	s := &q.sq
	for i := s.tail; i != s.next; i++ {
		w := s.at(i)
		if w.reply && !w.replied {
			q.takeResponse(w, h, p)
			return
		}
	}
	q.fail(BadRespErr, "response without request")
}

func (q *QP) takeResponse(w *wqe, h *fabric.Header, p []byte) {
	last := h.Flags&flagLast != 0
	fits := len(p) <= w.length-w.got && last == (w.got+len(p) == w.length) && (last || len(p) > 0)
	if !fits || (h.Op == msgAtomicResp) != w.wr.Opcode.has(opAtomic) || h.Op == msgAtomicResp && len(p) != 8 {
		q.fail(BadRespErr, "response of another kind or length than asked for")
		return
	}
	if h.Op == msgAtomicResp {
		q.ctx.scatter64(w.wr.SG, binary.LittleEndian.Uint64(p))
	} else {
		scatter(w.wr.SG, w.got, p)
	}
	w.got += len(p)
	if last {
		w.replied = true
		q.sq.reads--
		q.wake()
	}
}

// recvNAK handles the peer's word that it went to ERR: because it refused a request of
// this side, or because this side refused its direct access.
func (q *QP) recvNAK(h *fabric.Header) {
	st := Status(h.Aux)
	switch st {
	case RemInvReqErr, RemAccessErr, RemOpErr:
	default:
		st = BadRespErr
	}
	if h.Op == msgFault {
		q.refusalEvent(st, "direct access of the peer")
		q.fail(WRFlushErr, "the peer's access was refused: "+st.String())
		return
	}
	q.fail(st, "negative acknowledgement from the peer")
}
