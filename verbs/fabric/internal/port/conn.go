package port

import (
	"fmt"
	"runtime"
	"sync/atomic"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/internal/ring"
)

// A Conn implements fabric.Conn. It receives from the ring of its endpoint and sends
// to the ring of the peer's.
type Conn struct {
	tx     ring.Sender
	armed  *atomic.Uint32 // the bell of the peer
	port   *Port
	rx     ring.Receiver
	cookie uint32
	ep     int
	peerEP int

	joined atomic.Bool // holds the sender's end of the peer's ring
	down   bool        // reported down: nothing more is received or sent
	shut   bool        // closed
	broken bool        // what is at the head of the ring is no packet
	cause  error

	peer   Peer
	table  *Table
	addr   string // of the peer
	direct direct
}

// Endpoint implements fabric.Conn.
func (c *Conn) Endpoint() int { return c.ep }

// Connect implements fabric.Conn.
func (c *Conn) Connect(addr string, ep int) error {
	p := c.port
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case c.shut || p.closed.Load():
		return fabric.ErrClosed
	case c.peer != nil:
		return fmt.Errorf("%w: endpoint %d is connected with endpoint %d of %s", fabric.ErrInUse, c.ep, c.peerEP, c.addr)
	case c.down:
		return fmt.Errorf("%w: endpoint %d is down", fabric.ErrUnreachable, c.ep)
	}
	peer, err := p.be.Dial(addr)
	if err != nil {
		return err
	}
	if err := c.join(peer, addr, ep); err != nil {
		p.be.Hangup(peer)
		return err
	}
	return nil
}

// join claims the peer's ring.
func (c *Conn) join(peer Peer, addr string, ep int) error {
	p, attr := c.port, peer.Attr()
	if asked := ep; ep < 0 {
		if ep += attr.Endpoints; ep < 0 {
			return fmt.Errorf("%w: endpoint %d of %s, want %d to %d", fabric.ErrNoEndpoint, asked, addr, -attr.Endpoints, attr.Endpoints-1)
		}
	}
	if ep >= attr.Endpoints {
		return fmt.Errorf("%w: endpoint %d of %s, want 0 to %d", fabric.ErrNoEndpoint, ep, addr, attr.Endpoints-1)
	}
	if attr.MTU < p.attr.MTU {
		return fmt.Errorf("%w: the MTU of %s is %d, want at least %d", fabric.ErrUnreachable, addr, attr.MTU, p.attr.MTU)
	}
	if err := peer.Err(); err != nil {
		return fmt.Errorf("%w: %s: %w", fabric.ErrUnreachable, addr, err)
	}
	r, ctl := peer.Ring(ep), peer.Control()
	if !r.Claim(p.be.Pid()) {
		return fmt.Errorf("%w: endpoint %d of %s has a peer", fabric.ErrInUse, ep, addr)
	}
	r.SetOrigin(p.be.Addr())
	ctl.claimed[ep/64].Or(1 << (ep % 64))
	c.tx = ring.NewSender(r)
	c.peer, c.table, c.addr, c.peerEP = peer, peer.Table(), addr, ep
	c.armed = &ctl.Bell
	c.joined.Store(true)
	if peer.Err() != nil {
		p.attend()
	}
	ctl.bell(peer)
	return nil
}

// Send implements fabric.Conn.
func (c *Conn) Send(h *fabric.Header, a, b []byte) bool {
	if c.port.closed.Load() || !c.tx.Put(h, a, b) {
		return false
	}
	if c.tx.Loud() {
		c.peer.Control().raise(c.peerEP)
	}
	if c.armed.Load()&1 != 0 {
		c.wake()
	}
	runtime.KeepAlive(c)
	return true
}

// wake rings the peer if it is armed. The caller has issued a full fence after what the peer is to
// see.
func (c *Conn) wake() {
	if c.peer != nil {
		c.peer.Control().bell(c.peer)
	}
}

// Sent implements fabric.Conn.
func (c *Conn) Sent() uint64 { return c.tx.Sent() }

// Acked implements fabric.Conn.
func (c *Conn) Acked() uint64 { return c.tx.Acked() }

// Grant implements fabric.Conn.
func (c *Conn) Grant(g fabric.Grant) {
	if c.shut {
		return
	}
	c.rx.Ring().SetGrant(g)
	c.wake()
}

// PeerGrant implements fabric.Conn.
func (c *Conn) PeerGrant() fabric.Grant {
	if !c.joined.Load() {
		return fabric.Grant{}
	}
	return c.tx.Ring().Grant()
}

// Direct implements fabric.Conn.
func (c *Conn) Direct() fabric.Direct {
	if c.peer == nil {
		return nil
	}
	return &c.direct
}

// Close implements fabric.Conn. A second Close does nothing.
func (c *Conn) Close() error {
	p := c.port
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.shut {
		return nil
	}
	c.shut = true
	c.stop()
	c.direct = direct{c: c}
	p.delist(c)
	p.conns[c.ep] = nil
	r := c.rx.Ring()
	r.SetQuiet(false)
	r.SetGrant(fabric.Grant{})
	if r.Retire(p.senderGone(c)) {
		p.tell(c, r)
	}
	if c.peer != nil {
		p.be.Hangup(c.peer)
		c.peer = nil
	}
	return nil
}

// senderGone tells whether whoever sends to c will not do so any more, without having said so.
func (p *Port) senderGone(c *Conn) bool {
	r := c.rx.Ring()
	pid, claimed := r.Sender()
	return claimed && p.be.Gone(pid, r.Origin())
}

// part gives the sender's end of the peer's ring back and tells the peer. The caller
// holds port.mu.
func (c *Conn) part() {
	if !c.joined.Swap(false) {
		return
	}
	c.tx.Ring().Finish()
	c.peer.Control().Attend(c.peer)
}

// stop ends all sending. The caller holds port.mu.
func (c *Conn) stop() {
	c.tx.Stop()
	c.part()
}

// gone returns why nothing more will come, or nil.
func (c *Conn) gone() error {
	if c.peer != nil {
		if err := c.peer.Err(); err != nil {
			return err
		}
		if c.joined.Load() && c.tx.Ring().Retired() {
			return fmt.Errorf("%w: endpoint %d of %s", fabric.ErrPeerClosed, c.peerEP, c.addr)
		}
	}
	if c.rx.Ring().Finished() {
		return fmt.Errorf("%w: the endpoint that sent to endpoint %d", fabric.ErrPeerClosed, c.ep)
	}
	return nil
}
