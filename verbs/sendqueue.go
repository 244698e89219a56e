package verbs

import "time"

// wqe is a posted send request.
type wqe struct {
	wr      SendWR // SG points into sendQueue.sge, or to one inline entry
	held    uint32 // entries of SG whose regions are held
	length  int
	sent    int    // bytes on the wire
	got     int    // bytes of a response
	last    uint64 // Conn.Sent after its last packet; done when acknowledged
	begun   bool   // checked, and admitted by the peer
	moved   bool   // its data went by direct access
	packets bool   // its data goes by packets, not by direct access
	reply   bool   // waits for a response
	replied bool
	local   bool   // a local operation that has been done
	psn     uint32 // of its first packet, when it goes in IBTA packets; it takes psns of them
	psns    uint32
	tm      *tmEntry // of a rendezvous that the NIC serves: the request is its own
}

// sendQueue is a ring of requests: [tail,next) are on the wire, [next,head) wait. Those in [free,tail) are complete, but
// their entries are taken until the host has taken a completion that tells it so: their own, or that of a later one.
type sendQueue struct {
	ring             []wqe
	sge              []SGE
	inline           []byte
	args             []wrArgs // of requests that have some; nil until then
	maxSGE           int
	maxInline        int
	head, next, tail uint64
	free             uint64
	reads            int    // responses awaited
	messages         uint32 // begun since RESET that take a receive
	posted           uint32 // receives of the peer, as last seen; both modulo 2^21
	sink             bool   // the peer takes SENDs without receives, as last seen
	stall            Status // what the peer is waited for, Success if for nothing
	deadline         time.Time
}

func (s *sendQueue) init(c QPCap) {
	*s = sendQueue{ring: make([]wqe, c.SendWR), sge: make([]SGE, c.SendWR*max(c.SendSGE, 1)), inline: make([]byte, c.SendWR*c.Inline),
		maxSGE: c.SendSGE, maxInline: c.Inline}
}

// takesReceive tells whether a request takes a receive of the peer.
func (s *sendQueue) takesReceive(o Opcode) bool {
	return o.has(opTakesReceive) && (!s.sink || o == WriteImm)
}

// full tells whether all entries are taken.
func (s *sendQueue) full() bool { return s.head-s.free == uint64(len(s.ring)) }

// pass is the passage of a request through the empty queue, which is not full.
func (s *sendQueue) pass() {
	s.head++
	s.next, s.tail = s.head, s.head
}

func (s *sendQueue) at(i uint64) *wqe { return &s.ring[i%uint64(len(s.ring))] }

// PostSend posts requests to the send queue, in order. On an error the
// requests before Error.Index are posted and the rest are not.
//
// ErrState before RTS; in SQD requests wait, in ERR and SQE they are accepted and flushed.
// ErrQueueFull when the queue is full: an entry is free again when the completion of its request, or of a later one, has been taken
// from the completion queue. So of as many requests as the queue holds at least one must be signaled (IBTA 10.8.6).
func (q *QP) PostSend(wrs ...SendWR) error {
	q.ctx.mu.Lock()
	if len(wrs) == 1 && q.postLone(&wrs[0]) {
		q.ctx.unlock()
		return nil
	}
	return q.postList(wrs)
}

// postList posts requests to the send queue and leaves the NIC.
func (q *QP) postList(wrs []SendWR) error {
	defer q.ctx.unlock()
	for i := range wrs {
		if err := q.postSend(&wrs[i]); err != nil {
			err.Index = i
			return err
		}
	}
	if q.ctx.stirred {
		q.ctx.settle()
	}
	return nil
}

func (q *QP) postSend(wr *SendWR) *Error {
	n, err := q.checkSend(wr)
	if err == nil {
		q.enqueue(wr, n)
	}
	return err
}

// enqueue appends a request of n bytes that has been checked, and runs the queue.
func (q *QP) enqueue(wr *SendWR, n int) {
	s := &q.sq
	i := int(s.head % uint64(len(s.ring)))
	w := &s.ring[i]
	*w = wqe{wr: *wr, length: n}
	if wr.rare() {
		s.keep(i, &w.wr)
	}
	w.wr.SG = s.sge[i*max(s.maxSGE, 1):][:0]
	if wr.Flags&Inline != 0 {
		buf := s.inline[i*s.maxInline:][:0]
		for _, g := range wr.SG {
			buf = append(buf, g.Buf...)
		}
		w.wr.SG = append(w.wr.SG, SGE{Buf: buf})
	} else {
		w.wr.SG = append(w.wr.SG, wr.SG...)
		w.held = q.ctx.hold(w.wr.SG)
	}
	if wr.Opcode == BindMW {
		w.holdBind()
	}
	s.head++
	switch q.state {
	case Err:
		q.flush(WRFlushErr, "queue pair is in ERR")
		return
	case SQE:
		q.flushSends(WRFlushErr, "send queue is in SQE")
		return
	}
	if q.progress() {
		q.wake()
	}
}

// checkSend checks what a post can check at once and returns the length.
func (q *QP) checkSend(wr *SendWR) (int, *Error) {
	const op = "post_send"
	s := &q.sq
	switch {
	case q.dead:
		return 0, opErr(op, q.name(), ErrDestroyed, "destroyed")
	case q.srq.matchesTags():
		return 0, opErr(op, q.name(), ErrInvalid, "the send queue belongs to tag-matching %s", q.srq.name())
	case q.state < RTS:
		return 0, opErr(op, q.name(), ErrState, "state %v: expected RTS", q.state)
	case wr.Opcode >= numOpcodes:
		return 0, opErr(op, q.name(), ErrInvalid, "opcode %d: expected 0 to %d", wr.Opcode, numOpcodes-1)
	case !q.offers(wr.Opcode):
		return 0, opErr(op, q.name(), ErrInvalid, "%v: a queue pair of type %v has no such operation", wr.Opcode, q.init.Type)
	case wr.Flags&^(Signaled|Inline|Solicited|Fence) != 0:
		return 0, opErr(op, q.name(), ErrInvalid, "unknown flags %#x", uint8(wr.Flags))
	case s.full():
		return 0, opErr(op, q.name(), ErrQueueFull, "%d requests of which no completion has been taken", len(s.ring))
	case len(wr.SG) > s.maxSGE && wr.Flags&Inline == 0:
		return 0, opErr(op, q.name(), ErrInvalid, "%d scatter/gather entries: expected at most %d", len(wr.SG), s.maxSGE)
	}
	n := lenSG(wr.SG)
	switch {
	case n > q.ctx.limits.MaxMsg:
		return 0, opErr(op, q.name(), ErrLimit, "message of %d bytes: expected at most %d", n, q.ctx.limits.MaxMsg)
	case wr.Opcode.has(opLocal):
		return 0, q.checkLocalOp(wr)
	case wr.Flags&Inline != 0 && !wr.Opcode.has(opCarries):
		return 0, opErr(op, q.name(), ErrInvalid, "%v cannot be inline", wr.Opcode)
	case wr.Flags&Inline != 0 && n > s.maxInline:
		return 0, opErr(op, q.name(), ErrInvalid, "%d bytes inline: expected at most %d", n, s.maxInline)
	case q.init.Type == UD:
		return n, q.checkUD(wr)
	case wr.Opcode.has(opReplies) && q.state == RTS && q.attr.MaxRdAtomic == 0:
		return 0, opErr(op, q.name(), ErrInvalid, "%v with MAX_QP_RD_ATOMIC 0", wr.Opcode)
	case wr.Opcode.has(opAtomic) && n != 8:
		return 0, opErr(op, q.name(), ErrInvalid, "%v into %d bytes: expected 8", wr.Opcode, n)
	case wr.Opcode.has(opMasked) && wr.Mask == nil:
		return 0, opErr(op, q.name(), ErrInvalid, "%v without a mask", wr.Opcode)
	}
	return n, nil
}

// offers tells whether the queue pair's service has the operation (IBTA table 37).
func (q *QP) offers(o Opcode) bool {
	switch q.init.Type {
	case UC:
		return o.has(opUC)
	case UD:
		return o.has(opUD)
	}
	return true
}

// wake puts the queue pair on the list that poll runs.
func (q *QP) wake() {
	if !q.active {
		q.active = true
		q.ctx.active = append(q.ctx.active, q)
	}
}
