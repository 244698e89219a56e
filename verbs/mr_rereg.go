package verbs

import "runtime"

// ReregMask says what MR.Rereg changes, with the numbers of ibv_rereg_mr_flags.
type ReregMask uint8

const (
	ReregTranslation ReregMask = 1 << iota // the memory
	ReregPD                                // the protection domain
	ReregAccess                            // the rights

	reregAll = ReregTranslation | ReregPD | ReregAccess
)

// Rereg changes what mask names of the region: its memory to buf, its domain to pd, its rights to access (ibv_rereg_mr; IBTA
// 11.2.8.5). The rest stays, and the arguments for it are not looked at, but access, which must be 0. It does what Dereg and RegMR would, in
// one step: when it returns no peer uses the old registration, and the region has another key.
//
// ErrInvalid as of RegMR, and for a mask that is empty or has unknown bits; ErrBusy and ErrDestroyed as of Dereg. Nothing changes if it
// returns an error.
func (m *MR) Rereg(mask ReregMask, pd *PD, buf []byte, access Access) error {
	const op = "rereg_mr"
	c := m.ctx
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case mask == 0 || mask&^reregAll != 0:
		return opErr(op, m.name(), ErrInvalid, "flags %#x: expected some of %#x", uint8(mask), uint8(reregAll))
	case mask&ReregAccess == 0 && access != 0:
		return opErr(op, m.name(), ErrInvalid, "access %v: expected 0 where it does not change", access)
	}
	if err := m.checkUnused(op); err != nil {
		return err
	}
	if mask&ReregPD == 0 {
		pd = m.pd
	}
	if mask&ReregTranslation == 0 {
		buf = m.buf
	}
	if mask&ReregAccess == 0 {
		access = m.access
	}
	if err := c.checkReg(op, pd, buf, access); err != nil {
		return err
	}
	if err := m.withdraw(); err != nil {
		return &Error{Op: op, Object: m.name(), Err: err}
	}
	old := *m
	m.pin = runtime.Pinner{}
	m.pd, m.key = pd, c.keys.next(m.key>>variantBits)
	m.set(buf, access)
	if err := m.publish(); err != nil {
		m.pin.Unpin()
		*m = old
		// What went before the change: if the wire does not take this either nobody reaches it.
		_ = m.publish()
		return &Error{Op: op, Object: m.name(), Err: err}
	}
	old.pin.Unpin()
	old.pd.refs--
	pd.refs++
	return nil
}
