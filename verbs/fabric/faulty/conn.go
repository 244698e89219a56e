package faulty

import (
	"time"

	"outboard/verbs/fabric"
)

// A Conn implements fabric.Conn over one of the wrapped port.
type Conn struct {
	inner fabric.Conn
	port  *Port
	ep    int
	index uint64 // packets sent that could have had faults

	// Guarded by port.mu.
	joined  bool // connected
	shut    bool // closed
	held    []heldPacket
	swap    bool // one of held waits for the next packet
	blocked bool // the inner Conn had no room for the first of held when that was due
}

// Endpoint implements fabric.Conn.
func (c *Conn) Endpoint() int { return c.ep }

// Connect implements fabric.Conn.
func (c *Conn) Connect(addr string, ep int) error {
	if err := c.inner.Connect(addr, ep); err != nil {
		return err
	}
	c.port.mu.Lock()
	defer c.port.mu.Unlock()
	c.joined = true
	return nil
}

// Send implements fabric.Conn. That it returns true says that the wire took the packet, not that it brings it. It
// may take a packet that it loses or holds when it has no room for others.
func (c *Conn) Send(h *fabric.Header, a, b []byte) bool {
	p := c.port
	n := len(a) + len(b)
	if n > p.attr.MTU {
		return false
	}
	// The caller's functions run without the lock: they may use the Port.
	f, subject := None, p.inject != nil && (p.only == nil || p.only(h, p.join(a, b)))
	if subject {
		f = p.inject.Judge(Packet{Endpoint: c.ep, Index: c.index, Header: *h, Len: n})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || c.shut || !c.joined || !c.suffer(f, h, a, b) {
		return false
	}
	if subject {
		c.index++
	}
	p.stats.Sent++
	return true
}

// join returns the payload in one piece, which is valid until the next call.
func (p *Port) join(a, b []byte) []byte {
	if len(b) == 0 {
		return a
	}
	p.joint = append(append(p.joint[:0], a...), b...)
	return p.joint
}

// suffer sends a packet with its fault, or returns false if there is no room. The caller holds port.mu.
func (c *Conn) suffer(f Fault, h *fabric.Header, a, b []byte) bool {
	p := c.port
	if p.isCut(c.ep) {
		p.stats.Cut++
		return true
	}
	switch f.kind() {
	case Drop:
		p.stats.Dropped++
		return true
	case Cut:
		p.cut(c.ep, f.by())
		p.stats.Cut++
		return true
	case Duplicate:
		return c.duplicate(f.by(), h, a, b)
	case Reorder:
		if !c.swap && c.hold(h, a, b, p.in(f.by(), p.late), true) {
			p.stats.Reordered++
			return true
		}
	case Delay:
		some := 1 + time.Duration(draw(p.seed, c.ep, c.index, useDelay)%uint64(p.late))
		if c.hold(h, a, b, p.in(f.by(), some), false) {
			p.stats.Delayed++
			return true
		}
	case Corrupt:
		if n := len(a) + len(b); n > 0 {
			return c.corrupt(h, a, b, draw(p.seed, c.ep, c.index, useCorrupt)%(8*uint64(n)))
		}
	}
	return c.pass(h, a, b)
}

// in returns the time after d, or after other if d is 0.
func (p *Port) in(d, other time.Duration) time.Time {
	if d == 0 {
		d = other
	}
	return p.clock().Add(d)
}

// pass sends a packet, and after it the one that waits for that.
func (c *Conn) pass(h *fabric.Header, a, b []byte) bool {
	if !c.inner.Send(h, a, b) {
		return false
	}
	if c.swap {
		c.unswap()
	}
	return true
}

// duplicate sends a packet, and its copy now or later. If there is room neither in the wire nor among those
// that are held there is no copy.
func (c *Conn) duplicate(d time.Duration, h *fabric.Header, a, b []byte) bool {
	if !c.pass(h, a, b) {
		return false
	}
	if d == 0 && c.inner.Send(h, a, b) || c.hold(h, a, b, c.port.clock().Add(d), false) {
		c.port.stats.Duplicated++
	}
	return true
}

// corrupt sends a copy of a packet with one bit of its payload flipped.
func (c *Conn) corrupt(h *fabric.Header, a, b []byte, bit uint64) bool {
	p := c.port
	p.damaged = append(append(p.damaged[:0], a...), b...)
	p.damaged[bit/8] ^= 1 << (bit % 8)
	if !c.pass(h, p.damaged, nil) {
		return false
	}
	p.stats.Corrupted++
	return true
}

// Sent implements fabric.Conn. It counts what went into the wrapped Conn: not what was lost or is
// held, and copies too. Acked counts what of this the peer has taken, so neither tells whether a packet
// that Send was given has arrived.
func (c *Conn) Sent() uint64 { return c.inner.Sent() }

// Acked implements fabric.Conn. See Sent.
func (c *Conn) Acked() uint64 { return c.inner.Acked() }

// Grant implements fabric.Conn. It reaches the peer whatever happens to packets.
func (c *Conn) Grant(g fabric.Grant) { c.inner.Grant(g) }

// PeerGrant implements fabric.Conn.
func (c *Conn) PeerGrant() fabric.Grant { return c.inner.PeerGrant() }

// Direct implements fabric.Conn: a wire that loses packets leads to no memory.
func (c *Conn) Direct() fabric.Direct { return nil }

// Close implements fabric.Conn. What is held is lost.
func (c *Conn) Close() error {
	c.port.mu.Lock()
	c.shut = true
	c.discard()
	c.port.mu.Unlock()
	return c.inner.Close()
}
