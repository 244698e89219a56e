package verbs

// MWBind says how to bind a memory window.
type MWBind struct{}

func (q *QP) checkBind(b *MWBind) *Error {
	return opErr("post_send", q.name(), ErrInvalid, "BIND_MW")
}

func (q *QP) bind(b *MWBind) (Status, string)             { return MWBindErr, "" }
func (q *QP) localInvalidate(key uint32) (Status, string) { return MWBindErr, "" }
func (q *QP) invalidateFor(key uint32) (why string)       { return "" }
