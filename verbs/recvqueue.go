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

// complete ends the oldest posted receive.
func (r *recvQueue) complete(q *QP, wc WC, solicited bool) {
	w := r.at(r.tail)
	r.tail++
	q.ctx.unhold(w.SG, w.held)
	wc.ID, wc.QPN, wc.SrcQP = w.ID, q.qpn, q.attr.DestQPN
	q.init.RecvCQ.push(wc, solicited)
	clear(w.SG)
}

// PostRecv posts buffers for arriving SENDs and immediates, in order. On an
// error the requests before Error.Index are posted. Not in RESET; in ERR they are flushed.
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
	if q.state == RTR || q.state == RTS {
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
	case r.head-r.tail == uint64(len(r.ring)):
		return opErr(op, q.name(), ErrQueueFull, "%d receives outstanding", len(r.ring))
	case len(wr.SG) > r.maxSGE:
		return opErr(op, q.name(), ErrInvalid, "%d scatter/gather entries: expected at most %d", len(wr.SG), r.maxSGE)
	}
	i := int(r.head % uint64(len(r.ring)))
	w := &r.ring[i]
	w.ID = wr.ID
	w.SG = append(r.sge[i*max(r.maxSGE, 1):][:0], wr.SG...)
	w.held = q.ctx.hold(w.SG)
	r.head++
	if q.state == Err {
		q.flush(WRFlushErr, "queue pair is in ERR")
	}
	return nil
}
