package verbs

import (
	"fmt"
	"runtime"

	"outboard/verbs/fabric"
)

// An MR is a registered memory region (IBTA 10.6.3; ibv_reg_mr). While it is registered its memory is
// pinned and stays reachable for the garbage collector.
type MR struct {
	ctx     *Context
	pd      *PD
	buf     []byte
	base    uint64 // remote address of the first byte
	key     uint32
	access  Access
	pin     runtime.Pinner
	users   int // work requests in flight that name it locally
	windows int // bound to it
	dead    bool
}

// RegMR registers buf, any memory of this process: plain Go memory (one
// system call per access by a peer in another process) or memory of AllocMem
// (none). Rights that let a peer change memory include LocalWrite.
// The length may be zero. The key is good until Dereg or Rereg.
//
// The remote address of the first byte is its address here, or 0 with ZeroBased. An atomic needs, besides a remote
// address that is a multiple of 8, memory that is aligned so: else it ends with RemOpErr.
//
// ErrInvalid for flags that are unknown or do not go together, and for more than Limits.MaxMRSize bytes; ErrLimit if
// the device has no more regions.
func (c *Context) RegMR(pd *PD, buf []byte, access Access) (*MR, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.regMR(pd, buf, access)
}

func (c *Context) regMR(pd *PD, buf []byte, access Access) (*MR, error) {
	const op = "reg_mr"
	if err := c.checkReg(op, pd, buf, access); err != nil {
		return nil, err
	}
	t := &c.keys
	if t.mrs >= c.limits.MaxMR {
		return nil, opErr(op, "", ErrLimit, "%d memory regions: the device has no more", t.mrs)
	}
	i, ok := t.take(false)
	if !ok {
		return nil, opErr(op, "", ErrLimit, "%d memory regions and windows: the device has no more", t.limit)
	}
	m := &MR{ctx: c, pd: pd, key: t.next(i)}
	m.set(buf, access)
	if err := m.publish(); err != nil {
		m.pin.Unpin()
		t.put(m.key)
		return nil, &Error{Op: op, Err: err}
	}
	t.slots[i].mr = m
	t.mrs++
	pd.refs++
	return m, nil
}

// checkReg checks what a region is to be.
func (c *Context) checkReg(op string, pd *PD, buf []byte, access Access) error {
	switch {
	case c.closed:
		return opErr(op, "", ErrDestroyed, "context is closed")
	case !pd.liveIn(c):
		return opErr(op, "", ErrInvalid, "protection domain is not a live one of this context")
	case access&^mrRights != 0:
		return opErr(op, "", ErrInvalid, "unknown access flags %#x", uint32(access&^mrRights))
	case access&(RemoteWrite|RemoteAtomic) != 0 && access&LocalWrite == 0:
		return opErr(op, "", ErrInvalid, "access %v: remote write and remote atomic need local write", access)
	case len(buf) > c.limits.MaxMRSize:
		return opErr(op, "", ErrInvalid, "%d bytes: expected at most %d", len(buf), c.limits.MaxMRSize)
	}
	return nil
}

// set makes the region one of buf, which it pins.
func (m *MR) set(buf []byte, access Access) {
	m.buf, m.access, m.base = buf, access, AddrOf(buf)
	if len(buf) > 0 && !m.ctx.isDeviceMem(m.base) {
		m.pin.Pin(&buf[0])
	}
	if access&ZeroBased != 0 {
		m.base = 0
	}
}

// region is what peers reach with the region's key.
func (m *MR) region() fabric.Region {
	return fabric.Region{Key: m.key, PD: m.pd.num, Access: uint32(m.access), Base: m.base, Len: uint64(len(m.buf)), Buf: m.buf}
}

// publish shows the region to peers, and withdraw takes it back, if it is any of theirs.
func (m *MR) publish() error {
	if m.access&remoteRights == 0 {
		return nil
	}
	return m.ctx.port.Publish(m.region())
}

func (m *MR) withdraw() error {
	if m.access&remoteRights == 0 || m.ctx.closed {
		return nil
	}
	return m.ctx.port.Withdraw(m.key)
}

// LKey names the region in scatter/gather entries, RKey in the requests of peers. These, Addr and Len change with Rereg, and
// must not be asked for while that runs.
func (m *MR) LKey() uint32 { return m.key }
func (m *MR) RKey() uint32 { return m.key }

// Addr is the remote address of the region's first byte, Len its length in bytes.
func (m *MR) Addr() uint64 { return m.base }
func (m *MR) Len() int     { return len(m.buf) }

func (m *MR) name() string { return fmt.Sprintf("MR %#x", m.key) }

// Dereg ends the registration. When it returns no peer is using the memory
// and none can any more. ErrBusy while a posted work request still names the region, or a memory window is bound to it.
func (m *MR) Dereg() error {
	m.ctx.mu.Lock()
	defer m.ctx.mu.Unlock()
	return m.ctx.deregMR(m)
}

func (c *Context) deregMR(m *MR) error {
	const op = "dereg_mr"
	if err := m.checkUnused(op); err != nil {
		return err
	}
	if err := m.withdraw(); err != nil {
		return &Error{Op: op, Object: m.name(), Err: err}
	}
	m.dead = true
	m.pd.refs--
	c.keys.mrs--
	c.keys.put(m.key)
	m.pin.Unpin()
	m.buf = nil
	return nil
}

// checkUnused is nil if the region is live and nothing else uses it.
func (m *MR) checkUnused(op string) error {
	switch {
	case m.dead:
		return opErr(op, m.name(), ErrDestroyed, "deregistered before")
	case m.users > 0:
		return opErr(op, m.name(), ErrBusy, "%d work requests in flight name it", m.users)
	case m.windows > 0:
		return opErr(op, m.name(), ErrBusy, "%d memory windows are bound to it", m.windows)
	}
	return nil
}

// covers reports whether n bytes at an address of this process lie in the region.
func (m *MR) covers(addr, n uint64) bool {
	first := AddrOf(m.buf)
	return addr >= first && n <= uint64(len(m.buf)) && addr-first <= uint64(len(m.buf))-n
}
