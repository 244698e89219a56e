package verbs

import "time"

// retire completes requests, oldest first, as far as they are done.
func (q *QP) retire() {
	s := &q.sq
	if s.tail == s.next {
		return
	}
	var acked uint64
	if q.wire == nil {
		acked = q.conn.Acked()
	}
	for s.tail != s.next {
		w := s.at(s.tail)
		switch {
		case w.reply && !w.replied:
			return
		case q.wire == nil && w.last > acked, q.wire != nil && q.init.Type == RC && !w.local && !q.wire.acked(w):
			return
		}
		s.stall = Success
		q.complete(w, Success, "")
	}
	q.drained()
}

// complete ends the oldest request.
func (q *QP) complete(w *wqe, st Status, detail string) {
	q.sq.tail++
	q.ctx.unhold(w.wr.SG, w.held)
	if w.wr.Opcode == BindMW {
		w.unholdBind()
	}
	if w.tm != nil {
		q.sq.free = q.sq.tail
		q.tmSent(w, st, detail)
		return
	}
	if q.counters != nil {
		q.counters.count(w.wr.Opcode.counterOp(), st)
	}
	if st != Success || w.wr.Flags&Signaled != 0 || q.init.SignalAll {
		q.init.SendCQ.pushSend(q, WC{ID: w.wr.ID, Status: st, Opcode: opcodes[w.wr.Opcode].wc, QPN: q.qpn, Bytes: w.length, Detail: detail})
	}
	clear(w.wr.SG)
}

// flush completes all work: the oldest send with st, everything else as flushed.
func (q *QP) flush(st Status, detail string) {
	q.flushSends(st, detail)
	flushed := "flushed: " + detail
	for q.rq.tail != q.rq.head || q.rx.taken() {
		q.completeReceive(WC{Status: WRFlushErr, Detail: flushed}, false)
	}
	q.rx.drop()
}

// flushSends completes the send queue: the oldest request with st, the rest as flushed.
func (q *QP) flushSends(st Status, detail string) {
	s := &q.sq
	q.retire()
	q.stopWaiting()
	flushed := "flushed: " + detail
	for s.tail != s.head {
		s.next = s.tail + 1 // in SQE this may overflow the completion queue, and the rest is flushed within
		q.complete(s.at(s.tail), st, detail)
		st, detail = WRFlushErr, flushed
	}
	s.next = s.head
	s.reads = 0
}

// release forgets all work without completions.
func (q *QP) release() {
	s := &q.sq
	q.stopWaiting()
	for ; s.tail != s.head; s.tail++ {
		w := s.at(s.tail)
		q.ctx.unhold(w.wr.SG, w.held)
		if w.wr.Opcode == BindMW {
			w.unholdBind()
		}
		clear(w.wr.SG)
	}
	s.next = s.head
	for r := &q.rq; r.tail != r.head; r.tail++ {
		w := r.at(r.tail)
		q.ctx.unhold(w.SG, w.held)
		clear(w.SG)
	}
	if q.rx.taken() {
		q.ctx.unhold(q.rx.receive.SG, q.rx.receive.held)
	}
	q.rx = inbound{}
}

// fail moves to ERR: the oldest outstanding send completes with st (unless that is WRFlushErr),
// all other work with WRFlushErr.
func (q *QP) fail(st Status, detail string) {
	if q.state == Err || q.state == Reset {
		return
	}
	q.state, q.draining = Err, false
	q.grant()
	q.flush(st, detail)
	if q.srq != nil {
		q.ctx.event(AsyncEvent{Type: EventQPLastWQE, QPN: q.qpn, SRQ: q.srq})
	}
	if q.init.Sink != nil {
		q.init.Sink.Down(q.init.Tag, &Error{Op: "transport", Object: q.name(), Detail: detail, Err: st})
	}
}

// failInTurn fails the request that is next to be sent, once those before it are complete: a
// later call finds the same. UC and UD go to SQE, from which RTS leads out, and go on receiving.
func (q *QP) failInTurn(st Status, why string) bool {
	switch q.retire(); {
	case q.state == Err: // a completion of those before it was lost
	case q.sq.tail != q.sq.next:
	case q.init.Type == RC:
		q.fail(st, why)
	default:
		q.state, q.draining = SQE, false
		q.flushSends(st, why)
	}
	return false
}

// deafAfter is how long a wire without room holds up UC, which is not told whether its peer is there.
const deafAfter = time.Second

// unheard tells whether a packet for which the wire has no room is lost: on UC, when nobody takes any.
func (q *QP) unheard() bool {
	switch {
	case q.init.Type != UC:
		return false
	case q.gone:
		return true
	case q.fullAt.IsZero():
		q.fullAt = q.ctx.now()
	}
	return q.ctx.now().Sub(q.fullAt) > deafAfter
}

// checkDeadline gives up on a peer whose queue pair is not ready, or that
// has no receive posted, for too long.
func (q *QP) checkDeadline() {
	s := &q.sq
	if q.state != RTS && q.state != SQD || s.tail == s.head || q.attr.Timeout == 0 && (q.attr.RNRRetry == rnrForEver || q.init.engine) {
		return
	}
	why, limit := q.stalled()
	if why == Success || q.dormant() {
		s.stall = Success
		return
	}
	now := q.ctx.now()
	if why != s.stall {
		s.stall, s.deadline = why, now.Add(limit)
	}
	if limit == 0 || now.After(s.deadline) {
		q.fail(why, "gave up after "+limit.String())
	}
}

// stalled tells what the oldest request waits for at the peer, as the status with which it
// fails after limit; Success if it may wait, or waits for nothing.
func (q *QP) stalled() (why Status, limit time.Duration) {
	s := &q.sq
	g := q.conn.PeerGrant()
	switch {
	case q.state == SQD && s.tail == s.next && !s.at(s.next).begun: // it waits for RTS
	case !g.Ready:
		if q.attr.Timeout != 0 {
			return RetryExcErr, ackTimeout(q.attr.Timeout) * time.Duration(q.attr.RetryCnt+1)
		}
	case q.attr.RNRRetry == rnrForEver || q.init.engine:
	case s.tail == s.next && s.next != s.head:
		if w := s.at(s.next); s.takesReceive(w.wr.Opcode) && !w.begun && credits(g, s.messages) <= 0 {
			return RNRRetryExcErr, rnrTimer(grantRNR(g)) * time.Duration(q.attr.RNRRetry)
		}
	}
	return Success, 0
}

const rnrForEver = 7

// rnrTimer is the wait before a message for which no receive was posted is tried again (IBTA table 45).
func rnrTimer(code uint8) time.Duration {
	table := [32]int{65536, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072,
		4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152} // hundredths of a millisecond
	return time.Duration(table[code&31]) * 10 * time.Microsecond
}

// ackTimeout is the time of a code of the local acknowledgement timeout (IBTA 9.7.6.1.3).
func ackTimeout(code uint8) time.Duration { return 4096 * time.Nanosecond << code }
