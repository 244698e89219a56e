package verbs

import (
	"errors"
	"fmt"

	"outboard/verbs/fabric"
	"outboard/verbs/internal/ib"
)

// OnMAD has f take the management datagrams that come to queue pair 1, the general services interface (IBTA 13.5.1): 256 bytes
// that are valid until f returns, and the address of the port that sent them. f runs on the NIC, under its lock: it must not
// block nor call methods that lock. There is one taker: ErrBusy if there is another, until it is replaced by nil.
func (c *Context) OnMAD(f func(from string, mad []byte)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return opErr("register_agent", "", ErrDestroyed, "context is closed")
	case c.onMAD != nil && f != nil:
		return opErr("register_agent", "", ErrBusy, "queue pair 1 has a taker")
	}
	c.onMAD = f
	return nil
}

// OnDown has f told of what the wire says is gone: a way to the port at addr (qpn is 0), which may be open again at once; the
// connection of a queue pair of this side; or, with an empty address and ErrDestroyed, this context, which is closed. f runs as that of
// OnMAD, under the same rules, and there is one.
func (c *Context) OnDown(f func(addr string, qpn uint32, err error)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return opErr("register_agent", "", ErrDestroyed, "context is closed")
	case c.onDown != nil && f != nil:
		return opErr("register_agent", "", ErrBusy, "what goes down has a taker")
	}
	c.onDown = f
	return nil
}

// down tells the taker of OnDown.
func (c *Context) down(addr string, qpn uint32, err error) {
	if c.onDown != nil {
		c.onDown(addr, qpn, err)
	}
}

// SendMAD sends a management datagram of 256 bytes to queue pair 1 of the port at an address. Like any datagram it can be
// lost: nil does not mean that it arrives. ErrUnresolved if there is no port at the address.
func (c *Context) SendMAD(to string, mad []byte) error {
	const op = "send_mad"
	if len(mad) != ib.MADLen {
		return opErr(op, "", ErrInvalid, "datagram of %d bytes: expected %d", len(mad), ib.MADLen)
	}
	if to == "" || len(to) > maxAddrLen {
		return opErr(op, "", ErrInvalid, "address of %d bytes: expected 1 to %d", len(to), maxAddrLen)
	}
	c.mu.Lock()
	defer c.unlock()
	if c.closed {
		return opErr(op, "", ErrDestroyed, "context is closed")
	}
	if err := c.lanes.introduce(to); errors.Is(err, fabric.ErrUnreachable) || errors.Is(err, fabric.ErrAddress) {
		return &Error{Op: op, Object: to, Err: fmt.Errorf("%w: %w", ErrUnresolved, err)}
	}
	h := &c.ibHeader
	*h = ib.Header{Src: c.gids[0], Dst: ib.LinkLocal(to), HopLimit: defaultHops, Opcode: ib.UDSendOnly, PKey: pkeyTable[0], DestQP: ib.QP1,
		PSN: c.madSeq, QKey: ib.GSIQKey, SrcQP: ib.QP1, MigReq: true}
	c.madSeq = ib.PSNAdd(c.madSeq, 1)
	p := ib.Seal(append(h.Append(c.frame[:0], len(mad)), mad...))
	c.lanes.send(to, p)
	return nil
}

// recvMAD takes a datagram to queue pair 1.
func (c *Context) recvMAD(h *ib.Header, mad []byte) {
	from := c.lanes.byGID[h.Src]
	if c.onMAD == nil || h.Opcode != ib.UDSendOnly || h.QKey != ib.GSIQKey || len(mad) != ib.MADLen || from == "" {
		c.hw.Dropped++
		return
	}
	c.onMAD(from, mad)
}
