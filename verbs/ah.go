package verbs

import (
	"encoding/binary"
	"slices"
)

// An AH is an address handle: where datagrams go (IBTA 10.2.2.3).
type AH struct {
	pd   *PD
	attr AHAttr
	addr string // as the fabric has it
	gid  GID    // and the GID that follows from it, of the same index as this side's
	dead bool
}

// AHAttr names a destination port (ibv_ah_attr): by its address, or by one of its GIDs or its LID if this
// context has heard of the port before.
type AHAttr struct {
	Addr string // Context.Addr of the destination
	DGID GID    // used if Addr is empty
	DLID uint16 // used if Addr is empty and DGID zero
	Port uint8  // of this side: 1
	GRH  GRH
}

// CreateAH makes an address handle (ibv_create_ah(3)). ErrUnresolved for a GID or LID of which no port has been heard;
// ErrInvalid for attributes out of range or no destination; ErrLimit if the device has no more; ErrDestroyed after Close.
func (c *Context) CreateAH(pd *PD, a AHAttr) (*AH, error) {
	const op = "create_ah"
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, opErr(op, "", ErrDestroyed, "context is closed")
	case !pd.liveIn(c):
		return nil, opErr(op, "", ErrInvalid, "protection domain is not a live one of this context")
	case a.Port != PortNum:
		return nil, opErr(op, "", ErrInvalid, "PORT %d: the device has port %d", a.Port, PortNum)
	case c.ahs >= c.limits.MaxAH:
		return nil, opErr(op, "", ErrLimit, "%d address handles, the most there can be", c.ahs)
	}
	if err := c.checkGRH(op, "", a.GRH); err != nil {
		return nil, err
	}
	addr, err := c.resolve(op, a)
	if err != nil {
		return nil, err
	}
	pd.refs++
	c.ahs++
	return &AH{pd: pd, attr: a, addr: addr, gid: gidsOf(addr)[a.GRH.SGIDIndex]}, nil
}

// CreateAHFromWC makes a handle to whoever sent the datagram that wc is the completion of; grh are the first 40 bytes
// of its buffers, whose path it follows back (ibv_create_ah_from_wc).
func (c *Context) CreateAHFromWC(pd *PD, port uint8, wc *WC, grh []byte) (*AH, error) {
	if wc == nil || wc.Flags&WithGRH == 0 || len(grh) < GRHLen {
		return nil, opErr("create_ah", "", ErrInvalid, "completion without a routing header, or %d bytes of it: expected %d", len(grh), GRHLen)
	}
	word := binary.BigEndian.Uint32(grh)
	a := AHAttr{Port: port, GRH: GRH{FlowLabel: word & (1<<20 - 1), TrafficClass: uint8(word >> 20), HopLimit: grh[7]}}
	copy(a.DGID[:], grh[8:24])
	i := slices.Index(c.gids[:], GID(grh[24:GRHLen]))
	if i < 0 {
		return nil, opErr("create_ah", "", ErrInvalid, "datagram to GID %v: the port has another", GID(grh[24:GRHLen]))
	}
	a.GRH.SGIDIndex = uint8(i)
	return c.CreateAH(pd, a)
}

// Query returns the attributes that the handle was made with.
func (a *AH) Query() (AHAttr, error) {
	a.pd.ctx.mu.Lock()
	defer a.pd.ctx.mu.Unlock()
	if a.dead || a.pd.ctx.closed {
		return AHAttr{}, opErr("query_ah", "", ErrDestroyed, "destroyed")
	}
	return a.attr, nil
}

// Destroy ends the handle. Requests that name it and are not complete go on. ErrDestroyed also when the context has closed.
func (a *AH) Destroy() error {
	c := a.pd.ctx
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.dead || c.closed {
		return opErr("destroy_ah", "", ErrDestroyed, "destroyed before")
	}
	a.dead = true
	a.pd.refs--
	c.ahs--
	return nil
}

// checkGRH checks what an address vector says of the routing header.
func (c *Context) checkGRH(op, object string, g GRH) *Error {
	switch {
	case int(g.SGIDIndex) >= len(c.gids):
		return opErr(op, object, ErrInvalid, "SGID_INDEX %d: expected 0 to %d", g.SGIDIndex, len(c.gids)-1)
	case g.FlowLabel >= 1<<20:
		return opErr(op, object, ErrInvalid, "FLOW_LABEL %#x: expected 20 bits", g.FlowLabel)
	}
	return nil
}

// resolve finds the fabric's address of a destination.
func (c *Context) resolve(op string, a AHAttr) (string, error) {
	switch {
	case a.Addr != "":
		if len(a.Addr) > maxAddrLen {
			return "", opErr(op, "", ErrInvalid, "address of %d bytes: expected at most %d", len(a.Addr), maxAddrLen)
		}
		c.lanes.learn(a.Addr)
		return a.Addr, nil
	case a.DGID != GID{}:
		if addr := c.lanes.byGID[a.DGID]; addr != "" {
			return addr, nil
		}
		return "", opErr(op, "", ErrUnresolved, "no port with GID %v has been heard of", a.DGID)
	case a.DLID != 0:
		if addr := c.lanes.byLID[a.DLID]; addr != "" {
			return addr, nil
		}
		return "", opErr(op, "", ErrUnresolved, "no port with LID %d has been heard of, or more than one", a.DLID)
	}
	return "", opErr(op, "", ErrInvalid, "no destination: expected an address, a GID or a LID")
}
