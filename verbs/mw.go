package verbs

import (
	"fmt"
	"sync/atomic"

	"outboard/verbs/fabric"
)

// MWType is the type of a memory window, with the numbers of ibv_mw_type.
type MWType uint8

const (
	// MWType1 windows are bound by MW.Bind, to another key each time, and reached through any queue pair of their domain.
	MWType1 MWType = 1
	// MWType2 windows are bound by BindMW requests, to a key that their owner chooses, and reached only through the queue pair that bound
	// them (type 2B). They are invalidated by LocalInv and by SendInv of the peer.
	MWType2 MWType = 2
)

func (t MWType) String() string { return fmt.Sprintf("type %d", uint8(t)) }

// An MW is a memory window: a key for a part of a region, with rights of its own, which comes and goes by
// work requests (IBTA 10.6.7; ibv_alloc_mw).
type MW struct {
	pd    *PD
	typ   MWType
	rkey  atomic.Uint32
	users int // work requests in flight that bind it
	dead  bool

	// The binding in force.
	key    uint32 // by which the window is found
	mr     *MR    // nil while the window is not bound
	q      *QP    // of type 2: the queue pair it is bound to
	buf    []byte
	base   uint64 // remote address of the first byte
	access Access
}

// mwRights are the rights that a window can have.
const mwRights = remoteRights | ZeroBased

// AllocMW makes a memory window that is not bound. ErrLimit if the device has no more.
func (c *Context) AllocMW(pd *PD, typ MWType) (*MW, error) {
	const op = "alloc_mw"
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.keys
	switch {
	case c.closed:
		return nil, opErr(op, "", ErrDestroyed, "context is closed")
	case !pd.liveIn(c):
		return nil, opErr(op, "", ErrInvalid, "protection domain is not a live one of this context")
	case typ != MWType1 && typ != MWType2:
		return nil, opErr(op, "", ErrInvalid, "window of %v: expected 1 or 2", typ)
	case t.mws >= c.limits.MaxMW:
		return nil, opErr(op, "", ErrLimit, "%d memory windows: the device has no more", t.mws)
	}
	i, ok := t.take(true)
	if !ok {
		return nil, opErr(op, "", ErrLimit, "%d memory regions and windows: the device has no more", t.limit)
	}
	w := &MW{pd: pd, typ: typ, key: t.next(i)}
	w.rkey.Store(w.key)
	t.slots[i].mw = w
	t.mws++
	pd.refs++
	return w, nil
}

// RKey is the key of the window: of type 1 the one that the last Bind gave, at once; of type 2 the one that the last bind
// which was executed gave. Before any it reaches nothing.
func (w *MW) RKey() uint32 { return w.rkey.Load() }

// Type is the type of the window.
func (w *MW) Type() MWType { return w.typ }

func (w *MW) name() string { return fmt.Sprintf("MW %#x", w.rkey.Load()) }

// Dealloc ends the window, bound or not. When it returns no peer reaches memory through it. ErrBusy
// while a posted request binds it.
func (w *MW) Dealloc() error {
	w.pd.ctx.mu.Lock()
	defer w.pd.ctx.mu.Unlock()
	return w.dealloc()
}

func (w *MW) dealloc() error {
	const op = "dealloc_mw"
	switch {
	case w.dead:
		return opErr(op, w.name(), ErrDestroyed, "deallocated before")
	case w.users > 0:
		return opErr(op, w.name(), ErrBusy, "%d work requests in flight bind it", w.users)
	}
	if err := w.unbind(); err != nil {
		return &Error{Op: op, Object: w.name(), Err: err}
	}
	w.dead = true
	w.pd.refs--
	t := &w.pd.ctx.keys
	t.mws--
	t.put(w.rkey.Load())
	return nil
}

// region is what peers reach with the window's key.
func (w *MW) region() fabric.Region {
	a := uint32(w.access)
	if w.q != nil {
		a |= w.q.qpn << accessQPN
	}
	return fabric.Region{Key: w.key, PD: w.pd.num, Access: a, Base: w.base, Len: uint64(len(w.buf)), Buf: w.buf}
}

// unbind withdraws the key of a window that is bound.
func (w *MW) unbind() error {
	if w.mr == nil {
		return nil
	}
	c := w.pd.ctx
	if w.access&remoteRights != 0 && !c.closed {
		if err := c.port.Withdraw(w.key); err != nil {
			return err
		}
	}
	w.mr.windows--
	if w.q != nil {
		w.q.windows--
	}
	w.mr, w.q, w.buf = nil, nil, nil
	return nil
}
