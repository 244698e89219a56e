package inproc

import (
	"sync"
	"sync/atomic"
	"time"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/internal/port"
	"outboard/verbs/fabric/internal/ring"
)

// A Port implements fabric.Port.
type Port struct {
	port.Port
	sw    *Switch
	id    uint64
	addr  string
	geo   ring.Geometry
	ctl   *port.Control
	table *port.Table
	rings []atomic.Pointer[ring.Ring] // by endpoint; nil until first used
	bell  bell
	heap  heap
}

var _ fabric.Port = (*Port)(nil)

// Addr implements fabric.Port.
func (p *Port) Addr() string { return p.addr }

// Close implements fabric.Port. A second Close does nothing.
func (p *Port) Close() error {
	p.sw.remove(p)
	port.Shut(&p.Port)
	return nil
}

// Sleep implements fabric.Port.
func (p *Port) Sleep(t fabric.Ticket, d time.Duration) { p.bell.sleep(&p.ctl.Bell, uint32(t), d) }

// AllocMem implements fabric.Port.
func (p *Port) AllocMem(n int) ([]byte, error) {
	if port.Closed(&p.Port) {
		return nil, fabric.ErrClosed
	}
	return p.heap.alloc(n)
}

// FreeMem implements fabric.Port.
func (p *Port) FreeMem(b []byte) error { return p.heap.release(b) }

// ring returns the ring of an endpoint. Whoever needs it first makes it.
func (p *Port) ring(ep int) ring.Ring {
	if r := p.rings[ep].Load(); r != nil {
		return *r
	}
	r := ring.New(p.geo)
	p.rings[ep].CompareAndSwap(nil, &r)
	return *p.rings[ep].Load()
}

// backend and peer are the two faces of a Port for package port.
type (
	backend struct{ p *Port }
	peer    struct{ p *Port }
)

func (b backend) Addr() string             { return b.p.addr }
func (b backend) Pid() uint32              { return 1 }
func (b backend) Ring(ep int) ring.Ring    { return b.p.ring(ep) }
func (b backend) Hangup(port.Peer)         {}
func (b backend) Gone(uint32, string) bool { return false }
func (b backend) Segment([]byte) uint64    { return 0 }
func (b backend) Wake()                    { b.p.bell.wake() }

func (b backend) Dial(addr string) (port.Peer, error) {
	p, err := b.p.sw.find(addr)
	if err != nil {
		return nil, err
	}
	return peer{p}, nil
}

func (b backend) Notify(addr string) {
	if p, err := b.p.sw.find(addr); err == nil {
		p.ctl.Attend(peer{p})
	}
}

func (q peer) Control() *port.Control { return q.p.ctl }
func (q peer) Table() *port.Table     { return q.p.table }
func (q peer) Attr() fabric.Attr      { return q.p.Attr() }
func (q peer) Ring(ep int) ring.Ring  { return q.p.ring(ep) }
func (q peer) Wake()                  { q.p.bell.wake() }

func (q peer) Err() error {
	if q.p.ctl.Closed() {
		return fabric.ErrPeerClosed
	}
	return nil
}

func (q peer) Map(h *port.Held, off uint64, n int) ([]byte, error) {
	return h.Buf[off : off+uint64(n) : off+uint64(n)], nil
}

func (q peer) Device() []byte { return nil }

func (q peer) Copy(*port.Held, uint64, []byte, bool) error { return fabric.ErrRefused }

// A bell parks the goroutines that sleep.
type bell struct {
	mu       sync.Mutex
	sleepers *sleeper // asleep
	spare    *sleeper // for reuse
}

type sleeper struct {
	woken chan struct{} // holds one token
	timer *time.Timer
	next  *sleeper
}

// sleep parks the caller until wake, unless the word is no longer value. Whoever changes it and wakes does
// so in this order, so that a ring between Arm and here is seen.
func (b *bell) sleep(word *atomic.Uint32, value uint32, d time.Duration) {
	b.mu.Lock()
	if word.Load() != value {
		b.mu.Unlock()
		return
	}
	s := b.spare
	if s == nil {
		s = &sleeper{woken: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
		s.timer.Stop()
	} else {
		b.spare = s.next
	}
	s.next, b.sleepers = b.sleepers, s
	b.mu.Unlock()

	s.wait(d)

	b.mu.Lock()
	defer b.mu.Unlock()
	b.remove(s)
	select {
	case <-s.woken:
	default:
	}
	s.next, b.spare = b.spare, s
}

func (s *sleeper) wait(d time.Duration) {
	if d <= 0 {
		<-s.woken
		return
	}
	s.timer.Reset(d)
	select {
	case <-s.woken:
	case <-s.timer.C:
	}
	s.timer.Stop()
}

// remove takes s out of those asleep, if it is there.
func (b *bell) remove(s *sleeper) {
	for at := &b.sleepers; *at != nil; at = &(*at).next {
		if *at == s {
			*at = s.next
			return
		}
	}
}

// wake wakes all who sleep.
func (b *bell) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := b.sleepers; s != nil; s = s.next {
		s.woken <- struct{}{}
	}
	b.sleepers = nil
}
