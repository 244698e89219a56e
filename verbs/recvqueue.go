package verbs

// rqe is a posted receive.
type rqe struct {
	RecvWR
	held uint32 // entries of SG whose regions are held
}

// recvQueue is the ring of posted receives.
type recvQueue struct {
	ring       []rqe
	sge        []SGE
	maxSGE     int
	head, tail uint64
}

func (r *recvQueue) init(c QPCap) {
	*r = recvQueue{ring: make([]rqe, c.RecvWR), sge: make([]SGE, c.RecvWR*max(c.RecvSGE, 1)), maxSGE: c.RecvSGE}
}

func (r *recvQueue) at(i uint64) *rqe { return &r.ring[i%uint64(len(r.ring))] }

// takeReceive finds the receive that a message takes: the oldest of this queue pair's, which stays in the queue until it
// completes, or the oldest of the shared queue's, which leaves it now.
func (q *QP) takeReceive() bool {
	x := &q.rx
	switch {
	case q.srq != nil:
		return x.taken() || q.srq.take(x)
	case q.rq.tail == q.rq.head:
		return false
	}
	x.receive = q.rq.at(q.rq.tail)
	return true
}

// recvCQ is where the receives of a queue pair complete.
func (q *QP) recvCQ() *CQ {
	if q.srq.matchesTags() {
		return q.srq.tm.init.CQ
	}
	return q.init.RecvCQ
}

// completeReceive ends the receive of the message that has come, or the oldest one.
func (q *QP) completeReceive(wc WC, solicited bool) {
	w := &q.rx.own
	if !q.rx.taken() {
		w = q.rq.at(q.rq.tail)
		q.rq.tail++
	}
	q.rx.receive = nil
	q.ctx.unhold(w.SG, w.held)
	if q.counters != nil {
		q.counters.count(CountRecv, wc.Status)
	}
	wc.ID, wc.QPN = w.ID, q.qpn
	if wc.Status != Success && wc.Opcode == WCSend {
		wc.Opcode = WCRecv
	}
	if q.init.Type != UD {
		wc.SrcQP = q.attr.DestQPN
	}
	q.recvCQ().push(wc, solicited)
	clear(w.SG)
}

// PostRecv posts buffers for arriving SENDs and immediates, in order (ibv_post_recv(3)). On an error the requests before Error.Index
// are posted and the rest are not. In ERR they are flushed.
//
// ErrState in RESET; ErrQueueFull when the queue is full; ErrInvalid for too many pieces, and for a queue pair with an SRQ;
// ErrDestroyed.
func (q *QP) PostRecv(wrs ...RecvWR) error {
	q.ctx.mu.Lock()
	defer q.ctx.unlock()
	var err *Error
	for i := range wrs {
		if err = q.postRecv(&wrs[i]); err != nil {
			err.Index = i
			break
		}
	}
	if q.receives() && q.wire == nil {
		q.grant()
		if q.rx.waiting {
			q.ctx.poll()
		}
	}
	if err != nil {
		return err
	}
	return nil
}

func (q *QP) postRecv(wr *RecvWR) *Error {
	const op = "post_recv"
	r := &q.rq
	switch {
	case q.dead:
		return opErr(op, q.name(), ErrDestroyed, "destroyed")
	case q.state == Reset:
		return opErr(op, q.name(), ErrState, "state RESET: expected INIT or later")
	case q.srq != nil:
		return opErr(op, q.name(), ErrInvalid, "the queue pair takes its receives from a shared queue: post there")
	}
	if err := r.post(q.ctx, wr, op); err != nil {
		err.Object = q.name()
		return err
	}
	if q.state == Err {
		q.flush(WRFlushErr, "queue pair is in ERR")
	}
	return nil
}

// post appends a receive.
func (r *recvQueue) post(c *Context, wr *RecvWR, op string) *Error {
	switch {
	case r.head-r.tail == uint64(len(r.ring)):
		return opErr(op, "", ErrQueueFull, "%d receives outstanding", len(r.ring))
	case len(wr.SG) > r.maxSGE:
		return opErr(op, "", ErrInvalid, "%d scatter/gather entries: expected at most %d", len(wr.SG), r.maxSGE)
	}
	i := int(r.head % uint64(len(r.ring)))
	w := &r.ring[i]
	w.ID = wr.ID
	w.SG = append(r.sge[i*max(r.maxSGE, 1):][:0], wr.SG...)
	w.held = c.hold(w.SG)
	r.head++
	return nil
}

// resize changes the number of receives that fit; those outstanding stay.
func (r *recvQueue) resize(n int) {
	old := *r
	r.init(QPCap{RecvWR: n, RecvSGE: old.maxSGE})
	for i := old.tail; i != old.head; i++ {
		w := old.at(i)
		k := int(r.head % uint64(n))
		r.ring[k] = rqe{RecvWR: RecvWR{ID: w.ID, SG: append(r.sge[k*max(r.maxSGE, 1):][:0], w.SG...)}, held: w.held}
		r.head++
	}
}
