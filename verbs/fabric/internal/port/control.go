package port

import "sync/atomic"

const (
	// MaxEndpoints is the largest number of endpoints of a port.
	MaxEndpoints = 63 * 64

	words     = MaxEndpoints / 64
	attention = 1 << 63 // in work: something else than packets
)

// Control is the part of a port's memory that belongs to no single endpoint. Peers
// write all of it but closed. Zeros are the control of a new port.
type Control struct {
	work atomic.Uint64 // bit w: pending[w] is not empty; bit 63: attention
	_    [120]byte

	Bell   atomic.Uint32 // rings so far × 2, plus 1 while the owner asks to be rung
	closed atomic.Uint32 // 1: the port is off the wire
	_      [120]byte

	pending [words]atomic.Uint64 // endpoints whose senders ask to be looked at
	_       [8]byte
	claimed [words]atomic.Uint64 // endpoints that ever had a sender
	_       [8]byte
}

// A Waker wakes all sleepers of a port.
type Waker interface{ Wake() }

// bell rings the owner of the Control, whose sleepers w wakes, if it is armed.
func (c *Control) bell(w Waker) {
	if v := c.Bell.Load(); v&1 != 0 && c.Bell.CompareAndSwap(v, v+1) {
		w.Wake()
	}
}

// raise sets the bit of an endpoint. A bit that is set already has not been seen by the owner,
// who will look at the ring after it has seen it; so it need not be set again.
func (c *Control) raise(ep int) {
	w := ep / 64
	if bit := uint64(1) << (ep % 64); c.pending[w].Load()&bit == 0 {
		c.pending[w].Or(bit)
	}
	if bit := uint64(1) << w; c.work.Load()&bit == 0 {
		c.work.Or(bit)
	}
}

// Attend makes the owner's next Poll look for peers that have gone, and wakes it.
func (c *Control) Attend(w Waker) {
	c.work.Or(attention)
	c.bell(w)
}

// Closed tells whether the port went off the wire in good order.
func (c *Control) Closed() bool { return c.closed.Load() != 0 }
