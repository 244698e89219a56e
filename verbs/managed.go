package verbs

// Enable says what a SendEnable request does: it lets the send queue of a managed queue pair (QPInit.Managed) run Count
// requests more than it has been allowed so far, as the wqe_count of mlx5's CORE-Direct: what is counted are requests and not
// indexes, and they may be posted later. A Count of 0 allows all that have been posted when the request's turn comes.
type Enable struct {
	QP    *QP // of the same context
	Count uint32
}

func (q *QP) checkEnable(e *Enable) *Error {
	const op = "post_send"
	switch {
	case e == nil || e.QP == nil || e.QP.ctx != q.ctx || e.QP.dead:
		return opErr(op, q.name(), ErrInvalid, "SEND_ENABLE: the queue pair is not a live one of this context")
	case !e.QP.init.Managed:
		return opErr(op, q.name(), ErrInvalid, "SEND_ENABLE of %s: it is not managed", e.QP.name())
	case int64(e.Count) > int64(q.ctx.limits.MaxWR):
		return opErr(op, q.name(), ErrInvalid, "SEND_ENABLE of %d requests: expected at most %d", e.Count, q.ctx.limits.MaxWR)
	}
	return nil
}

// enable executes a SendEnable. The other queue pair runs when this one is done.
func (q *QP) enable(e *Enable) (Status, string) {
	t := e.QP
	if t.dead {
		return LocQPOpErr, "the queue pair of a SEND_ENABLE was destroyed"
	}
	t.enabled = max(t.enabled, t.sq.tail) // what was flushed in SQE is not enabled once more
	if e.Count == 0 {
		t.enabled = max(t.enabled, t.sq.head)
	} else {
		t.enabled += uint64(e.Count)
	}
	if t != q {
		t.wake()
		q.ctx.stirred = true
	}
	return Success, ""
}

// held tells whether a managed queue stops before its next request.
func (q *QP) held() bool { return q.init.Managed && q.sq.next >= q.enabled }
