package verbs

// Counter.
type Counter struct{}

func (x *Counter) count(st Status) {}

// WaitFor.
type WaitFor struct{}

// Enable.
type Enable struct{}

func (q *QP) checkWait(w *WaitFor) *Error { return opErr("post_send", q.name(), ErrInvalid, "WAIT") }
func (q *QP) reached(w *WaitFor) bool     { return false }
func (q *QP) checkEnable(w *Enable) *Error {
	return opErr("post_send", q.name(), ErrInvalid, "SEND_ENABLE")
}
func (q *QP) enable(w *Enable) (Status, string) { return Success, "" }
