package nicrt

import (
	"errors"
	"slices"

	"outboard/verbs"
)

// A request is a work request of the NIC's own that takes a while: a read from
// a peer's memory, or a message of more than one packet.
type request struct {
	peer  int32
	live  bool
	ended bool // completed while it was being posted
	err   error
	data  []byte // read into, or sent

	sent *Completion      // of a message; nil for a read
	hdr  *[HeaderLen]byte // of a message; stays with the entry

	reader Reader // of a read, as are the rest
	token  uint64
	addr   uint64
	key    uint32
}

// noRequest is the index of no request.
const noRequest = -1

// requestTable numbers the requests under way: a completion finds its own by index.
type requestTable struct {
	all   []request
	free  []int32
	live  int
	stuck []int32 // peers with requests that wait
	reads uint64  // asked for
	bytes uint64  // that they asked for
}

// take makes an entry for r.
func (t *requestTable) take(r request) int32 {
	t.live++
	r.live = true
	if k := len(t.free); k > 0 {
		i := t.free[k-1]
		t.free = t.free[:k-1]
		r.hdr = t.all[i].hdr
		t.all[i] = r
		return i
	}
	t.all = append(t.all, r)
	return int32(len(t.all) - 1)
}

// remove frees an entry and gives what it held.
func (t *requestTable) remove(i int32) request {
	r := t.all[i]
	t.all[i] = request{hdr: r.hdr}
	t.free = append(t.free, i)
	t.live--
	return r
}

// enter posts request i to its peer's queue pair, or has it wait there.
func (n *NIC) enter(i int32) {
	peer := n.requests.all[i].peer
	p := &n.peers[peer]
	if len(p.waiting) == 0 && n.postRequest(i) {
		return
	}
	if len(p.waiting) == 0 {
		n.requests.stuck = append(n.requests.stuck, peer)
	}
	p.waiting = append(p.waiting, i)
	p.out = nil
	n.eng.Again()
}

// postRequest gives a request to its queue pair, unless that is full.
func (n *NIC) postRequest(i int32) bool {
	r := &n.requests.all[i]
	n.wr = verbs.SendWR{ID: uint64(i), Flags: verbs.Signaled}
	if r.sent == nil {
		n.sg[0] = verbs.SGE{Buf: r.data, LKey: verbs.ReservedLKey}
		n.wr.Opcode, n.wr.SG, n.wr.RemoteAddr, n.wr.RKey = verbs.Read, n.sg[:1], r.addr, r.key
	} else {
		n.sg[0] = verbs.SGE{Buf: r.hdr[:], LKey: verbs.ReservedLKey}
		n.sg[1] = verbs.SGE{Buf: r.data, LKey: verbs.ReservedLKey}
		n.wr.Opcode, n.wr.SG = verbs.Send, n.sg[:]
	}
	err := n.eng.PostSend(n.peers[r.peer].qp, &n.wr)
	n.sg = [2]verbs.SGE{}
	if errors.Is(err, verbs.ErrQueueFull) {
		return false
	}
	if err != nil {
		r = &n.requests.all[i] // the table may have grown meanwhile
		r.ended, r.err = true, err
	}
	return true
}

// collect takes completions from the queue. That of request self stays in its entry; the others end, and
// whoever is told may come back here.
func (n *NIC) collect(self int32) {
	var wc [4]verbs.WC
	for {
		k := n.eng.TakeCQ(n.cq, wc[:])
		for i := range wc[:k] {
			n.completed(int32(wc[i].ID), wc[i].Status, self)
		}
		if k < len(wc) {
			return
		}
	}
}

func (n *NIC) completed(i int32, status verbs.Status, self int32) {
	r := &n.requests.all[i]
	if !r.live || r.ended {
		return
	}
	var err error
	if status != verbs.Success {
		err = n.requestError(r.peer, status)
	}
	if i == self {
		r.ended, r.err = true, err
		return
	}
	n.finish(i, err)
}

// requestError is the error of a request that its queue pair gave up.
func (n *NIC) requestError(peer int32, status verbs.Status) error {
	switch {
	case n.closed:
		return ErrClosed
	case status == verbs.WRFlushErr && n.peers[peer].err != nil:
		return n.peers[peer].err
	}
	return &PeerError{Peer: int(peer), Err: status}
}

// finish ends request i and tells whoever waits for it.
func (n *NIC) finish(i int32, err error) {
	r := n.requests.remove(i)
	if r.sent != nil {
		r.sent.finish(err)
	} else {
		r.reader.ReadDone(r.token, err)
	}
	n.Completed()
}

// advance ends the requests that have completed and posts those that waited.
func (n *NIC) advance() {
	n.collect(noRequest)
	for k := len(n.requests.stuck); k > 0; k-- {
		peer := n.requests.stuck[0]
		n.requests.stuck = slices.Delete(n.requests.stuck, 0, 1)
		if !n.unstick(&n.peers[peer]) {
			n.requests.stuck = append(n.requests.stuck, peer)
			n.eng.Again()
		}
	}
}

// unstick posts the requests that wait for a peer, and reports whether none is left.
func (n *NIC) unstick(p *peer) bool {
	for len(p.waiting) > 0 {
		i := p.waiting[0]
		p.waiting = slices.Delete(p.waiting, 0, 1) // first: if the peer is lost now, those left end with it
		if !n.postRequest(i) {
			p.waiting = slices.Insert(p.waiting, 0, i)
			return false
		}
		if r := &n.requests.all[i]; r.ended {
			n.finish(i, r.err)
		}
	}
	if p.err == nil {
		p.out = p.qp
	}
	return true
}

// failWaiting ends the requests that wait for a peer that is gone. Those posted have been flushed by their queue pair.
func (n *NIC) failWaiting(p *peer) {
	err := p.err
	if n.closed {
		err = ErrClosed
	}
	gone := p.waiting
	p.waiting = nil
	for _, i := range gone {
		n.finish(i, err)
	}
}
