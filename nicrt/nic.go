package nicrt

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"outboard/verbs"
	"outboard/verbs/fabric"
)

// A NIC is the runtime on one device context. It belongs to a mesh of NICs,
// numbered from 0, each of which can reach all: endpoint i of a member's port is
// for member i. Connections are made when the first message needs them.
//
// A NIC starts no goroutine and has no clock: it runs on whichever thread
// polls, waits or posts, under its lock. Methods that say so are
// called with the lock held: from a handler, from a callback of the NIC, or between Lock and
// Unlock.
type NIC struct {
	ctx     *verbs.Context
	eng     verbs.Engine
	pd      *verbs.PD
	cq      *verbs.CQ
	self    int
	mtu     int
	peers   []peer
	machine *machine
	workers *hpuWorkers
	exec    *exec
	memory  *memory
	reads   readTable
	exposed []*verbs.MR // by index of their key
	onPoll  []func()
	onDown  []func(peer int, err error)
	closed  bool

	in packet // the packet being delivered
	wr verbs.SendWR
	sg [1]verbs.SGE
	wc [16]verbs.WC
	hb [HeaderLen]byte
}

// peer is a member of the mesh.
type peer struct {
	addr    string
	knocked bool // it has sent before its address was known
	qp      *verbs.QP
	err     error // why it is gone, or cannot be reached
	msgs    uint64
	hdr     Header // of the message being received
}

// Config says how to open a NIC. Zero fields take their default.
type Config struct {
	// Port is the NIC's attachment to the wire. The NIC owns it from then on and closes it.
	// Its endpoints 0 to Peers-1 must be reserved.
	Port fabric.Port
	// Self is this NIC's number in the mesh of Peers.
	Self, Peers int
	// Memory is the NIC memory in bytes, 4 MiB unless given.
	Memory int
	// Wait is how waiting goroutines lend their thread, the fabric's default unless given.
	Wait *verbs.WaitPolicy
}

// ErrClosed is returned by what a closed NIC cannot do.
var ErrClosed = errors.New("nicrt: NIC is closed")

// Open makes a NIC.
func Open(c Config) (*NIC, error) {
	switch {
	case c.Peers < 1 || c.Self < 0 || c.Self >= c.Peers:
		return nil, fmt.Errorf("nicrt: member %d of a mesh of %d: expected a number from 0 to members-1", c.Self, c.Peers)
	case c.Memory < 0:
		return nil, fmt.Errorf("nicrt: NIC memory of %d bytes: expected 0 for the default, or more", c.Memory)
	}
	ctx, err := verbs.Open(c.Port)
	if err != nil {
		return nil, err
	}
	if c.Wait != nil {
		ctx.SetWait(*c.Wait)
	}
	n := &NIC{ctx: ctx, eng: ctx.Engine(), self: c.Self, mtu: ctx.FabricAttr().MTU,
		peers: make([]peer, c.Peers)}
	if err := n.build(c); err != nil {
		ctx.Close()
		return nil, err
	}
	return n, nil
}

func (n *NIC) build(c Config) (err error) {
	if n.pd, err = n.ctx.AllocPD(); err != nil {
		return err
	}
	if n.cq, err = n.ctx.CreateCQ(c.Peers*sendDepth+sendDepth, nil); err != nil {
		return err
	}
	if c.Memory == 0 {
		c.Memory = defaultNICMemory
	}
	n.memory = newMemoryOf(c.Memory)
	start := time.Now()
	n.machine = newMachine(machineConfig{
		peers: c.Peers, memory: n.memory, maxSend: n.EagerMax(), port: machineWire{n},
		serialise: locker{n}, clock: func() time.Duration { return time.Since(start) },
	})
	n.workers = newHPUWorkers(n.machine, n.eng.Ring)
	if err := n.installExec(); err != nil {
		return err
	}
	n.eng.Lock()
	n.eng.Attach(n.afterPoll, n.knock)
	n.eng.Unlock()
	return nil
}

// locker gives the NIC's lock to the machine.
type locker struct{ n *NIC }

func (l locker) Lock()   { l.n.Lock() }
func (l locker) Unlock() { l.n.Unlock() }

// Addr is the address that the other members need, for SetPeer.
func (n *NIC) Addr() string { return n.ctx.Addr() }

// Self and Peers are this NIC's number and the size of the mesh.
func (n *NIC) Self() int  { return n.self }
func (n *NIC) Peers() int { return len(n.peers) }

// Context is the device context under the NIC.
func (n *NIC) Context() *verbs.Context { return n.ctx }

// EagerMax is the longest payload of a message that Send takes, in bytes: one packet.
func (n *NIC) EagerMax() int { return n.mtu - HeaderLen }

// SetPeer tells the address of a member. It must be known before the first message to or from it.
func (n *NIC) SetPeer(i int, addr string) {
	n.Lock()
	defer n.Unlock()
	n.peers[i].addr = addr
	if n.peers[i].knocked {
		n.connect(i)
	}
}

// Lock and Unlock enter and leave the NIC.
func (n *NIC) Lock()   { n.eng.Lock() }
func (n *NIC) Unlock() { n.eng.Unlock() }

// Poll runs the NIC once; the caller holds the lock.
func (n *NIC) Poll() { n.eng.Poll() }

// Spin runs the NIC for about a microsecond, or until f is not zero: an answer that is
// near comes without another turn of the lock, which the caller holds.
func (n *NIC) Spin(f *atomic.Uint32) { n.eng.Spin(f) }

// Wait runs the NIC on the caller's goroutine until f is not zero, or ctx is over; the error is ctx's. A nil ctx
// waits for ever.
func (n *NIC) Wait(ctx context.Context, f *atomic.Uint32) error { return n.eng.WaitFlag(ctx, f) }

// Completed tells the NIC that a host goroutine's wait may be over: whoever
// sets a flag that another goroutine waits for calls it, with the lock held.
func (n *NIC) Completed() { n.eng.Progressed() }

// Again has the functions of OnPoll run at the end of the next poll. The caller holds the lock.
func (n *NIC) Again() { n.eng.Again() }

// OnPoll adds a function that runs at the end of a poll in which packets arrived, or
// that follows a refused Send or Again; OnDown one that is told when a peer
// has gone. Both run with the lock held; OnDown in the middle of what the NIC does, so it must not start anything.
func (n *NIC) OnPoll(f func()) {
	n.Lock()
	defer n.Unlock()
	n.onPoll = append(n.onPoll, f)
}

func (n *NIC) OnDown(f func(peer int, err error)) {
	n.Lock()
	defer n.Unlock()
	n.onDown = append(n.onDown, f)
}

// Install puts a program on the NIC, to receive the messages whose Header.Program is id.
func (n *NIC) Install(id uint8, p Program) (*Installed, error) {
	n.Lock()
	defer n.Unlock()
	if n.closed {
		return nil, ErrClosed
	}
	return n.machine.install(id, p)
}

// Account is what the NIC has done so far.
func (n *NIC) Account() Account {
	n.Lock()
	defer n.Unlock()
	a := n.machine.account()
	a.BytesReduced += n.exec.stats.BytesReduced
	a.Runs, a.Ops = n.exec.stats.Runs, n.exec.stats.Ops
	a.Reads, a.BytesRead = n.reads.count, n.reads.bytes
	return a
}

// Close ends the NIC, its programs and its port.
func (n *NIC) Close() error {
	n.Lock()
	if n.closed {
		n.Unlock()
		return ErrClosed
	}
	n.closed = true
	for _, g := range n.exec.groups {
		if g != nil && g != goneGroup {
			n.exec.fallGroup(g, ErrClosed)
		}
	}
	n.machine.shutdown()
	n.Unlock()
	return n.ctx.Close()
}

// sendDepth is how many reads and long sends one connection has outstanding; more wait in the NIC.
const sendDepth = 32

// connect makes the connection to peer i, if it is not there, and reports whether it can be used.
func (n *NIC) connect(i int) bool {
	p := &n.peers[i]
	if p.qp != nil || p.err != nil {
		return p.err == nil
	}
	if p.addr == "" {
		return false
	}
	qp, err := n.eng.CreateQP(n.pd, verbs.QPInit{SendCQ: n.cq, RecvCQ: n.cq, Sink: n, Tag: int32(i),
		Cap: verbs.QPCap{SendWR: sendDepth, SendSGE: 2}}, i)
	if err == nil {
		err = n.bring(qp, p.addr)
	}
	if err != nil {
		n.Down(int32(i), err)
		return false
	}
	p.qp = qp
	return true
}

// bring takes a queue pair from RESET to RTS, towards this NIC's endpoint at the peer.
func (n *NIC) bring(qp *verbs.QP, addr string) error {
	a := verbs.QPAttr{Port: 1, Access: verbs.RemoteRead | verbs.RemoteWrite, AV: addr, PathMTU: n.mtu, DestQPN: verbs.QPNOf(n.self),
		MaxRdAtomic: 16, MaxDestRdAtomic: 16, RNRRetry: 7, RetryCnt: 7}
	for _, step := range []struct {
		to   verbs.State
		mask verbs.AttrMask
	}{
		{verbs.Init, verbs.AttrPKeyIndex | verbs.AttrPort | verbs.AttrAccess},
		{verbs.RTR, verbs.AttrAV | verbs.AttrPathMTU | verbs.AttrDestQPN | verbs.AttrRQPSN | verbs.AttrMaxDestRdAtomic | verbs.AttrMinRNRTimer},
		{verbs.RTS, verbs.AttrSQPSN | verbs.AttrTimeout | verbs.AttrRetryCnt | verbs.AttrRNRRetry | verbs.AttrMaxRdAtomic},
	} {
		a.State = step.to
		if err := n.eng.Modify(qp, a, step.mask|verbs.AttrState); err != nil {
			return err
		}
	}
	return nil
}

// knock answers a peer that sent before this side knew of it.
func (n *NIC) knock(ep int) {
	if ep < len(n.peers) && !n.closed {
		n.peers[ep].knocked = true
		n.connect(ep)
	}
}

// Packet takes one packet from the wire: the NIC is the sink of its queue pairs.
func (n *NIC) Packet(p *verbs.Packet) bool {
	pr := &n.peers[p.Tag]
	in := &n.in
	in.peer, in.first, in.last = p.Tag, p.First, p.Last
	if p.First {
		if len(p.Payload) < HeaderLen {
			n.machine.common.Strays++
			n.machine.common.drop(len(p.Payload))
			return true
		}
		in.hdr.Decode(p.Payload)
		in.offset, in.payload = 0, p.Payload[HeaderLen:]
	} else {
		in.offset, in.payload = uint64(p.Offset-HeaderLen), p.Payload
	}
	in.msg = pr.msgs
	if !n.machine.deliver(in) {
		return false
	}
	if p.Last {
		pr.msgs++
	}
	return true
}

// Down handles the loss of a peer, as the wire or a queue pair reports it.
func (n *NIC) Down(tag int32, err error) {
	p := &n.peers[tag]
	if p.err != nil || n.closed {
		return
	}
	p.err = &PeerError{Peer: int(tag), Err: err}
	for _, f := range n.onDown { // before what was pending fails for it
		f(int(tag), p.err)
	}
	n.reads.failPeer(n, int(tag), p.err)
	n.machine.peerDown(tag)
	n.exec.failPeer(int(tag), err)
	n.Completed()
}

// PeerErr is why a peer is gone, or nil. The caller holds the lock.
func (n *NIC) PeerErr(peer int) error { return n.peers[peer].err }

// Send gives a message of one packet, at most EagerMax bytes, to the wire at once. It
// returns false if there is no room now, or the peer is gone (PeerErr). The caller
// holds the lock, and may reuse payload on return.
func (n *NIC) Send(peer int, h *Header, payload []byte) bool {
	p := &n.peers[peer]
	if p.qp == nil && !n.connect(peer) || p.err != nil {
		n.eng.Again()
		return false
	}
	h.Encode(n.hb[:])
	if n.eng.SendNow(p.qp, n.hb[:], payload) {
		return true
	}
	n.eng.Again() // whoever waits for room is asked at every poll
	return false
}

// Expose lets the peers read b, until Conceal. The caller holds the lock.
func (n *NIC) Expose(b []byte) (addr uint64, key uint32, err error) {
	mr, err := n.eng.RegMR(n.pd, b, verbs.RemoteRead)
	if err != nil {
		return 0, 0, err
	}
	i := int(mr.RKey() >> 8)
	for i >= len(n.exposed) {
		n.exposed = append(n.exposed, nil)
	}
	n.exposed[i] = mr
	return mr.Addr(), mr.RKey(), nil
}

// Conceal ends Expose; when it returns nobody reads any more.
func (n *NIC) Conceal(key uint32) {
	if i := int(key >> 8); i < len(n.exposed) && n.exposed[i] != nil && n.exposed[i].RKey() == key {
		n.eng.DeregMR(n.exposed[i])
		n.exposed[i] = nil
	}
}

// afterPoll runs what is left when arrivals are dealt with. It returns how long the NIC may be left alone, 0 for
// as long as nothing arrives.
func (n *NIC) afterPoll() (nap time.Duration) {
	n.drain()
	if n.machine.isolated > 0 {
		n.workers.poll()
		nap, _ = n.workers.untilDeadline()
		n.eng.Again()
	}
	n.machine.kick()
	n.exec.kick()
	for _, f := range n.onPoll {
		f()
	}
	return nap
}

// machineWire is the NIC as the handler machine sees it.
type machineWire struct{ n *NIC }

func (w machineWire) send(peer int, h *Header, payload []byte) bool {
	return w.n.Send(peer, h, payload)
}

func (w machineWire) increment(counter uint32, by int64) error {
	return w.n.increment(counter, by)
}
