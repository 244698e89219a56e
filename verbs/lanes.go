package verbs

import (
	"errors"
	"slices"
	"strings"
	"time"

	"outboard/verbs/fabric"
	"outboard/verbs/internal/ib"
)

// Packets that belong to no connection, the datagrams of UD and of QP1, travel on lanes: one-way connections between two ports.
// A lane is made when it is first needed, from any endpoint of the sender to a free one of the last of the receiver. When these
// become scarce the receiver closes lanes on which nothing has come for a while, so that they serve any number of peers in turn.
type lanes struct {
	c     *Context
	first int     // endpoint of the first lane that peers send on
	in    []*lane // those lanes; nil where closed
	out   []*lane // lanes to peers, by number; nil where closed
	to    map[string]*lane
	scant bool // too few of those that peers send on are free, and none is idle
	// Neighbours: ports that have been heard of, this one first, then in order. Empty in byLID: more than one port has it.
	known []string
	byGID map[GID]string
	byLID map[uint16]string
}

// lane is one end of a lane.
type lane struct {
	conn fabric.Conn
	peer string    // that it leads to
	num  int       // of such a lane
	used time.Time // when something came, on the other end
}

const (
	maxLanes      = 32                     // that peers send on
	spareLanes    = maxLanes / 4           // of these that are kept free, if others are idle
	laneIdle      = 100 * time.Millisecond // makes a lane idle
	laneLook      = 1 << 10                // polls between looks for idle lanes when they are scant
	minEndpoints  = 128                    // of a port that has lanes
	maxNeighbours = 4096
	maxAddrLen    = 200 // fabric.Port.Addr

	// In the fabric's cookie.
	laneCookie = 1 << 31
	laneOut    = 1 << 30
)

// laneCount is the number of a port's endpoints that are lanes.
func laneCount(endpoints int) int {
	if endpoints < minEndpoints {
		return 0
	}
	return maxLanes
}

func (l *lanes) init(c *Context, endpoints int) {
	n := laneCount(endpoints)
	*l = lanes{c: c, first: endpoints - n, in: make([]*lane, n), to: map[string]*lane{}, byGID: map[GID]string{}, byLID: map[uint16]string{}}
	l.learn(c.port.Addr())
}

// has tells whether the endpoint is a lane's that peers send on.
func (l *lanes) has(endpoint int) bool { return endpoint >= l.first && len(l.in) > 0 }

// learn remembers a port.
func (l *lanes) learn(addr string) {
	if l.byGID[ib.GIDOf(addr)] != "" {
		return
	}
	if len(l.known) == maxNeighbours {
		l.forget()
	}
	l.known = append(l.known, addr)
	l.list(addr)
}

// forget forgets the half of the neighbours that was heard of first. Those that are still there say so with their next management datagram.
func (l *lanes) forget() {
	l.known = slices.Delete(l.known, 1, maxNeighbours/2)
	clear(l.byGID)
	clear(l.byLID)
	for _, addr := range l.known {
		l.list(addr)
	}
}

// list has a port found by its identifiers.
func (l *lanes) list(addr string) {
	l.byGID[ib.GIDOf(addr)], l.byGID[ib.LinkLocal(addr)] = addr, addr
	lid := ib.LIDOf(addr)
	if _, twice := l.byLID[lid]; twice {
		addr = ""
	}
	l.byLID[lid] = addr
}

// find finds or makes the lane to a port. An error says that there is no way to it now.
func (l *lanes) find(addr string) (*lane, error) {
	if x := l.to[addr]; x != nil {
		return x, nil
	}
	return l.join(addr)
}

// join makes a lane to a free endpoint of the port at addr.
func (l *lanes) join(addr string) (*lane, error) {
	if len(l.in) == 0 {
		return nil, fabric.ErrNoEndpoint // nobody could answer
	}
	num := slices.Index(l.out, nil)
	if num < 0 {
		num = len(l.out)
		l.out = append(l.out, nil)
	}
	conn, err := l.c.openEndpoint(fabric.Any, laneCookie|laneOut|uint32(num))
	if err != nil {
		return nil, err
	}
	for i := range maxLanes {
		if err = conn.Connect(addr, -1-i); !errors.Is(err, fabric.ErrInUse) {
			break
		}
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	x := &lane{conn: conn, peer: addr, num: num}
	l.out[num], l.to[addr] = x, x
	l.hello(x) // a new ring has room
	return x, nil
}

// hello says whose packets come on a lane.
func (l *lanes) hello(x *lane) {
	h := &l.c.header
	*h = fabric.Header{Op: msgHello}
	x.conn.Send(h, []byte(l.c.port.Addr()), nil)
}

// introduce says once more who is here to the port at addr: what was said when the lane was made may be lost, and nobody
// answers whom he does not know. The error is that of find.
func (l *lanes) introduce(addr string) error {
	if x := l.to[addr]; x != nil {
		l.hello(x)
		return nil
	}
	_, err := l.find(addr)
	return err
}

// leave gives a lane back.
func (l *lanes) leave(x *lane) {
	delete(l.to, x.peer)
	l.out[x.num] = nil
	_ = x.conn.Close()
}

// knock opens a lane that a peer has joined.
func (l *lanes) knock(endpoint int) {
	i := endpoint - l.first
	if l.in[i] != nil {
		return
	}
	conn, err := l.c.port.Open(endpoint, laneCookie|uint32(i))
	if err != nil {
		return // its last peer has not left it: the new one knocks again
	}
	conn.Grant(fabric.Grant{Ready: true})
	l.in[i] = &lane{conn: conn, used: l.c.now()}
	l.makeRoom()
}

// makeRoom closes idle lanes, the longest idle first, until enough are free.
func (l *lanes) makeRoom() {
	for {
		taken, oldest := 0, -1
		for i, x := range l.in {
			if x == nil {
				continue
			}
			taken++
			if oldest < 0 || x.used.Before(l.in[oldest].used) {
				oldest = i
			}
		}
		l.scant = taken > maxLanes-spareLanes
		if !l.scant || l.c.now().Sub(l.in[oldest].used) < laneIdle {
			return
		}
		l.close(oldest)
	}
}

// close closes a lane that peers send on.
func (l *lanes) close(i int) {
	if x := l.in[i]; x != nil {
		l.in[i] = nil
		_ = x.conn.Close()
	}
}

// down closes the lane of a cookie, whose peer has left it.
func (l *lanes) down(cookie uint32, err error) {
	i := int(cookie &^ (laneCookie | laneOut))
	switch {
	case cookie&laneOut == 0:
		l.close(i)
	case i < len(l.out) && l.out[i] != nil:
		x := l.out[i]
		l.leave(x)
		if l.c.onDown != nil && (errors.Is(err, fabric.ErrPeerDied) || !l.reach(x.peer)) {
			l.c.onDown(x.peer, 0, err)
		}
	}
}

// reach tells whether there is a port at addr.
func (l *lanes) reach(addr string) bool {
	conn, err := l.c.openEndpoint(fabric.Any, laneCookie|laneOut|uint32(len(l.out)))
	if err != nil {
		return true // for all that is known
	}
	err = conn.Connect(addr, -1)
	_ = conn.Close()
	return err == nil || errors.Is(err, fabric.ErrInUse)
}

// packet takes what comes on a lane of a cookie: nothing is refused.
func (l *lanes) packet(cookie uint32, h *fabric.Header, p []byte) {
	if cookie&laneOut != 0 {
		return // nobody has been asked to send there
	}
	l.in[cookie&^laneCookie].used = l.c.now()
	switch h.Op {
	case msgHello:
		if len(p) > 0 && len(p) <= maxAddrLen {
			l.learn(strings.Clone(string(p)))
		}
	case msgPacket:
		l.c.dispatch(p)
	}
}

// send puts a sealed packet on the lane to addr. It returns false if there is no room now; without a way to the port the packet
// is lost.
func (l *lanes) send(addr string, p []byte) bool {
	x, err := l.find(addr)
	if err != nil {
		return true
	}
	h := &l.c.header
	*h = fabric.Header{Op: msgPacket}
	if !x.conn.Send(h, p, nil) {
		return false
	}
	l.c.hw.SentPkts++
	l.c.traced(p)
	return true
}
