package unit

import "errors"

// contexts are those that have ended, and why. Most questions are about one that has not, and are answered
// without the map: contexts are numbered densely, so two rarely share a bit.
type contexts struct {
	bits [64]uint64
	why  map[uint32]error
}

// errEnded stands for the reason of a context that was ended without one.
var errEnded = errors.New("context has ended")

func (c *contexts) end(ctx uint32, why error) {
	if c.why == nil {
		c.why = map[uint32]error{}
	}
	c.why[ctx] = why
	c.bits[ctx/64%64] |= 1 << (ctx % 64)
}

// err is why a context has ended, or nil.
func (c *contexts) err(ctx uint32) error {
	if c.bits[ctx/64%64]>>(ctx%64)&1 == 0 {
		return nil
	}
	return c.why[ctx]
}
