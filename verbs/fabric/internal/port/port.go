package port

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/internal/ring"
)

// A Backend is what a fabric supplies for one of its ports. None of it is called on a hot
// path.
type Backend interface {
	// Addr is the address of the port, Pid its process.
	Addr() string
	Pid() uint32
	// Ring returns the ring of an endpoint of this port, 0 <= ep < Attr().Endpoints.
	Ring(ep int) ring.Ring
	// Dial reaches the port at addr, Hangup says that one who dialled needs it no longer.
	Dial(addr string) (Peer, error)
	Hangup(Peer)
	// Notify calls Attend on the port at addr, if it can be reached.
	Notify(addr string)
	// Gone tells whether a sender, known by its process and perhaps by its port's address,
	// has surely died.
	Gone(pid uint32, addr string) bool
	// Segment returns 1 + the offset of b in the device memory of the port, 0 if it is not there.
	Segment(b []byte) uint64
	// Wake wakes all sleepers of the port.
	Wake()
}

// A Peer is a port that was dialled.
type Peer interface {
	// Control, Table and Attr are constant. Ring returns the ring of an endpoint,
	// 0 <= ep < Attr().Endpoints.
	Control() *Control
	Table() *Table
	Attr() fabric.Attr
	Ring(ep int) ring.Ring
	// Wake wakes all sleepers of the peer.
	Wake()
	// Err returns nil while the peer is there, then ErrPeerClosed or ErrPeerDied, wrapped.
	Err() error
	// Map returns n bytes at offset off of a held region as memory of this process, or nil
	// if it can't be. Copy moves p to or from there by other means.
	Map(h *Held, off uint64, n int) ([]byte, error)
	// Device returns the device memory of a peer in another process, mapped until Hangup, or nil if there is none.
	Device() []byte
	Copy(h *Held, off uint64, p []byte, write bool) error
}

// ScanLimit is the number of open endpoints up to which Poll looks at each ring.
const ScanLimit = 16

// A Port has the part of fabric.Port that is the same for all fabrics: Attr, Open, Poll,
// Publish, Withdraw, Arm and Ring.
type Port struct {
	ctl  *Control
	scan []*Conn // open and not down
	turn int     // where the next Poll starts: index in scan, or endpoint in bits mode
	bits bool    // senders tell which endpoints to look at
	more bool    // the next Poll has work that no peer will tell of
	lazy bool    // there are releases that were not published
	idle int     // empty polls since the last packet
	head fabric.Header
	todo []uint64 // endpoints to look at, in bits mode
	gone []*Conn  // to be reported down once they are drained

	closed   atomic.Bool
	attr     fabric.Attr
	reserved int
	be       Backend
	table    *Table

	mu    sync.Mutex // serialises what changes conns or joins a Conn to a peer
	conns []*Conn    // by endpoint; nil where closed
	hint  int        // where the search for a free endpoint starts
}

// Init makes p a port that is ready for use. Endpoints below reserved are opened by number only.
func Init(p *Port, attr fabric.Attr, reserved int, ctl *Control, table *Table, be Backend) error {
	if attr.Endpoints < 1 || attr.Endpoints > MaxEndpoints {
		return fmt.Errorf("port: %d endpoints, want 1 to %d", attr.Endpoints, MaxEndpoints)
	}
	if reserved < 0 || reserved > attr.Endpoints {
		return fmt.Errorf("port: %d reserved endpoints, want 0 to %d", reserved, attr.Endpoints)
	}
	p.ctl, p.attr, p.reserved, p.table, p.be = ctl, attr, reserved, table, be
	p.conns = make([]*Conn, attr.Endpoints)
	p.todo = make([]uint64, (attr.Endpoints+63)/64)
	p.hint = reserved
	return nil
}

// Attr implements fabric.Port.
func (p *Port) Attr() fabric.Attr { return p.attr }

// Open implements fabric.Port.
func (p *Port) Open(ep int, cookie uint32) (fabric.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed.Load() {
		return nil, fabric.ErrClosed
	}
	r, ep, err := p.take(ep)
	if err != nil {
		return nil, err
	}
	c := &Conn{port: p, ep: ep, cookie: cookie, rx: ring.NewReceiver(r)}
	c.direct.c = c
	p.conns[ep] = c
	p.enlist(c)
	return c, nil
}

// take opens the ring of endpoint ep, or of any free one.
func (p *Port) take(ep int) (ring.Ring, int, error) {
	if ep == fabric.Any {
		return p.takeAny()
	}
	if ep < 0 || ep >= len(p.conns) {
		return ring.Ring{}, 0, fmt.Errorf("%w: endpoint %d, want 0 to %d", fabric.ErrNoEndpoint, ep, len(p.conns)-1)
	}
	if p.conns[ep] != nil {
		return ring.Ring{}, 0, fmt.Errorf("%w: endpoint %d", fabric.ErrInUse, ep)
	}
	r := p.be.Ring(ep)
	if !p.reopen(r, false) {
		return ring.Ring{}, 0, fmt.Errorf("%w: endpoint %d: its last peer has not left", fabric.ErrInUse, ep)
	}
	return r, ep, nil
}

func (p *Port) takeAny() (ring.Ring, int, error) {
	span := len(p.conns) - p.reserved
	for i := range span {
		ep := p.reserved + (p.hint-p.reserved+i)%span
		if p.conns[ep] != nil {
			continue
		}
		if r := p.be.Ring(ep); p.reopen(r, true) {
			p.hint = ep + 1
			return r, ep, nil
		}
	}
	return ring.Ring{}, 0, fmt.Errorf("%w: all %d are taken", fabric.ErrNoEndpoint, span)
}

// reopen opens a ring that an earlier owner of the endpoint may have left behind.
func (p *Port) reopen(r ring.Ring, fresh bool) bool {
	if r.Open(fresh) {
		return true
	}
	if pid, _ := r.Sender(); !r.Stuck() || !p.be.Gone(pid, r.Origin()) {
		return false
	}
	r.Recover()
	return r.Open(fresh)
}

// Publish implements fabric.Port.
func (p *Port) Publish(r fabric.Region) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed.Load() {
		return fabric.ErrClosed
	}
	return p.table.add(r, p.be.Segment(r.Buf))
}

// Withdraw implements fabric.Port.
func (p *Port) Withdraw(key uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed.Load() {
		return fabric.ErrClosed
	}
	if err := p.table.remove(key); err != nil {
		return err
	}
	p.unheld(key, math.MaxInt64)
	p.table.forget(key)
	return nil
}

// unheld waits until no live peer holds the key, or until the limit has passed, and tells which.
func (p *Port) unheld(key uint32, limit time.Duration) bool {
	all := true
	p.senders(func(_ int, r ring.Ring) { all = p.released(r, key, limit) && all })
	return all
}

// released waits until the sender of r doesn't hold the key or has died. Most holds are shorter than
// a microsecond; a long one is a copy of very much data.
func (p *Port) released(r ring.Ring, key uint32, limit time.Duration) bool {
	const spins, yields = 100, 1000
	var start time.Time
	for n := 0; r.Holds(key); n++ {
		switch {
		case n < spins:
		case n < yields:
			runtime.Gosched()
		case n == yields:
			start = time.Now()
		default:
			if pid, _ := r.Sender(); p.be.Gone(pid, r.Origin()) {
				return true
			}
			if time.Since(start) > limit {
				return false
			}
			time.Sleep(100 * time.Microsecond)
		}
	}
	return true
}

// senders calls f for each ring that ever had a sender.
func (p *Port) senders(f func(ep int, r ring.Ring)) {
	for w := range p.ctl.claimed {
		for set := p.ctl.claimed[w].Load(); set != 0; {
			if ep := w*64 + next(&set); ep < len(p.conns) {
				f(ep, p.be.Ring(ep))
			}
		}
	}
}

// holdLimit is how long Shut waits for a peer that holds a region.
const holdLimit = time.Second

// Shut takes the port off the wire: it withdraws all regions and tells the peers. First is false
// if the port was shut before. Unused tells that no peer holds a region any more: it is false if
// one that is alive has held one for a second. Shut may run beside any other call.
func Shut(p *Port) (first, unused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed.Swap(true) {
		return false, false
	}
	for _, c := range p.conns {
		if c != nil {
			c.part()
		}
	}
	p.ctl.closed.Store(1)
	unused = p.withdrawAll(holdLimit)
	p.senders(func(ep int, r ring.Ring) {
		if _, claimed := r.Sender(); claimed {
			p.tell(p.conns[ep], r)
		}
	})
	p.ctl.work.Or(attention)
	p.Ring()
	return true, unused
}

// withdrawAll takes all keys out at once, then waits for those who hold one.
func (p *Port) withdrawAll(limit time.Duration) (unused bool) {
	var keys []uint32
	p.table.keys(func(key uint32) {
		if p.table.remove(key) == nil {
			keys = append(keys, key)
		}
	})
	unused = true
	end := time.Now().Add(limit)
	for _, key := range keys {
		if p.unheld(key, time.Until(end)) {
			p.table.forget(key)
		} else {
			unused = false
		}
	}
	return unused
}

// tell makes the port that sends on r look at its Conns: through the Conn of the same endpoint if
// that leads there, else by the address that it left.
func (p *Port) tell(c *Conn, r ring.Ring) {
	addr := strings.Clone(r.Origin())
	if c != nil && c.peer != nil && c.addr == addr {
		c.peer.Control().Attend(c.peer)
	} else if addr != "" {
		p.be.Notify(addr)
	}
}

// Gone makes the next Poll look for peers that have gone, and wakes the owner: also if the
// port is no longer armed, for the peer that rang may have died before it woke anybody.
func Gone(p *Port) {
	p.ctl.Attend(p.be)
	p.be.Wake()
}

// Closed tells whether Shut was called.
func Closed(p *Port) bool { return p.closed.Load() }

// Arm implements fabric.Port.
func (p *Port) Arm() fabric.Ticket {
	v := p.ctl.Bell.Load()
	for v&1 == 0 && !p.ctl.Bell.CompareAndSwap(v, v+1) {
		v = p.ctl.Bell.Load()
	}
	if p.closed.Load() {
		p.Ring()
	}
	return fabric.Ticket(v | 1)
}

// Ring implements fabric.Port.
func (p *Port) Ring() { p.ctl.bell(p.be) }
