package verbs

// checkLocalOp checks a request that does not concern the peer.
func (q *QP) checkLocalOp(wr *SendWR) *Error {
	const op = "post_send"
	switch {
	case len(wr.SG) > 0 || wr.Flags&(Inline|Solicited) != 0:
		return opErr(op, q.name(), ErrInvalid, "%v has no data", wr.Opcode)
	case wr.Opcode == BindMW:
		return q.checkBind(wr.Bind)
	case wr.Opcode == WaitCounter:
		return q.checkWait(wr.Wait)
	case wr.Opcode == SendEnable:
		return q.checkEnable(wr.Enable)
	}
	return nil
}

// runLocal executes such a request, in its turn, and reports whether it is done.
func (q *QP) runLocal(w *wqe) bool {
	if w.local {
		return true // before the queue went back to send again
	}
	st, why := Success, ""
	switch w.wr.Opcode {
	case LocalInv:
		st, why = q.localInvalidate(w.wr.InvKey)
	case BindMW:
		st, why = q.bind(w.wr.Bind)
	case WaitCounter:
		var over bool
		if over, st, why = q.reached(w.wr.Wait); !over && st == Success {
			w.begun = false // nothing of it is to be undone, nor drained
			return false
		}
	case SendEnable:
		st, why = q.enable(w.wr.Enable)
	}
	if st != Success {
		return q.failInTurn(st, why)
	}
	w.local = true
	return true
}
