package verbs

import "fmt"

// A PD is a protection domain: regions, windows, queue pairs, shared receive queues and address handles work together only inside one.
type PD struct {
	ctx  *Context
	num  uint32
	refs int // live objects in it
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

// Dealloc ends the domain. ErrBusy while there are objects in it.
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

// liveIn tells whether a domain, which may be nil, is a live one of a context.
func (p *PD) liveIn(c *Context) bool { return p != nil && p.ctx == c && !p.dead }

func (p *PD) name() string { return fmt.Sprintf("PD %d", p.num) }
