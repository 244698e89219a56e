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
}

// sendQueue is a ring of requests: [tail,next) are on the wire, [next,head) wait.
type sendQueue struct {
	ring             []wqe
	sge              []SGE
	inline           []byte
	maxSGE           int
	maxInline        int
	head, next, tail uint64
	reads            int    // responses awaited
	messages         uint32 // begun since RESET that take a receive
	posted           uint32 // receives of the peer, as last seen; both modulo 2^22
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
	return o == WriteImm || o <= SendImm && !s.sink
}

func (s *sendQueue) at(i uint64) *wqe { return &s.ring[i%uint64(len(s.ring))] }

// PostSend posts requests to the send queue, in order. On an error the
// requests before Error.Index are posted and the rest are not.
//
// ErrState before RTS; in ERR requests are accepted and flushed.
// ErrQueueFull when the queue is full: an entry is free again when
// its request, or a later one, has completed.
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
	return nil
}

func (q *QP) postSend(wr *SendWR) *Error {
	n, err := q.checkSend(wr)
	if err != nil {
		return err
	}
	s := &q.sq
	i := int(s.head % uint64(len(s.ring)))
	w := &s.ring[i]
	*w = wqe{wr: *wr, length: n}
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
	s.head++
	if q.state == Err {
		q.flush(WRFlushErr, "queue pair is in ERR")
		return nil
	}
	if q.progress() {
		q.wake()
	}
	return nil
}

// checkSend checks what a post can check at once and returns the length.
func (q *QP) checkSend(wr *SendWR) (int, *Error) {
	const op = "post_send"
	s := &q.sq
	switch {
	case q.dead:
		return 0, opErr(op, q.name(), ErrDestroyed, "destroyed")
	case q.state != RTS && q.state != Err:
		return 0, opErr(op, q.name(), ErrState, "state %v: expected RTS", q.state)
	case wr.Opcode >= numOpcodes:
		return 0, opErr(op, q.name(), ErrInvalid, "opcode %d: expected 0 to %d", wr.Opcode, numOpcodes-1)
	case wr.Flags&^(Signaled|Inline|Solicited|Fence) != 0:
		return 0, opErr(op, q.name(), ErrInvalid, "unknown flags %#x", uint8(wr.Flags))
	case s.head-s.tail == uint64(len(s.ring)):
		return 0, opErr(op, q.name(), ErrQueueFull, "%d requests outstanding", len(s.ring))
	case len(wr.SG) > s.maxSGE && wr.Flags&Inline == 0:
		return 0, opErr(op, q.name(), ErrInvalid, "%d scatter/gather entries: expected at most %d", len(wr.SG), s.maxSGE)
	}
	n := 0
	for _, g := range wr.SG {
		n += len(g.Buf)
	}
	switch {
	case n > q.ctx.limits.MaxMsg:
		return 0, opErr(op, q.name(), ErrLimit, "message of %d bytes: expected at most %d", n, q.ctx.limits.MaxMsg)
	case wr.Flags&Inline != 0 && wr.Opcode >= Read:
		return 0, opErr(op, q.name(), ErrInvalid, "%v cannot be inline", wr.Opcode)
	case wr.Flags&Inline != 0 && n > s.maxInline:
		return 0, opErr(op, q.name(), ErrInvalid, "%d bytes inline: expected at most %d", n, s.maxInline)
	case wr.Opcode >= Read && q.state == RTS && q.attr.MaxRdAtomic == 0:
		return 0, opErr(op, q.name(), ErrInvalid, "%v with MAX_QP_RD_ATOMIC 0", wr.Opcode)
	case wr.Opcode >= FetchAdd && n != 8:
		return 0, opErr(op, q.name(), ErrInvalid, "%v into %d bytes: expected 8", wr.Opcode, n)
	}
	return n, nil
}

// wake puts the queue pair on the list that poll runs.
func (q *QP) wake() {
	if !q.active {
		q.active = true
		q.ctx.active = append(q.ctx.active, q)
	}
}
