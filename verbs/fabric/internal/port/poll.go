package port

import (
	"fmt"
	"math/bits"
	"runtime"
	"slices"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/internal/ring"
)

const (
	// idlePolls is the number of empty polls after which releases are published that
	// nobody is in a hurry for.
	idlePolls = 64
	// checkPolls is the number of empty polls after which the rings of many endpoints are
	// checked.
	checkPolls = 64 * idlePolls
)

// next takes the lowest bit out of set, which is not empty, and returns its number.
func next(set *uint64) int {
	i := bits.TrailingZeros64(*set)
	*set &= *set - 1
	return i
}

// Poll implements fabric.Port.
func (p *Port) Poll(rx fabric.Receiver, budget int) int {
	if p.more || p.ctl.work.Load() != 0 {
		return p.pollAll(rx, budget)
	}
	n := 0
	if !p.bits {
		n = p.pollScan(rx, budget)
	}
	if n == 0 {
		if p.idle++; p.idle%idlePolls == 0 || p.lazy && p.ctl.Bell.Load()&1 != 0 {
			p.rest()
		}
	}
	runtime.KeepAlive(p)
	return n
}

// pollScan looks at the ring of each open endpoint.
func (p *Port) pollScan(rx fabric.Receiver, budget int) (n int) {
	count := len(p.scan)
	for i, at := 0, p.turn; i < count; i, at = i+1, at+1 {
		if at >= len(p.scan) {
			if at = 0; len(p.scan) == 0 {
				break
			}
		}
		c := p.scan[at]
		if c.rx.Ready() {
			if n >= budget {
				p.turn = at
				return n
			}
			n += p.drain(c, rx, budget-n)
			if n >= budget {
				p.turn = at + 1
				return n
			}
		}
	}
	return n
}

// pollAll is Poll when there is more to do than to look at rings.
func (p *Port) pollAll(rx fabric.Receiver, budget int) (n int) {
	if p.closed.Load() {
		return 0
	}
	p.more = false
	p.collect()
	if p.bits {
		n = p.pollBits(rx, budget)
	} else {
		p.knocks(rx)
		n = p.pollScan(rx, budget)
	}
	p.bury(rx)
	for _, set := range p.todo {
		p.more = p.more || set != 0
	}
	return n
}

// collect takes over what peers have marked since the last time. The summary is taken first, and
// a mark is set in it last, so that no mark is lost.
func (p *Port) collect() {
	work := p.ctl.work.Swap(0)
	if work&attention != 0 {
		p.attend()
	}
	for work &^= attention; work != 0; {
		w := next(&work)
		set := p.ctl.pending[w].Swap(0)
		if past := w*64 + 64 - len(p.conns); past > 0 {
			set &= ^uint64(0) >> past
		}
		if w < len(p.todo) {
			p.todo[w] |= set
		}
	}
}

// knocks handles the marks when open endpoints are scanned anyway.
func (p *Port) knocks(rx fabric.Receiver) {
	for w := range p.todo {
		set := p.todo[w]
		for p.todo[w] = 0; set != 0; {
			if ep := w*64 + next(&set); p.conns[ep] == nil {
				p.knock(rx, ep)
			}
		}
	}
}

func (p *Port) knock(rx fabric.Receiver, ep int) {
	if r := p.be.Ring(ep); r.Closed() && r.Waiting() {
		rx.Knock(ep)
	}
}

// pollBits looks at the endpoints in todo, starting with p.turn.
func (p *Port) pollBits(rx fabric.Receiver, budget int) (n int) {
	first := min(p.turn, len(p.conns)-1)
	low := uint64(1)<<(first%64) - 1
	for i := range len(p.todo) + 1 {
		w := (first/64 + i) % len(p.todo)
		set := p.todo[w]
		switch i {
		case 0:
			set &^= low
		case len(p.todo):
			set &= low
		}
		for set != 0 {
			ep := w*64 + next(&set)
			if n >= budget {
				p.turn = ep
				return n
			}
			n += p.visit(rx, ep, budget-n)
		}
	}
	return n
}

// visit looks at one endpoint in bits mode. Its bit in todo stays if anything is left.
func (p *Port) visit(rx fabric.Receiver, ep, budget int) (n int) {
	bit := uint64(1) << (ep % 64)
	c := p.conns[ep]
	if c == nil {
		p.todo[ep/64] &^= bit
		p.knock(rx, ep)
		if c = p.conns[ep]; c == nil {
			return 0
		}
	}
	if !c.down {
		n = p.drain(c, rx, budget)
	}
	if c.down || c.shut || c.rx.Status() == ring.Empty {
		p.todo[ep/64] &^= bit
	}
	p.check(c)
	return n
}

// drain gives packets of one Conn to rx until its ring is empty, rx refuses one, or the budget is
// used up.
func (p *Port) drain(c *Conn, rx fabric.Receiver, budget int) (n int) {
	for n < budget {
		payload, status := c.rx.Peek(&p.head)
		if status != ring.Packet {
			if status == ring.Corrupt {
				p.reject(c)
			}
			break
		}
		now := p.head.Flags&fabric.AckNow != 0
		if !rx.Packet(c.cookie, &p.head, payload) {
			break
		}
		n++
		if c.shut {
			break
		}
		if c.rx.Release(now) {
			c.wake()
		}
	}
	if n > 0 {
		p.idle, p.lazy = 0, true
	}
	return n
}

// rest does what can wait for an owner that is about to sleep or had nothing to do for a while: it
// publishes releases, and looks into all rings for what is no packet, and for packets that their
// sender told nobody of because it died.
func (p *Port) rest() {
	if !p.lazy && p.bits && p.idle%checkPolls != 0 {
		return
	}
	p.lazy = false
	for _, c := range p.scan {
		if c.rx.Pending() {
			c.rx.Publish()
			c.wake()
		}
		p.check(c)
		if p.bits && c.rx.Ready() {
			p.todo[c.ep/64] |= 1 << (c.ep % 64)
			p.more = true
		}
	}
}

// check condemns c if its ring holds something that is no packet.
func (p *Port) check(c *Conn) {
	if !c.shut && !c.down && c.rx.Status() == ring.Corrupt {
		p.reject(c)
	}
}

// reject condemns c, in whose ring is something that is no packet.
func (p *Port) reject(c *Conn) {
	c.broken = true
	p.condemn(c, fmt.Errorf("%w: it broke the rules of the ring of endpoint %d: %w", fabric.ErrPeerDied, c.ep, c.rx.Fault()))
}

// attend looks for Conns whose peer has gone.
func (p *Port) attend() {
	for _, c := range p.scan {
		if c.cause == nil {
			if err := c.gone(); err != nil {
				p.condemn(c, err)
			}
		}
	}
}

// condemn notes that c is to be reported down as soon as nothing is left in its ring. The cause is
// known before the ring is found empty: so nothing that the peer sent is lost.
func (p *Port) condemn(c *Conn, cause error) {
	if c.cause == nil {
		c.cause = cause
		p.gone = append(p.gone, c)
	}
	p.more = true
	if p.bits {
		p.todo[c.ep/64] |= 1 << (c.ep % 64)
	}
}

// bury reports the condemned Conns that are drained.
func (p *Port) bury(rx fabric.Receiver) {
	for _, c := range p.gone {
		if !c.shut && !c.down && (c.broken || c.rx.Status() != ring.Packet) {
			p.disconnect(c)
			rx.Down(c.cookie, c.cause)
		}
	}
	p.gone = slices.DeleteFunc(p.gone, func(c *Conn) bool { return c.shut || c.down })
	p.more = p.more || len(p.gone) > 0
}

// disconnect ends all traffic of c.
func (p *Port) disconnect(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.down = true
	c.stop()
	p.delist(c)
}

// enlist adds c to those that Poll looks at, and changes to bits mode if they are many.
func (p *Port) enlist(c *Conn) {
	p.scan = append(p.scan, c)
	switch {
	case p.bits:
		p.todo[c.ep/64] |= 1 << (c.ep % 64)
		p.more = true
	case len(p.scan) > ScanLimit:
		p.bits, p.more = true, true
		for _, c := range p.scan {
			c.rx.Ring().SetQuiet(false)
			p.todo[c.ep/64] |= 1 << (c.ep % 64)
		}
	default:
		c.rx.Ring().SetQuiet(true)
	}
}

// delist takes c out of those that Poll looks at, and changes back from bits mode if they are few.
func (p *Port) delist(c *Conn) {
	i := slices.Index(p.scan, c)
	if i < 0 {
		return
	}
	p.scan = slices.Delete(p.scan, i, i+1)
	if p.turn > i && !p.bits {
		p.turn--
	}
	if p.bits && len(p.scan) <= ScanLimit/2 {
		p.bits, p.more = false, true
		for _, c := range p.scan {
			c.rx.Ring().SetQuiet(true)
		}
	}
}
