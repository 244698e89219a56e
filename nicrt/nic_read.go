package nicrt

// A Reader is told when a read that did not finish at once has finished.
type Reader interface {
	// ReadDone runs with the NIC's lock held. err is nil, a *PeerError or ErrClosed.
	ReadDone(token uint64, err error)
}

// Read copies len(dst) bytes at addr of the peer, in memory that it exposed
// under key, into dst, which is the NIC's until then. Where this
// process reaches the peer's memory that is one copy, now, and done is true;
// otherwise r hears of it. An access that the peer does not allow ends the connection with it. The caller holds the lock.
func (n *NIC) Read(peer int, dst []byte, addr uint64, key uint32, r Reader, token uint64) (done bool, err error) {
	if err := n.reach("Read", peer); err != nil {
		return true, err
	}
	t := &n.requests
	t.reads++
	t.bytes += uint64(len(dst))
	i := t.take(request{reader: r, token: token, peer: int32(peer), data: dst, addr: addr, key: key})
	n.enter(i)
	n.collect(i)
	if op := &t.all[i]; op.ended {
		return true, t.remove(i).err
	}
	return false, nil
}
