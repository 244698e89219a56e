package verbs

import (
	"fmt"
	"slices"

	"outboard/verbs/internal/ib"
)

// recvRequestRC takes a request of a reliable connection: the one that is expected is executed, an old one is answered
// again, and one after a gap is refused once (IBTA 9.7.4.1).
func (q *QP) recvRequestRC(h *ib.Header, p []byte) {
	x := q.wire
	switch d := ib.PSNDiff(h.PSN, x.epsn); {
	case d > 0:
		q.ctx.hw.OutOfSeqRequest++
		if !x.nakked {
			q.acknowledge(ib.NAKSyndrome(ib.NAKSequence))
			x.nakked = true
		}
		return
	case d < 0:
		q.ctx.hw.DuplicateRequest++
		q.answerAgain(h)
		return
	}
	x.nakked = false
	if q.execute(h, p) && h.AckReq && !h.Opcode.IsAtomic() && h.Opcode != ib.RCReadRequest {
		q.acknowledge(ackSyndrome)
	}
}

// acknowledge has an acknowledgement sent, after the responses that are due.
func (q *QP) acknowledge(syndrome uint8) {
	q.wire.syndrome, q.rx.ack = syndrome, true
	q.wake()
}

// recvRequestUC takes a request of an unreliable connection: of a message of which a packet was lost, the rest is
// lost too (IBTA 9.8.2.2).
func (q *QP) recvRequestUC(h *ib.Header, p []byte) {
	x := q.wire
	if h.PSN != x.epsn {
		q.ctx.hw.OutOfSeqRequest++
		x.skip(&q.rx)
	}
	x.epsn = h.PSN
	if h.Opcode.Starts() {
		x.skipping, q.rx.mid = false, midNone // if the end of the last message was lost
	}
	if x.skipping || !q.execute(h, p) {
		x.epsn = ib.PSNAdd(h.PSN, 1)
	}
}

// skip gives up the message being received. Its receive stays for the next.
func (x *wire) skip(r *inbound) {
	r.mid, x.skipping = midNone, true
}

// execute executes the request packet that is expected and reports whether it was accepted.
func (q *QP) execute(h *ib.Header, p []byte) bool {
	x, r, op := q.wire, &q.rx, h.Opcode
	psns := uint32(1)
	ok := false
	switch {
	case !op.Valid():
		return q.refuse(RemInvReqErr, op.String()+": reserved")
	case !x.rightLength(op, len(p)):
		return q.refuse(RemInvReqErr, fmt.Sprintf("%v with %d bytes: path MTU is %d", op, len(p), x.mtu))
	case op.IsSend() && r.outOfSequence(op.Starts(), midSend), op.IsWrite() && r.outOfSequence(op.Starts(), midWrite),
		!op.IsSend() && !op.IsWrite() && r.mid != midNone:
		return q.refuse(RemInvReqErr, fmt.Sprintf("%v out of sequence", op))
	case op.IsSend():
		ok = q.execSend(h, p)
	case op.IsWrite():
		ok = q.execWrite(h, p)
	case q.newReplies() >= int(q.attr.MaxDestRdAtomic):
		return q.tooManyReplies()
	case op == ib.RCReadRequest:
		psns = x.packets(int(h.Len))
		ok = q.execRead(h, psns)
	default:
		ok = q.execAtomic(h)
	}
	if !ok {
		return false
	}
	x.epsn = ib.PSNAdd(x.epsn, psns)
	if op.Ends() {
		x.msn = ib.PSNAdd(x.msn, 1)
	}
	return true
}

// rightLength tells whether a packet at its place in a message may have a payload of n bytes (IBTA 9.7.4.1.6).
func (x *wire) rightLength(op ib.Opcode, n int) bool {
	switch {
	case op.IsFirst() || op.IsMiddle():
		return n == x.mtu
	case op.IsLast():
		return n >= 1 && n <= x.mtu
	}
	return n <= x.mtu
}

// refuse answers a bad request: with a NAK on RC; on UC the message is lost.
func (q *QP) refuse(st Status, why string) bool {
	if q.init.Type == RC {
		return q.reject(st, why)
	}
	q.wire.skip(&q.rx)
	return false
}

// notReady answers a message for which there is no receive.
func (q *QP) notReady() bool {
	if q.init.Type == RC {
		q.ctx.hw.SendRNRErr++
		q.acknowledge(ib.RNRSyndrome(q.attr.MinRNRTimer))
		q.wire.nakked = true // what follows is not answered: it comes again
		return false
	}
	q.wire.skip(&q.rx)
	return false
}

func (q *QP) execSend(h *ib.Header, p []byte) bool {
	r, op := &q.rx, h.Opcode
	if op.Starts() {
		r.offset, r.tm = 0, tmMessage{}
		if q.srq.matchesTags() {
			if !q.matchTag(h, p) {
				return false
			}
		} else if !q.takeReceive() {
			return q.notReady()
		}
		if st, why := q.checkReceive(); st != Success {
			return q.malformedReceive(st, why)
		}
		switch r.tm.kind {
		case tmRendezvous:
			return q.rendezvous(h, p)
		case tmEager:
			p = p[TMHSize:]
		}
	}
	if why := r.place(p); why != "" {
		return q.tooLong(why)
	}
	if r.mid = midSend; !op.Ends() {
		return !op.Starts() || q.tmMatched()
	}
	r.mid = midNone
	wc := WC{Opcode: WCRecv, Bytes: r.offset}
	q.tmDone(&wc, !op.Starts())
	if why := q.takeExtra(h, &wc); why != "" {
		return q.badInvalidate(why)
	}
	q.ctx.hw.RDMARecvs++
	q.completeReceive(wc, h.Solicited)
	return q.state != Err // a completion that was lost is no acknowledgement
}

// takeExtra puts the immediate of a SEND into its completion, or executes the invalidation that it asks for and says why it does not.
func (q *QP) takeExtra(h *ib.Header, wc *WC) (why string) {
	switch {
	case h.Opcode.HasImm():
		wc.Imm, wc.HasImm = h.Imm, true
	case h.Opcode.HasInv():
		if why = q.invalidateFor(h.Inv); why == "" {
			wc.InvKey = h.Inv
			wc.Flags |= WithInv
		}
	}
	return why
}

// malformedReceive ends a message whose receive is faulty (IBTA 9.9.3, class A).
func (q *QP) malformedReceive(st Status, why string) bool {
	q.completeReceive(WC{Status: st, Detail: why}, true)
	if q.init.Type == RC {
		return q.reject(RemOpErr, why)
	}
	q.fail(WRFlushErr, why)
	return false
}

// tooLong ends a message that is longer than its receive: on RC both sides fail; on UC it is lost, and the receive is
// used for the next, unless it came from a shared queue (class C, D and E).
func (q *QP) tooLong(why string) bool {
	if q.init.Type != RC && q.srq == nil {
		return q.refuse(RemInvReqErr, why)
	}
	q.completeReceive(WC{Status: LocLenErr, Detail: why}, true)
	if q.init.Type == RC {
		return q.reject(RemInvReqErr, why)
	}
	q.fail(WRFlushErr, why)
	return false
}

func (q *QP) execWrite(h *ib.Header, p []byte) bool {
	r, op := &q.rx, h.Opcode
	if op.Starts() {
		r.key, r.addr, r.remaining = h.RKey, h.VA, uint64(h.Len)
		r.offset = int(h.Len)
		if h.Len > maxIBMsg {
			return q.refuse(RemInvReqErr, fmt.Sprintf("RDMA WRITE of %d bytes: expected at most %d", h.Len, maxIBMsg))
		}
		if _, st, why := q.target(r.key, r.addr, r.remaining, RemoteWrite); st != Success {
			return q.refuse(st, why)
		}
	}
	if n := uint64(len(p)); n > r.remaining || op.Ends() != (n == r.remaining) {
		return q.refuse(RemInvReqErr, "RDMA WRITE of another length than announced")
	}
	if op.HasImm() && !q.takeReceive() {
		return q.notReady()
	}
	dst, st, why := q.target(r.key, r.addr, uint64(len(p)), RemoteWrite)
	if st != Success { // deregistered meanwhile
		return q.refuse(st, why)
	}
	copy(dst, p)
	r.addr += uint64(len(p))
	r.remaining -= uint64(len(p))
	if r.mid = midWrite; op.Ends() {
		r.mid = midNone
		if q.counters != nil {
			q.counters.count(CountRemoteWrite, Success)
		}
	}
	if op.HasImm() {
		q.completeReceive(WC{Opcode: WCRecvWriteImm, Bytes: r.offset, Imm: h.Imm, HasImm: true}, h.Solicited)
	}
	return q.state != Err
}

func (q *QP) execRead(h *ib.Header, psns uint32) bool {
	if h.Len > maxIBMsg {
		return q.refuse(RemInvReqErr, fmt.Sprintf("RDMA READ of %d bytes: expected at most %d", h.Len, maxIBMsg))
	}
	if _, st, why := q.target(h.RKey, h.VA, uint64(h.Len), RemoteRead); st != Success {
		return q.refuse(st, why)
	}
	return q.serve(reply{key: h.RKey, psn: h.PSN, addr: h.VA, remaining: uint64(h.Len)}, psns)
}

func (q *QP) execAtomic(h *ib.Header) bool {
	b, st, why := q.target(h.RKey, h.VA, 8, RemoteAtomic)
	if st != Success {
		return q.refuse(st, why)
	}
	a := atomicArgs{op: atomicOps[h.Opcode], swapAdd: h.SwapAdd, compare: h.Compare, swapAddMask: h.SwapAddMask, compMask: h.CompareMask}
	return q.serve(reply{atomic: true, psn: h.PSN, value: a.run(b)}, 1)
}

var atomicOps = [...]Opcode{ib.RCFetchAdd: FetchAdd, ib.RCCmpSwap: CompareSwap,
	ib.RCMaskedFetchAdd: MaskedFetchAdd, ib.RCMaskedCmpSwap: MaskedCompareSwap}

// newReplies is the number of answers that wait, without those that are given again: their place may be needed already, for the
// requester may have got the first.
func (q *QP) newReplies() (n int) {
	for i := range q.rx.replies {
		if !q.rx.replies[i].again {
			n++
		}
	}
	return n
}

// serve queues an answer and saves it for when it is asked for again.
func (q *QP) serve(a reply, psns uint32) bool {
	q.rx.replies = append(q.rx.replies, a)
	q.wake()
	x := q.wire
	if len(x.saved) >= int(q.attr.MaxDestRdAtomic) {
		x.saved = append(x.saved[:0], x.saved[1:]...)
	}
	x.saved = append(x.saved, savedReply{reply: a, psns: psns})
	return true
}

// answerAgain answers a request that comes again: its answer was lost, or the network has kept it. Nothing is executed twice; a read is, with
// the memory as it is now, because the requester has not got the end of it (IBTA 9.7.5.1.4).
func (q *QP) answerAgain(h *ib.Header) {
	if !h.Opcode.IsAtomic() && h.Opcode != ib.RCReadRequest {
		if h.AckReq && !q.rx.ack {
			q.acknowledge(ackSyndrome)
		}
		return
	}
	x := q.wire
	for _, s := range x.saved {
		at := ib.PSNDiff(h.PSN, s.psn)
		if at < 0 || at >= int32(s.psns) || s.atomic != h.Opcode.IsAtomic() {
			continue
		}
		a := s.reply
		a.again = true
		if !a.atomic {
			off := uint64(at) * uint64(x.mtu)
			if h.RKey != s.key || h.VA != s.addr+off || uint64(h.Len) != s.remaining-off {
				return
			}
			a.psn, a.addr, a.remaining = h.PSN, h.VA, uint64(h.Len)
		}
		x.queueAgain(&q.rx, a, ib.PSNAdd(s.psn, s.psns))
		q.wake()
		return
	}
}

// queueAgain puts an answer, whose last PSN is before end, in its place among those that wait, unless it is still to come anyhow.
func (x *wire) queueAgain(r *inbound, a reply, end uint32) {
	i := 0
	for i < len(r.replies) && ib.PSNDiff(r.replies[i].psn, end) < 0 {
		w := &r.replies[i]
		switch {
		case ib.PSNDiff(w.psn, a.psn) > 0: // the rest of it
			*w = a
			return
		case psnsBetween(w.psn, a.psn) < x.packets(int(w.remaining)):
			return
		}
		i++
	}
	r.replies = slices.Insert(r.replies, i, a)
}

// wireRespond sends what is due to the peer: responses in order, then an acknowledgement or a refusal.
func (q *QP) wireRespond() {
	x := &q.rx
	for len(x.replies) > 0 {
		r := &x.replies[0]
		if !q.sendResponse(r) {
			return
		}
		if q.counters != nil {
			q.countAnswer(r.lastPSN())
		}
		if q.wire.syndrome == ackSyndrome && r.lastPSN() == ib.PSNAdd(q.wire.epsn, -1) {
			x.ack = false // it says so too
		}
		x.dropReply()
	}
	h := &q.ctx.ibHeader
	switch {
	case x.nak != Success:
		*h = ib.Header{Opcode: ib.RCAck, PSN: q.wire.nakPSN, Syndrome: ib.NAKSyndrome(nakCode[x.nak]), MSN: q.wire.msn}
		if q.sendPacket(h, nil, 0, 0) {
			x.nak, x.ack = Success, false
		}
	case x.ack:
		psn := q.wire.epsn
		if kind, _ := ib.DecodeSyndrome(q.wire.syndrome); kind == ib.SyndromeACK {
			psn = ib.PSNAdd(psn, -1)
		}
		*h = ib.Header{Opcode: ib.RCAck, PSN: psn, Syndrome: q.wire.syndrome, MSN: q.wire.msn}
		x.ack = !q.sendPacket(h, nil, 0, 0)
	}
}

var nakCode = map[Status]ib.NAKCode{RemInvReqErr: ib.NAKInvalid, RemAccessErr: ib.NAKAccess, RemOpErr: ib.NAKOperational}

// sendResponse sends an answer, as far as there is room, and reports whether all of it is on the wire.
func (q *QP) sendResponse(r *reply) bool {
	x, h := q.wire, &q.ctx.ibHeader
	if r.atomic {
		*h = ib.Header{Opcode: ib.RCAtomicAck, PSN: r.psn, Syndrome: ackSyndrome, MSN: x.msn, Orig: r.value}
		return q.sendPacket(h, nil, 0, 0)
	}
	for {
		n := min(uint64(x.mtu), r.remaining)
		b, st, why := q.target(r.key, r.addr, n, RemoteRead)
		if st != Success { // deregistered meanwhile
			q.rx.replies = q.rx.replies[:0]
			q.rejectAt(r.psn, st, why)
			return false
		}
		last := n == r.remaining
		*h = ib.Header{Opcode: ib.ReadRespOpcode(!r.begun, last), PSN: r.psn, Syndrome: ackSyndrome, MSN: x.msn}
		var sg [1]SGE
		sg[0].Buf = b
		if !q.sendPacket(h, sg[:], 0, int(n)) {
			return false
		}
		r.begun = true
		r.psn = ib.PSNAdd(r.psn, 1)
		r.addr += n
		r.remaining -= n
		if last {
			return true
		}
	}
}
