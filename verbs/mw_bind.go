package verbs

import "fmt"

// MWBind says how to bind a memory window (ibv_mw_bind_info). It is copied while posting.
type MWBind struct {
	MW *MW // of MW.Bind the window itself
	MR *MR // the region that the window opens: registered with MWBindAccess and without ZeroBased
	// Buf is the memory that the window opens, a part of the region. None unbinds a window of type 1; it
	// is an error for type 2, which is invalidated instead.
	Buf []byte
	// Access has RemoteRead, RemoteWrite and RemoteAtomic, of which the last two need LocalWrite of the region, and for type 2
	// ZeroBased: the remote address of the first byte is 0. Else it is the address in this process.
	Access Access
	// RKey is, for type 2, the new key: the window's with any variant, by custom the next (IncRKey). MW.Bind chooses it.
	RKey uint32

	verb bool // by MW.Bind
}

// Bind posts a request to the send queue of q that binds a window of type 1, instead of what it was bound to (ibv_bind_mw; IBTA
// 10.6.7.2.1), and returns the key that is good once that is done: whatever is posted to q afterwards may tell it to a peer. The request
// completes as WCBindMW. One that is refused completes with MWBindErr, and q goes to ERR.
//
// ErrInvalid, and no new key, for a window of type 2, a queue pair of type UD, rights that a window cannot have, and objects of other
// contexts or none; otherwise errors as of PostSend.
func (w *MW) Bind(q *QP, id uint64, flags SendFlags, b MWBind) (rkey uint32, err error) {
	c := w.pd.ctx
	if q == nil || q.ctx != c {
		return 0, opErr("bind_mw", w.name(), ErrInvalid, "the queue pair is not one of the window's context")
	}
	c.mu.Lock()
	defer c.unlock()
	b.MW, b.RKey, b.verb = w, IncRKey(w.rkey.Load()), true
	if err := q.postSend(&SendWR{ID: id, Opcode: BindMW, Flags: flags, Bind: &b}); err != nil {
		err.Op = "bind_mw"
		return 0, err
	}
	w.rkey.Store(b.RKey)
	return b.RKey, nil
}

// checkBind checks what libibverbs and its drivers refuse at once.
func (q *QP) checkBind(b *MWBind) *Error {
	const op = "post_send"
	switch {
	case b == nil || b.MW == nil:
		return opErr(op, q.name(), ErrInvalid, "BIND_MW without a memory window")
	case b.MW.pd.ctx != q.ctx || b.MW.dead:
		return opErr(op, q.name(), ErrInvalid, "memory window is not a live one of this context")
	case q.init.Type == UD:
		return opErr(op, q.name(), ErrInvalid, "BIND_MW on a queue pair of type UD: expected RC or UC")
	case b.verb && b.MW.typ != MWType1:
		return opErr(op, q.name(), ErrInvalid, "%s of %v: expected 1, others are bound by a work request", b.MW.name(), b.MW.typ)
	case !b.verb && b.MW.typ != MWType2:
		return opErr(op, q.name(), ErrInvalid, "%s of %v: expected 2, others are bound by MW.Bind", b.MW.name(), b.MW.typ)
	case b.Access&^mwRights != 0:
		return opErr(op, q.name(), ErrInvalid, "access flags %#x: a window has none of %#x", uint32(b.Access), uint32(b.Access&^mwRights))
	case b.Access&ZeroBased != 0 && b.MW.typ == MWType1:
		return opErr(op, q.name(), ErrInvalid, "zero-based window of type 1: expected type 2")
	case b.MR == nil && len(b.Buf) > 0:
		return opErr(op, q.name(), ErrInvalid, "%d bytes of no memory region", len(b.Buf))
	case b.MR != nil && (b.MR.ctx != q.ctx || b.MR.dead):
		return opErr(op, q.name(), ErrInvalid, "memory region is not a live one of this context")
	}
	return nil
}

// holdBind marks what the binding names as used by work in flight.
func (w *wqe) holdBind() {
	b := w.wr.Bind
	b.MW.users++
	if b.MR != nil {
		b.MR.users++
	}
}

func (w *wqe) unholdBind() {
	b := w.wr.Bind
	w.wr.Bind = nil
	b.MW.users--
	if b.MR != nil {
		b.MR.users--
	}
}

// bind executes a bind in its turn. If it fails nothing has changed, and it fails again.
func (q *QP) bind(b *MWBind) (Status, string) {
	if why := q.refusesBind(b); why != "" {
		return MWBindErr, why
	}
	w := b.MW
	if err := w.unbind(); err != nil {
		return MWBindErr, err.Error()
	}
	w.key = b.RKey
	if w.typ == MWType2 {
		w.rkey.Store(b.RKey)
	}
	if len(b.Buf) == 0 {
		return Success, ""
	}
	w.mr, w.buf, w.access, w.base = b.MR, b.Buf, b.Access, AddrOf(b.Buf)
	if b.Access&ZeroBased != 0 {
		w.base = 0
	}
	w.mr.windows++
	if w.typ == MWType2 {
		w.q = q
		q.windows++
	}
	if w.access&remoteRights != 0 {
		if err := q.ctx.port.Publish(w.region()); err != nil {
			w.access = 0 // there is nothing to withdraw
			_ = w.unbind()
			return MWBindErr, err.Error()
		}
	}
	return Success, ""
}

// refusesBind says why a window cannot be bound so, if it cannot (IBTA 10.6.7.2, C10-72 to C10-75).
func (q *QP) refusesBind(b *MWBind) (why string) {
	w, m := b.MW, b.MR
	switch {
	case w.pd != q.pd:
		return fmt.Sprintf("%s is of %s, the queue pair of %s", w.name(), w.pd.name(), q.pd.name())
	case w.typ == MWType2 && w.mr != nil:
		return fmt.Sprintf("%s is bound: expected that it is invalidated first", w.name())
	case w.typ == MWType2 && len(b.Buf) == 0:
		return "0 bytes: expected that a window of type 2 is invalidated instead"
	case (w.key^b.RKey)>>variantBits != 0:
		return fmt.Sprintf("key %#x for %s: expected the same but for the lowest %d bits", b.RKey, w.name(), variantBits)
	case m == nil:
		return ""
	case m.pd != q.pd:
		return fmt.Sprintf("%s is of %s, the queue pair of %s", m.name(), m.pd.name(), q.pd.name())
	case m.access&MWBindAccess == 0:
		return fmt.Sprintf("%s with access %v: windows cannot be bound to it", m.name(), m.access)
	case m.access&ZeroBased != 0:
		return m.name() + " is zero-based: windows cannot be bound to it"
	case b.Access&(RemoteWrite|RemoteAtomic) != 0 && m.access&LocalWrite == 0:
		return fmt.Sprintf("%s with access %v: the window's rights %v need local write", m.name(), m.access, b.Access)
	case len(b.Buf) > 0 && !m.covers(AddrOf(b.Buf), uint64(len(b.Buf))):
		return fmt.Sprintf("%d bytes at %#x are outside %s, %d bytes at %#x", len(b.Buf), AddrOf(b.Buf), m.name(), len(m.buf), AddrOf(m.buf))
	}
	return ""
}

// localInvalidate executes a LocalInv.
func (q *QP) localInvalidate(key uint32) (Status, string) {
	if why := q.invalidateFor(key); why != "" {
		return MWBindErr, why
	}
	return Success, ""
}

// invalidateFor withdraws the key of a window of type 2 that is bound to this queue pair, or says why it does not. When it
// returns no access with the key is going on (IBTA 10.6.7.2.6). Regions cannot be invalidated: the device has none that a work
// request could register again.
func (q *QP) invalidateFor(key uint32) (why string) {
	t := &q.ctx.keys
	w := t.mw(key)
	switch {
	case w == nil && t.mr(key) != nil:
		return fmt.Sprintf("key %#x is of a memory region: expected that of a window", key)
	case w == nil:
		return fmt.Sprintf("no window has rkey %#x", key)
	case w.typ != MWType2:
		return fmt.Sprintf("%s is of %v: expected type 2", w.name(), w.typ)
	case w.mr == nil:
		return w.name() + " is not bound"
	case w.q != q:
		return fmt.Sprintf("%s is bound to %s: expected %s", w.name(), w.q.name(), q.name())
	}
	if err := w.unbind(); err != nil {
		return err.Error()
	}
	return ""
}

// unbindWindows invalidates the windows of type 2 of a queue pair that is destroyed: another may get its number.
func (q *QP) unbindWindows() {
	for i := 0; q.windows > 0 && i < len(q.ctx.keys.slots); i++ {
		if w := q.ctx.keys.slots[i].mw; w != nil && w.q == q {
			if w.unbind() != nil { // the wire is gone, and with it whoever could reach the memory
				w.access = 0
				_ = w.unbind()
			}
		}
	}
}
