package faulty

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"outboard/verbs/fabric"
)

// A Port implements fabric.Port over another one. What it has beyond that may be called by any goroutine.
type Port struct {
	inner  fabric.Port
	attr   fabric.Attr
	seed   uint64
	inject Injector // nil: nothing
	only   func(h *fabric.Header, payload []byte) bool
	late   time.Duration
	clock  func() time.Time
	joint  []byte // both parts of the payload that only is asked about

	waiting atomic.Int64 // packets held, so that Poll needs no lock to see that there are none

	mu       sync.Mutex // guards what follows, and what is said of Conn
	closed   bool
	sleepers int
	lanes    []*Conn // that hold packets
	spare    [][]byte
	damaged  []byte            // the copy of a packet to be corrupted
	allCut   bool              // by Port.Cut
	cuts     map[int]time.Time // cut endpoints, until when; the zero time: until Heal
	stats    Stats
}

var _ fabric.Port = (*Port)(nil)

// Wrap returns a Port that sends through port with the faults of o. From then on port belongs to it and is
// closed with it. Errors: ErrOption.
func Wrap(port fabric.Port, o Options) (*Port, error) {
	if port == nil {
		return nil, fmt.Errorf("%w: no port to wrap", ErrOption)
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	p := &Port{
		inner:  port,
		attr:   port.Attr(),
		seed:   o.Seed,
		inject: o.injector(),
		only:   o.Only,
		late:   o.DelayBy,
		clock:  o.Clock,
		cuts:   map[int]time.Time{},
	}
	p.attr.Name = "faulty+" + p.attr.Name
	p.attr.Ordered, p.attr.Reliable = false, false
	if p.late == 0 {
		p.late = time.Millisecond
	}
	if p.clock == nil {
		p.clock = time.Now
	}
	return p, nil
}

// String returns the name of the fabric and what is injected.
func (p *Port) String() string {
	if p.inject == nil {
		return p.attr.Name
	}
	return fmt.Sprintf("%s: %v", p.attr.Name, p.inject)
}

// Addr implements fabric.Port: it is the address of the wrapped port, whose peers needn't know.
func (p *Port) Addr() string { return p.inner.Addr() }

// Attr implements fabric.Port. The wire is neither ordered nor reliable.
func (p *Port) Attr() fabric.Attr { return p.attr }

// Open implements fabric.Port. The packets of each Conn are numbered from 0.
func (p *Port) Open(ep int, cookie uint32) (fabric.Conn, error) {
	c, err := p.inner.Open(ep, cookie)
	if err != nil {
		return nil, err
	}
	return &Conn{inner: c, port: p, ep: c.Endpoint()}, nil
}

// Poll implements fabric.Port. It first sends what is due.
func (p *Port) Poll(rx fabric.Receiver, budget int) int {
	if p.waiting.Load() > 0 {
		p.flush()
	}
	return p.inner.Poll(rx, budget)
}

// Publish implements fabric.Port. Peers that are not wrapped reach the region directly, without faults.
func (p *Port) Publish(r fabric.Region) error { return p.inner.Publish(r) }

// Withdraw implements fabric.Port.
func (p *Port) Withdraw(key uint32) error { return p.inner.Withdraw(key) }

// AllocMem implements fabric.Port.
func (p *Port) AllocMem(n int) ([]byte, error) { return p.inner.AllocMem(n) }

// FreeMem implements fabric.Port.
func (p *Port) FreeMem(b []byte) error { return p.inner.FreeMem(b) }

// Arm implements fabric.Port.
func (p *Port) Arm() fabric.Ticket { return p.inner.Arm() }

// Sleep implements fabric.Port. It also returns when a held packet is due, for the Poll that sends it, and
// when one is held that wasn't before.
func (p *Port) Sleep(t fabric.Ticket, d time.Duration) {
	d, ok := p.lieDown(d)
	if !ok {
		return
	}
	p.inner.Sleep(t, d)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sleepers--
}

// lieDown shortens the time to sleep to what is left until a packet is due. If none is left there is no sleep;
// else the caller counts as a sleeper, who is rung if a packet is held from now on.
func (p *Port) lieDown(d time.Duration) (time.Duration, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if due, ok := p.nextDue(); ok {
		left := due.Sub(p.clock())
		if left <= 0 {
			return 0, false
		}
		if d <= 0 || left < d {
			d = left
		}
	}
	p.sleepers++
	return d, true
}

// Ring implements fabric.Port.
func (p *Port) Ring() { p.inner.Ring() }

// Close implements fabric.Port. What is held is lost.
func (p *Port) Close() error {
	p.mu.Lock()
	p.closed = true
	for len(p.lanes) > 0 {
		p.lanes[0].discard()
	}
	p.mu.Unlock()
	return p.inner.Close()
}

// Cut cuts the links of all endpoints, open now or later, in the direction away from this port: the wire takes what
// is sent and loses it, as it does what is held and falls due. Heal undoes it.
func (p *Port) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.allCut = true
}

// CutConn cuts the link of one endpoint, open or not.
func (p *Port) CutConn(endpoint int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cuts[endpoint] = time.Time{}
}

// Heal mends all links, whatever has cut them.
func (p *Port) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.allCut = false
	clear(p.cuts)
}

// isCut tells whether the link of an endpoint is cut now. The caller holds p.mu.
func (p *Port) isCut(ep int) bool {
	if p.allCut || len(p.cuts) == 0 {
		return p.allCut
	}
	until, ok := p.cuts[ep]
	if ok && !until.IsZero() && !p.clock().Before(until) {
		delete(p.cuts, ep)
		return false
	}
	return ok
}

// cut cuts the link of an endpoint for a while, or until Heal if d is 0. The caller holds p.mu.
func (p *Port) cut(ep int, d time.Duration) {
	var until time.Time
	if d > 0 {
		until = p.clock().Add(d)
	}
	p.cuts[ep] = until
}

// Stats count packets since the port was wrapped. Sent + Duplicated are Dropped + Cut + Held and those that
// went into the inner Conns.
type Stats struct {
	Sent       uint64 // accepted by Send
	Dropped    uint64 // lost by Drop, or held when the Conn or the port was closed
	Duplicated uint64 // copies made
	Reordered  uint64 // held for the next one
	Delayed    uint64 // held for some time
	Corrupted  uint64 // sent with a wrong bit
	Cut        uint64 // lost in a cut link
	Held       uint64 // not yet sent: a level, not a count
}

// Stats returns what has happened so far.
func (p *Port) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Held = uint64(p.waiting.Load())
	return s
}
