package nicrt

import (
	"errors"

	"outboard/verbs"
)

// A Reader is told when a read that did not finish at once has finished.
type Reader interface {
	// ReadDone runs with the NIC's lock held. err is nil, a *PeerError or a verbs.Status.
	ReadDone(token uint64, err error)
}

// readOp is a read in flight or waiting for room in its queue pair.
type readOp struct {
	reader Reader
	token  uint64
	peer   int32
	done   bool
	posted bool
	live   bool
	dst    []byte
	addr   uint64
	key    uint32
	err    error
}

// readTable numbers the reads in flight: a completion finds its read by index.
type readTable struct {
	ops     []readOp
	free    []int32
	waiting []int32 // not posted: the send queue was full
	count   uint64  // reads that were asked for
	bytes   uint64
}

func (t *readTable) add(op readOp) int32 {
	if k := len(t.free); k > 0 {
		i := t.free[k-1]
		t.free = t.free[:k-1]
		t.ops[i] = op
		return i
	}
	t.ops = append(t.ops, op)
	return int32(len(t.ops) - 1)
}

func (t *readTable) remove(i int32) {
	t.ops[i] = readOp{}
	t.free = append(t.free, i)
}

// Read copies len(dst) bytes at addr of the peer, in memory that it exposed
// under key, into dst, which is the NIC's until then. Where this
// process reaches the peer's memory that is one copy, now, and done is true;
// otherwise r hears of it. The caller holds the lock.
func (n *NIC) Read(peer int, dst []byte, addr uint64, key uint32, r Reader, token uint64) (done bool, err error) {
	if err := n.peers[peer].err; err != nil {
		return true, err
	}
	if !n.connect(peer) {
		return true, &PeerError{Peer: peer, Err: errors.New("address unknown")}
	}
	n.reads.count++
	n.reads.bytes += uint64(len(dst))
	i := n.reads.add(readOp{reader: r, token: token, peer: int32(peer), dst: dst, addr: addr, key: key, live: true})
	if !n.postRead(i) {
		n.reads.waiting = append(n.reads.waiting, i)
		n.eng.Again()
		return false, nil
	}
	n.collect(i)
	op := &n.reads.ops[i]
	if !op.done {
		return false, nil
	}
	err = op.err
	n.reads.remove(i)
	return true, err
}

// postRead gives a read to its queue pair, unless that is full.
func (n *NIC) postRead(i int32) bool {
	op := &n.reads.ops[i]
	n.sg[0] = verbs.SGE{Buf: op.dst, LKey: verbs.ReservedLKey}
	n.wr = verbs.SendWR{ID: uint64(i), Opcode: verbs.Read, Flags: verbs.Signaled, SG: n.sg[:], RemoteAddr: op.addr, RKey: op.key}
	err := n.eng.PostSend(n.peers[op.peer].qp, &n.wr)
	n.sg[0].Buf = nil
	if errors.Is(err, verbs.ErrQueueFull) {
		return false
	}
	op.posted = true
	if err != nil {
		op.done, op.err = true, err
	}
	return true
}

// collect takes completions from the queue. That of read self stays in its entry; the others' readers are told.
func (n *NIC) collect(self int32) {
	for {
		k := n.eng.TakeCQ(n.cq, n.wc[:])
		for i := range n.wc[:k] {
			n.completed(&n.wc[i], self)
		}
		if k < len(n.wc) {
			return
		}
	}
}

func (n *NIC) completed(wc *verbs.WC, self int32) {
	i := int32(wc.ID)
	op := &n.reads.ops[i]
	if !op.live || op.done {
		return
	}
	var err error
	if wc.Status != verbs.Success {
		err = &PeerError{Peer: int(op.peer), Err: wc.Status}
	}
	if i == self {
		op.done, op.err = true, err
		return
	}
	n.finishRead(i, err)
}

func (n *NIC) finishRead(i int32, err error) {
	op := n.reads.ops[i]
	n.reads.remove(i)
	op.reader.ReadDone(op.token, err)
	n.Completed()
}

// drain tells readers of what has completed and posts reads that waited.
func (n *NIC) drain() {
	if len(n.reads.ops) == len(n.reads.free) {
		return
	}
	n.collect(-1)
	for len(n.reads.waiting) > 0 {
		i := n.reads.waiting[0]
		if !n.postRead(i) {
			n.eng.Again()
			return
		}
		n.reads.waiting = n.reads.waiting[1:]
		if op := &n.reads.ops[i]; op.done {
			n.finishRead(i, op.err)
		}
	}
}

// failPeer ends the reads from a peer that is gone. Those posted have been flushed by their queue pair.
func (t *readTable) failPeer(n *NIC, peer int, err error) {
	keep := t.waiting[:0]
	var gone []int32
	for _, i := range t.waiting {
		if int(t.ops[i].peer) == peer {
			gone = append(gone, i)
		} else {
			keep = append(keep, i)
		}
	}
	t.waiting = keep
	for _, i := range gone {
		n.finishRead(i, err)
	}
}
