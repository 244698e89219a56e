package verbs

import "slices"

// WaitFor says what a WaitCounter request waits for: until the successes and failures of the counter together are Threshold
// or more. They are compared when the request's turn comes, and at every change after that; nothing is taken from the counter.
//
// The send queue stands still meanwhile: requests before it go on, those after it do not start. The NIC resumes it by itself.
// It has not begun while it waits, so SQD does not wait for it, and a peer that is not ready is not missed.
type WaitFor struct {
	Counter   *Counter // of the same context
	Threshold uint64
}

// Enable says what a SendEnable request does: it lets the send queue of a managed queue pair (QPInit.Managed) run Count
// requests more than it has been allowed so far, as the wqe_count of mlx5's CORE-Direct: what is counted are requests and not
// indexes, and they may be posted later. A Count of 0 allows all that have been posted when the request's turn comes.
type Enable struct {
	QP    *QP // of the same context
	Count uint32
}

// waiter is a queue pair whose next request waits for a counter.
type waiter struct {
	q         *QP
	threshold uint64
}

func (q *QP) checkWait(w *WaitFor) *Error {
	if w == nil || !w.Counter.liveIn(q.ctx) {
		return opErr("post_send", q.name(), ErrInvalid, "WAIT: the counter is not a live one of this context")
	}
	return nil
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

// reached tells whether a WAIT is over. If it is not, the counter will wake the queue pair.
func (q *QP) reached(w *WaitFor) (bool, Status, string) {
	k := w.Counter
	switch {
	case k.dead:
		return false, LocQPOpErr, "the counter of a WAIT was destroyed"
	case k.value.Total() >= w.Threshold:
		q.stopWaiting()
		return true, Success, ""
	case q.waits == nil:
		k.waiting = append(k.waiting, waiter{q, w.Threshold})
		q.waits = k
	}
	return false, Success, ""
}

// stopWaiting takes the queue pair off the list of its counter.
func (q *QP) stopWaiting() {
	if k := q.waits; k != nil {
		k.waiting = slices.DeleteFunc(k.waiting, func(w waiter) bool { return w.q == q })
		q.waits = nil
	}
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

// dormant tells whether nothing is to be done for the send queue until a counter or a SendEnable wakes it.
func (q *QP) dormant() bool {
	s := &q.sq
	return s.tail == s.next && s.next != s.head && !s.at(s.next).begun && (q.waits != nil || q.held())
}
