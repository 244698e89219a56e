package verbs

import (
	"fmt"
	"runtime"

	"outboard/verbs/fabric"
)

// A PD is a protection domain: regions and queue pairs work together only
// inside one.
type PD struct {
	ctx  *Context
	num  uint32
	refs int // live regions and queue pairs
	dead bool
}

// AllocPD makes a protection domain. ErrLimit if the device has no more.
func (c *Context) AllocPD() (*PD, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, opErr("alloc_pd", "", ErrDestroyed, "context is closed")
	}
	if c.pds >= c.limits.MaxPD {
		return nil, opErr("alloc_pd", "", ErrLimit, "%d protection domains: the device has no more", c.pds)
	}
	c.pdNum++
	c.pds++
	return &PD{ctx: c, num: c.pdNum}, nil
}

// Dealloc ends the domain. ErrBusy if regions or queue pairs still use it.
func (p *PD) Dealloc() error {
	p.ctx.mu.Lock()
	defer p.ctx.mu.Unlock()
	switch {
	case p.dead:
		return opErr("dealloc_pd", p.name(), ErrDestroyed, "deallocated before")
	case p.refs > 0:
		return opErr("dealloc_pd", p.name(), ErrBusy, "%d objects still in it", p.refs)
	}
	p.dead = true
	p.ctx.pds--
	return nil
}

func (p *PD) name() string { return fmt.Sprintf("PD %d", p.num) }

// An MR is a registered memory region. While it is registered its memory is
// pinned and stays reachable for the garbage collector.
type MR struct {
	pd     *PD
	buf    []byte
	base   uint64
	key    uint32
	access Access
	pin    runtime.Pinner
	users  int // work requests in flight that name it locally
	dead   bool
}

// RegMR registers buf, any memory of this process: plain Go memory (one
// system call per access by a peer in another process) or memory of AllocMem
// (none). Rights that let a peer change memory include LocalWrite.
// The length may be zero. The key is good until Dereg.
func (c *Context) RegMR(pd *PD, buf []byte, access Access) (*MR, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.regMR(pd, buf, access)
}

func (c *Context) regMR(pd *PD, buf []byte, access Access) (*MR, error) {
	const op = "reg_mr"
	switch {
	case c.closed:
		return nil, opErr(op, "", ErrDestroyed, "context is closed")
	case pd == nil || pd.ctx != c || pd.dead:
		return nil, opErr(op, "", ErrInvalid, "protection domain is not a live one of this context")
	case access&^mrRights != 0:
		return nil, opErr(op, "", ErrInvalid, "unknown access flags %#x", uint32(access&^mrRights))
	case access&(RemoteWrite|RemoteAtomic) != 0 && access&LocalWrite == 0:
		return nil, opErr(op, "", ErrInvalid, "access %#x: remote write and remote atomic need local write", uint32(access))
	}
	m := &MR{pd: pd, buf: buf, base: AddrOf(buf), access: access}
	if err := c.mrs.add(m); err != nil {
		return nil, err
	}
	if len(buf) > 0 && !c.isDeviceMem(m.base) {
		m.pin.Pin(&buf[0])
	}
	if access&(RemoteRead|RemoteWrite|RemoteAtomic) != 0 {
		r := fabric.Region{Key: m.key, PD: pd.num, Access: uint32(access), Base: m.base, Len: uint64(len(buf)), Buf: buf}
		if err := c.port.Publish(r); err != nil {
			c.mrs.remove(m)
			m.pin.Unpin()
			return nil, &Error{Op: op, Err: err}
		}
	}
	pd.refs++
	return m, nil
}

// LKey names the region in scatter/gather entries, RKey in the requests of peers.
func (m *MR) LKey() uint32 { return m.key }
func (m *MR) RKey() uint32 { return m.key }

// Addr is the remote address of the region's first byte, Len its length in bytes.
func (m *MR) Addr() uint64 { return m.base }
func (m *MR) Len() int     { return len(m.buf) }

// Dereg ends the registration. When it returns no peer is using the memory
// and none can any more. ErrBusy while a posted work request still names the region.
func (m *MR) Dereg() error {
	c := m.pd.ctx
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deregMR(m)
}

func (c *Context) deregMR(m *MR) error {
	name := fmt.Sprintf("MR %#x", m.key)
	switch {
	case m.dead:
		return opErr("dereg_mr", name, ErrDestroyed, "deregistered before")
	case m.users > 0:
		return opErr("dereg_mr", name, ErrBusy, "%d work requests in flight name it", m.users)
	}
	if m.access&(RemoteRead|RemoteWrite|RemoteAtomic) != 0 && !c.closed {
		if err := c.port.Withdraw(m.key); err != nil {
			return &Error{Op: "dereg_mr", Object: name, Err: err}
		}
	}
	m.dead = true
	m.pd.refs--
	c.mrs.remove(m)
	m.pin.Unpin()
	m.buf = nil
	return nil
}

// covers reports whether [addr, addr+n) lies in the region.
func (m *MR) covers(addr, n uint64) bool {
	return addr >= m.base && n <= uint64(len(m.buf)) && addr-m.base <= uint64(len(m.buf))-n
}

// mrTable finds regions by key: index in the upper 24 bits, a variant in the
// lower 8 that changes at each reuse so that a stale key is caught.
type mrTable struct {
	slots   []*MR
	variant []uint8
	free    []uint32
	limit   int
}

func (t *mrTable) add(m *MR) error {
	var i uint32
	switch {
	case len(t.free) > 0:
		i = t.free[len(t.free)-1]
		t.free = t.free[:len(t.free)-1]
	case len(t.slots) < t.limit:
		i = uint32(len(t.slots))
		t.slots = append(t.slots, nil)
		t.variant = append(t.variant, 0)
	default:
		return opErr("reg_mr", "", ErrLimit, "%d regions are registered, the most there can be", t.limit)
	}
	t.variant[i]++
	if i == 0 && t.variant[i] == 0 {
		t.variant[i] = 1 // key 0 is never valid
	}
	t.slots[i] = m
	m.key = i<<8 | uint32(t.variant[i])
	return nil
}

func (t *mrTable) remove(m *MR) {
	i := m.key >> 8
	t.slots[i] = nil
	t.free = append(t.free, i)
}

func (t *mrTable) get(key uint32) *MR {
	if i := key >> 8; int(i) < len(t.slots) {
		if m := t.slots[i]; m != nil && m.key == key {
			return m
		}
	}
	return nil
}
