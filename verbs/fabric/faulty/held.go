package faulty

import (
	"slices"
	"sort"
	"time"

	"outboard/verbs/fabric"
)

// maxHeld is the number of packets that a Conn holds at most. One more goes straight through.
const maxHeld = 64

// A heldPacket is sent when it is due.
type heldPacket struct {
	due    time.Time
	header fabric.Header
	data   []byte // from Port.spare
	swap   bool   // or when the next packet has been sent
}

// The methods in this file are for callers that hold port.mu.

// hold keeps a copy of a packet, unless there are too many.
func (c *Conn) hold(h *fabric.Header, a, b []byte, due time.Time, swap bool) bool {
	p := c.port
	if len(c.held) == maxHeld {
		return false
	}
	var buf []byte
	if n := len(p.spare); n > 0 {
		buf, p.spare = p.spare[n-1][:0], p.spare[:n-1]
	}
	buf = append(append(buf, a...), b...)
	if len(c.held) == 0 {
		p.lanes = append(p.lanes, c)
	}
	c.insert(heldPacket{due: due, header: *h, data: buf, swap: swap})
	c.swap = c.swap || swap
	p.waiting.Add(1)
	if p.sleepers > 0 {
		p.inner.Ring()
	}
	return true
}

// insert puts h behind all that are due before it or with it.
func (c *Conn) insert(h heldPacket) {
	i := sort.Search(len(c.held), func(i int) bool { return c.held[i].due.After(h.due) })
	c.held = slices.Insert(c.held, i, h)
}

// release takes packet i out of those held.
func (c *Conn) release(i int) {
	p, h := c.port, c.held[i]
	if len(p.spare) < maxHeld {
		p.spare = append(p.spare, h.data)
	}
	if h.swap {
		c.swap = false
	}
	c.held = slices.Delete(c.held, i, i+1)
	if len(c.held) == 0 {
		c.blocked = false
		at := slices.Index(p.lanes, c)
		p.lanes = slices.Delete(p.lanes, at, at+1)
	}
	p.waiting.Add(-1)
}

// unswap sends the packet that another one has passed. If there is no room it is the first that is due.
func (c *Conn) unswap() {
	i := slices.IndexFunc(c.held, func(h heldPacket) bool { return h.swap })
	h := &c.held[i]
	if c.inner.Send(&h.header, h.data, nil) {
		c.release(i)
		return
	}
	c.swap = false
	h.due, h.swap = time.Time{}, false
	first := *h
	copy(c.held[1:], c.held[:i])
	c.held[0] = first
}

// discard loses all that is held.
func (c *Conn) discard() {
	for len(c.held) > 0 {
		c.release(len(c.held) - 1)
		c.port.stats.Dropped++
	}
}

// flush sends what is due.
func (p *Port) flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock()
	for i := len(p.lanes) - 1; i >= 0; i-- { // a lane that gets empty leaves the list
		p.lanes[i].flush(now)
	}
}

func (c *Conn) flush(now time.Time) {
	c.blocked = false
	for len(c.held) > 0 && !c.held[0].due.After(now) {
		h := &c.held[0]
		if c.port.isCut(c.ep) {
			c.port.stats.Cut++
		} else if !c.inner.Send(&h.header, h.data, nil) {
			c.blocked = true
			return
		}
		c.release(0)
	}
}

// nextDue returns when the next packet is due that a Poll can send. Where there was no room the time doesn't
// help: a peer that makes room rings this port if it is armed.
func (p *Port) nextDue() (due time.Time, ok bool) {
	for _, c := range p.lanes {
		if first := c.held[0].due; !c.blocked && (!ok || first.Before(due)) {
			due, ok = first, true
		}
	}
	return due, ok
}
