package verbs

import (
	"time"

	"outboard/verbs/internal/ib"
)

// wireTransmit puts the packets of a request on the wire, those that are left, and reports whether all are there.
func (q *QP) wireTransmit(w *wqe) bool {
	x := q.wire
	switch {
	case q.init.Type == UD:
		return q.sendDatagram(w)
	case w.length > maxIBMsg:
		return q.failInTurn(LocLenErr, "message longer than 2 GiB")
	case !x.resume.IsZero():
		if q.ctx.now().Before(x.resume) {
			return false
		}
		x.resume = time.Time{}
		x.await(q, q.ctx.now())
	}
	if w.wr.Opcode.has(opReplies) {
		return q.sendReplyRequest(w)
	}
	return x.number(q, w) && q.sendRequestPackets(w)
}

// number gives a request its PSNs, once, and reports false while they would be too far ahead of the acknowledged ones.
func (x *wire) number(q *QP, w *wqe) bool {
	if w.psns != 0 {
		return true
	}
	n := x.packets(w.length)
	if q.init.Type == RC && psnsBetween(x.una, x.next)+n > maxPSNs {
		return false
	}
	w.psn, w.psns = x.next, n
	x.next = ib.PSNAdd(x.next, n)
	return true
}

// packets is the number of packets of a message.
func (x *wire) packets(n int) uint32 { return uint32(max(1, (n+x.mtu-1)/x.mtu)) }

// sendRequestPackets sends the packets of a SEND or WRITE from w.sent on.
func (q *QP) sendRequestPackets(w *wqe) bool {
	x, op := q.wire, w.wr.Opcode
	rc := q.init.Type == RC
	for {
		psn := ib.PSNAdd(w.psn, w.sent/x.mtu)
		ahead := ib.PSNDiff(psn, x.una)
		if rc && ahead >= window {
			return false
		}
		n := min(x.mtu, w.length-w.sent)
		last := w.sent+n == w.length
		h := &q.ctx.ibHeader
		*h = ib.Header{Opcode: packetOpcode(ib.Transport(q.init.Type), op, w.sent == 0, last), PSN: psn,
			Solicited: last && w.wr.Flags&Solicited != 0 && op.has(opTakesReceive),
			AckReq:    rc && (last || ahead == window-1 || psn%ackEvery == ackEvery-1),
			Imm:       w.wr.Imm, Inv: w.wr.InvKey, VA: w.wr.RemoteAddr, RKey: w.wr.RKey, Len: uint32(w.length)}
		if !q.sendPacket(h, w.wr.SG, w.sent, n) {
			return false
		}
		x.onWire(q, psn, 1)
		w.sent += n
		if last {
			q.ctx.hw.RDMASends++
			return true
		}
	}
}

func packetOpcode(t ib.Transport, op Opcode, first, last bool) ib.Opcode {
	switch {
	case op == SendInv:
		return ib.SendInvOpcode(first, last)
	case op.has(opRemote):
		return ib.WriteOpcode(t, first, last, op.has(opImm))
	}
	return ib.SendOpcode(t, first, last, op.has(opImm))
}

// sendReplyRequest sends the request of a read, for what has not come of it, or of an atomic. As many as MaxRdAtomic may be in flight.
func (q *QP) sendReplyRequest(w *wqe) bool {
	x := q.wire
	switch {
	case w.replied:
		return true
	case !w.reply && q.attr.MaxRdAtomic == 0:
		return q.failInTurn(LocQPOpErr, w.wr.Opcode.String()+" with MAX_QP_RD_ATOMIC 0")
	case !w.reply && q.sq.reads >= int(q.attr.MaxRdAtomic):
		return false
	case !x.number(q, w):
		return false
	}
	h := &q.ctx.ibHeader
	*h = ib.Header{Opcode: ib.RCReadRequest, PSN: ib.PSNAdd(w.psn, w.got/x.mtu), AckReq: true,
		VA: w.wr.RemoteAddr + uint64(w.got), RKey: w.wr.RKey, Len: uint32(w.length - w.got)}
	if w.wr.Opcode.has(opAtomic) {
		a := atomicOf(&w.wr)
		h.Opcode = atomicOpcodes[w.wr.Opcode]
		h.SwapAdd, h.Compare, h.SwapAddMask, h.CompareMask = a.swapAdd, a.compare, a.swapAddMask, a.compMask
	}
	if !q.sendPacket(h, nil, 0, 0) {
		return false
	}
	x.onWire(q, w.psn, w.psns)
	if !w.reply {
		w.reply = true
		q.sq.reads++
	}
	return true
}

var atomicOpcodes = [numOpcodes]ib.Opcode{FetchAdd: ib.RCFetchAdd, CompareSwap: ib.RCCmpSwap,
	MaskedFetchAdd: ib.RCMaskedFetchAdd, MaskedCompareSwap: ib.RCMaskedCmpSwap}

// onWire notes that PSNs have been sent and starts the timer.
func (x *wire) onWire(q *QP, psn, n uint32) {
	if end := ib.PSNAdd(psn, n); psnsBetween(x.una, end) > x.outstanding() {
		x.sent = end
	}
	if x.deadline.IsZero() && q.init.Type == RC {
		x.await(q, q.ctx.now())
	}
}

// await has the peer answer, from a time on, before the timeout.
func (x *wire) await(q *QP, from time.Time) {
	if x.deadline = (time.Time{}); q.attr.Timeout != 0 {
		x.deadline = from.Add(ackTimeout(q.attr.Timeout))
	}
}

// wireTimer gives up on a peer that does not answer, or sends again.
func (q *QP) wireTimer() {
	x := q.wire
	if x.deadline.IsZero() || q.state != RTS && q.state != SQD || !q.ctx.now().After(x.deadline) {
		return
	}
	q.sendAgain("no answer in " + ackTimeout(q.attr.Timeout).String())
}

// sendAgain goes back to the oldest packet that is not acknowledged, if the retry counter allows it.
func (q *QP) sendAgain(why string) {
	x := q.wire
	if x.retries == 0 {
		q.ctx.hw.RetryExceeded++
		q.fail(RetryExcErr, why)
		return
	}
	x.retries--
	q.ctx.hw.CompleterRetryErr++
	x.goBack(&q.sq)
	x.await(q, q.ctx.now()) // also if the wire has no room now
	q.wake()
}

// goBack has the queue go on from the oldest packet that is not acknowledged.
func (x *wire) goBack(s *sendQueue) {
	i := s.next
	if i != s.head && s.at(i).psns != 0 {
		i++ // that one is on the wire in part
	}
	for i != s.tail {
		i--
		w := s.at(i)
		if w.local {
			continue
		}
		if x.acked(w) {
			return // as are all before it
		}
		s.next = i
		if !w.reply {
			w.sent = int(max(0, ib.PSNDiff(x.una, w.psn))) * x.mtu
		}
	}
}
