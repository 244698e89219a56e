package nicrt

import (
	"errors"
	"slices"

	"outboard/verbs"
)

// peer is a member of the mesh.
type peer struct {
	out     *verbs.QP // where Send may put a message now: nil if not connected, lost, or if requests wait before it
	qp      *verbs.QP
	err     error   // why it is gone, or cannot be reached
	msgs    uint64  // messages received to the end
	waiting []int32 // requests for which its queue pair had no room
	addr    string
	knocked bool // it has sent before its address was known
}

// sendDepth is how many reads and long messages one connection has outstanding; more wait in the NIC.
const sendDepth = 32

// SetPeer tells the address of a member. It must be known before the first message to or from it, but for the
// NIC's own, which is. The error is an *ArgumentError.
func (n *NIC) SetPeer(i int, addr string) error {
	n.Lock()
	defer n.Unlock()
	if !n.isPeer(i) {
		return n.peerArgument("SetPeer", i)
	}
	n.peers[i].addr = addr
	if n.peers[i].knocked {
		n.connect(i)
	}
	n.rouse() // messages may have waited for this
	return nil
}

// connect makes the connection to peer i, if it is not there, and reports whether it can be used.
func (n *NIC) connect(i int) bool {
	p := &n.peers[i]
	if p.qp != nil || p.err != nil {
		return p.err == nil
	}
	if p.addr == "" || n.closed {
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
	p.qp, p.out = qp, qp
	return true
}

// bring takes a queue pair from RESET to RTS, towards this NIC's endpoint at the peer.
func (n *NIC) bring(qp *verbs.QP, addr string) error {
	a := verbs.QPAttr{Port: 1, Access: verbs.RemoteRead | verbs.RemoteWrite, AV: addr, PathMTU: n.eagerMax + HeaderLen,
		DestQPN: verbs.QPNOf(n.self), MaxRdAtomic: 16, MaxDestRdAtomic: 16, RNRRetry: 7, RetryCnt: 7}
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

// OnDown adds a function that is told when a peer has gone. It runs with the lock held,
// in the middle of what the NIC does, so it must not start anything.
func (n *NIC) OnDown(f func(peer int, err error)) {
	n.Lock()
	defer n.Unlock()
	n.onDown = append(n.onDown, f)
}

// Down handles the loss of a peer, as the wire or a queue pair reports it.
func (n *NIC) Down(tag int32, err error) {
	p := &n.peers[tag]
	if p.err != nil || n.closed {
		return
	}
	p.err = &PeerError{Peer: int(tag), Err: err}
	p.out = nil
	for _, f := range n.onDown { // before what was pending fails for it
		f(int(tag), p.err)
	}
	n.failWaiting(p)
	n.down = append(n.down, tag)
	if !n.machine.busy { // else a handler is in the middle of a message
		n.mourn()
	}
	n.exec.failPeer(int(tag), err)
	n.Completed()
	n.eng.Again()
}

// mourn tells the machine of the peers that are gone.
func (n *NIC) mourn() {
	for len(n.down) > 0 {
		tag := n.down[0]
		n.down = slices.Delete(n.down, 0, 1)
		n.machine.peerDown(tag)
	}
}

// PeerErr is why a peer is gone, a *PeerError, or nil. The caller holds the lock.
func (n *NIC) PeerErr(peer int) error {
	if !n.isPeer(peer) {
		return n.peerArgument("PeerErr", peer)
	}
	return n.peers[peer].err
}

var errNoAddress = errors.New("its address is not known")

// reach connects to a peer for a request, or says why that is not possible.
func (n *NIC) reach(call string, peer int) error {
	switch {
	case !n.isPeer(peer):
		return n.peerArgument(call, peer)
	case n.closed:
		return ErrClosed
	case n.connect(peer):
		return nil
	case n.peers[peer].err != nil:
		return n.peers[peer].err
	}
	return &PeerError{Peer: peer, Err: errNoAddress}
}

// disconnect ends all connections, and with ErrClosed what was under way on them.
func (n *NIC) disconnect() {
	for i := range n.peers {
		p := &n.peers[i]
		p.out = nil
		if p.qp != nil {
			n.eng.Fail(p.qp, "the NIC is closed")
		}
		n.failWaiting(p)
	}
	n.collect(noRequest)
}
