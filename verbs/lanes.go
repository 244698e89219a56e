package verbs

import (
	"errors"
	"strings"

	"outboard/verbs/fabric"
	"outboard/verbs/internal/ib"
)

// Packets that belong to no connection, the datagrams of UD and of QP1, travel on lanes: connections between two ports,
// made when first needed, at the last endpoints of each. A lane receives from whoever has joined
// its endpoint and sends, if this side has joined one of a peer's, to that peer; the two need not be the same.
type lanes struct {
	c     *Context
	first int              // endpoint of lane 0
	conns []*lane          // by number, nil where closed
	out   map[string]*lane // by the peer's address
	// Neighbours: ports that have been heard of. Empty in byLID: more than one port has it.
	byGID map[GID]string
	byLID map[uint16]string
}

type lane struct {
	conn fabric.Conn
	peer string // that it sends to, or empty
}

const (
	maxLanes      = 32
	minEndpoints  = 128     // of a port that has lanes
	laneCookie    = 1 << 31 // in the fabric's cookie
	maxNeighbours = 4096
	maxAddrLen    = 200 // fabric.Port.Addr
)

func (l *lanes) init(c *Context, endpoints int) {
	*l = lanes{c: c, first: endpoints, out: map[string]*lane{}, byGID: map[GID]string{}, byLID: map[uint16]string{}}
	if endpoints >= minEndpoints {
		l.first = endpoints - maxLanes
		l.conns = make([]*lane, maxLanes)
	}
	l.learn(c.port.Addr())
}

// has tells whether the endpoint is a lane's.
func (l *lanes) has(endpoint int) bool { return endpoint >= l.first && len(l.conns) > 0 }

// learn remembers a port.
func (l *lanes) learn(addr string) {
	g := ib.GIDOf(addr)
	if l.byGID[g] != "" || len(l.byGID) >= maxNeighbours {
		return
	}
	l.byGID[g], l.byGID[ib.LinkLocal(addr)] = addr, addr
	lid := ib.LIDOf(addr)
	if _, twice := l.byLID[lid]; twice {
		addr = ""
	}
	l.byLID[lid] = addr
}

// open opens the endpoint of lane i.
func (l *lanes) open(i int) (*lane, error) {
	conn, err := l.c.port.Open(l.first+i, laneCookie|uint32(i))
	if err != nil {
		return nil, err
	}
	conn.Grant(fabric.Grant{Ready: true})
	l.conns[i] = &lane{conn: conn}
	return l.conns[i], nil
}

// to finds or makes the lane to a port. An error says that there is no way to it now.
func (l *lanes) to(addr string) (*lane, error) {
	if x := l.out[addr]; x != nil {
		return x, nil
	}
	err := fabric.ErrNoEndpoint
	for i, x := range l.conns {
		if x == nil {
			if x, err = l.open(i); err != nil {
				continue // its last peer has not left it
			}
		} else if x.peer != "" {
			continue
		}
		if err = l.join(x, addr); err == nil {
			return x, nil
		}
		break
	}
	return nil, err
}

// join connects a lane with a free one of the port at addr.
func (l *lanes) join(x *lane, addr string) (err error) {
	for i := range maxLanes {
		if err = x.conn.Connect(addr, -1-i); err == nil {
			x.peer, l.out[addr] = addr, x
			l.hello(x) // a new ring has room
			return nil
		}
		if !errors.Is(err, fabric.ErrInUse) {
			break
		}
	}
	return err
}

// hello says whose packets come on a lane.
func (l *lanes) hello(x *lane) {
	h := &l.c.header
	*h = fabric.Header{Op: opHello}
	x.conn.Send(h, []byte(l.c.port.Addr()), nil)
}

// introduce says once more who is here to the port at addr: what was said when the lane was made may be lost, and nobody
// answers whom he does not know. The error is that of to.
func (l *lanes) introduce(addr string) error {
	if x := l.out[addr]; x != nil {
		l.hello(x)
		return nil
	}
	_, err := l.to(addr)
	return err
}

// knock opens a lane that a peer has joined.
func (l *lanes) knock(endpoint int) {
	if i := endpoint - l.first; l.conns[i] == nil {
		_, _ = l.open(i) // if it cannot be opened now the peer knocks again
	}
}

// down closes a lane whose peer has gone.
func (l *lanes) down(i int, err error) {
	x := l.conns[i]
	if x == nil {
		return
	}
	delete(l.out, x.peer)
	l.conns[i] = nil
	_ = x.conn.Close()
	if x.peer != "" {
		l.c.down(x.peer, 0, err)
	}
}

// packet takes what comes on a lane: nothing is refused.
func (l *lanes) packet(h *fabric.Header, p []byte) {
	switch h.Op {
	case opHello:
		if len(p) <= maxAddrLen {
			l.learn(strings.Clone(string(p)))
		}
	case opPacket:
		l.c.dispatch(p)
	}
}

// dispatch gives a datagram to its queue pair, or to whoever listens at QP1.
func (c *Context) dispatch(p []byte) {
	if len(p) > len(c.inbox) {
		return // longer than any packet
	}
	p = c.inbox[:copy(c.inbox, p)] // the peer can still write to the wire
	h := &c.ibHeader
	payload, err := h.Parse(p)
	c.traced(p)
	c.hw.RcvdPkts++
	if err != nil {
		c.hw.ICRCErrors++
		return
	}
	if h.DestQP == gsiQPN {
		c.recvMAD(h, payload)
		return
	}
	q := c.byQPN(h.DestQP)
	if q == nil || q.init.Type != UD {
		c.hw.Dropped++
		return
	}
	q.recvDatagram(h, p, payload)
}

// byQPN finds a live queue pair.
func (c *Context) byQPN(n uint32) *QP {
	for _, q := range c.qps {
		if q != nil && q.qpn == n {
			return q
		}
	}
	return nil
}

// sendDatagram puts a sealed packet on the lane to addr. It returns false if there is no room now; without a way to the
// port the packet is lost.
func (c *Context) sendDatagram(addr string, p []byte) bool {
	x, err := c.lanes.to(addr)
	if err != nil {
		return true
	}
	h := &c.header
	*h = fabric.Header{Op: opPacket}
	if !x.conn.Send(h, p, nil) {
		return false
	}
	c.traced(p)
	return true
}
