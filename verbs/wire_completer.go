package verbs

import (
	"time"

	"outboard/verbs/internal/ib"
)

// recvResponsePacket takes an acknowledgement or a response. One that no request awaits is an old one, and lost.
func (q *QP) recvResponsePacket(h *ib.Header, p []byte) {
	x := q.wire
	if q.state != RTS && q.state != SQD || psnsBetween(x.una, h.PSN) >= x.outstanding() {
		return
	}
	if h.Opcode != ib.RCAck {
		q.recvData(h, p)
		return
	}
	switch kind, value := ib.DecodeSyndrome(h.Syndrome); kind {
	case ib.SyndromeACK:
		q.advance(ib.PSNAdd(h.PSN, 1))
	case ib.SyndromeRNR:
		q.recvRNR(h.PSN, value)
	case ib.SyndromeNAK:
		q.recvPacketNAK(h.PSN, ib.NAKCode(value))
	}
}

// advance acknowledges all packets before psn, which does not go past what has been sent. It returns false if a response to
// one of them has not come: then that is lost, and asked for again.
func (q *QP) advance(psn uint32) bool {
	x, s := q.wire, &q.sq
	complete := true
	for i := s.tail; i != s.head; i++ {
		w := s.at(i)
		if w.local {
			continue
		}
		if w.psns == 0 || ib.PSNDiff(w.psn, psn) >= 0 {
			break
		}
		if w.reply && !w.replied {
			if at := ib.PSNAdd(w.psn, w.got/x.mtu); ib.PSNDiff(at, psn) < 0 {
				complete, psn = false, at
			}
			break
		}
	}
	x.progressTo(q, psn)
	if !complete {
		q.lostResponse()
	}
	return complete
}

// progressTo makes psn the oldest that is not acknowledged, unless it is older than that.
func (x *wire) progressTo(q *QP, psn uint32) {
	if ib.PSNDiff(psn, x.una) <= 0 {
		return
	}
	x.una, x.again = psn, false
	x.retries, x.rnrRetries = q.attr.RetryCnt, q.attr.RNRRetry
	x.deadline = time.Time{}
	if x.outstanding() > 0 {
		x.await(q, q.ctx.now())
	}
	x.catchUp(&q.sq)
	q.wake()
}

// catchUp moves the queue past what was to be sent again and has been acknowledged meanwhile.
func (x *wire) catchUp(s *sendQueue) {
	for ; s.next != s.head; s.next++ {
		w := s.at(s.next)
		switch {
		case w.local:
			continue
		case w.psns == 0:
			return
		case w.reply && !w.replied || !x.acked(w):
			if ahead := ib.PSNDiff(x.una, w.psn); !w.reply && ahead > 0 {
				w.sent = max(w.sent, int(ahead)*x.mtu)
			}
			return
		}
	}
}

// lostResponse asks for lost responses again: once, until one has come.
func (q *QP) lostResponse() {
	if x := q.wire; !x.again {
		x.again = true
		q.sendAgain("responses were lost")
	}
}

// recvRNR waits before the packet for which the peer has no receive is sent again.
func (q *QP) recvRNR(psn uint32, timer uint8) {
	x := q.wire
	q.ctx.hw.RcvdRNRErr++
	if !x.resume.IsZero() || !q.advance(psn) {
		return // while it waits it has sent nothing that could be refused
	}
	if q.attr.RNRRetry != rnrForEver {
		if x.rnrRetries == 0 {
			q.ctx.hw.RNRRetryExceeded++
			q.fail(RNRRetryExcErr, "the peer had no receive posted")
			return
		}
		x.rnrRetries--
	}
	x.goBack(&q.sq)
	x.resume = q.ctx.now().Add(rnrTimer(timer))
	x.deadline = time.Time{} // until then nothing is awaited
	q.wake()
}

var nakStatus = [...]Status{ib.NAKInvalid: RemInvReqErr, ib.NAKAccess: RemAccessErr, ib.NAKOperational: RemOpErr}

// recvPacketNAK sends again after a gap, or fails the request that the peer has refused.
func (q *QP) recvPacketNAK(psn uint32, code ib.NAKCode) {
	if code == ib.NAKSequence {
		q.ctx.hw.RcvdSeqErr++
		if q.advance(psn) {
			q.sendAgain("the peer misses packets")
		}
		return
	}
	st := BadRespErr
	if int(code) < len(nakStatus) {
		st = nakStatus[code]
	}
	if q.advance(psn) {
		q.fail(st, "negative acknowledgement from the peer: "+code.String())
	}
}

// recvData takes a packet of the answer to the oldest read or atomic that waits for one.
func (q *QP) recvData(h *ib.Header, p []byte) {
	x, w := q.wire, q.sq.awaiting()
	if w == nil {
		return
	}
	switch d := ib.PSNDiff(h.PSN, ib.PSNAdd(w.psn, w.got/x.mtu)); {
	case d < 0:
		return
	case d > 0:
		q.lostResponse()
		return
	}
	atomic := h.Opcode == ib.RCAtomicAck
	last := h.Opcode.Ends()
	left := w.length - w.got
	switch {
	case atomic != w.wr.Opcode.has(opAtomic):
		q.fail(BadRespErr, "response of another kind than asked for: "+h.Opcode.String())
		return
	case w.got == 0 && !h.Opcode.Starts():
		q.fail(BadRespErr, "response that has no beginning: "+h.Opcode.String())
		return
	case !atomic && (last && (len(p) != left || left > x.mtu) || !last && (len(p) != x.mtu || left <= x.mtu)):
		q.fail(BadRespErr, "response of another length than asked for")
		return
	case atomic:
		q.ctx.scatter64(w.wr.SG, h.Orig)
		w.got = w.length
	default:
		scatter(w.wr.SG, w.got, p)
		w.got += len(p)
	}
	if last {
		w.replied = true
		q.sq.reads--
	}
	x.progressTo(q, ib.PSNAdd(h.PSN, 1))
}

// awaiting is the oldest request whose response has not come, or nil.
func (s *sendQueue) awaiting() *wqe {
	for i := s.tail; i != s.head; i++ {
		w := s.at(i)
		if w.reply && !w.replied {
			return w
		}
		if !w.begun {
			return nil
		}
	}
	return nil
}
