package ring

// The state word says who holds the two ends. The receiver's end is closed,
// open, or retired: closed while a sender is still there. The sender's end is free, claimed, or
// finished: the sender has left and its packets may wait. The upper half
// is the process of the sender, so that the receiver can find out whether it lives.
//
//	                 receiver closed     open          retired
//	sender free      nothing in it       waits for     -
//	                                     a sender
//	sender claimed   packets wait        in use        the sender
//	                                                   should leave
//	sender finished  packets wait        drain, then   -
//	                                     down
//
// Where the table has a dash the ring is wiped and is closed and free again. Who leaves
// last wipes; the wiping bit keeps others out meanwhile.
const (
	rxOpen     = 1 << 0
	rxRetired  = 1 << 1
	txClaimed  = 1 << 2
	txFinished = 1 << 3
	wiping     = 1 << 4

	rxMask = rxOpen | rxRetired
	txMask = txClaimed | txFinished
)

// Claim takes the sender's end for a process. It fails if somebody has it, or had it and
// the receiver has not yet drained and closed the ring.
func (r Ring) Claim(pid uint32) bool {
	for {
		s := r.ctl.state.Load()
		if s&(txMask|rxRetired|wiping) != 0 {
			return false
		}
		if r.ctl.state.CompareAndSwap(s, s&rxMask|txClaimed|uint64(pid)<<32) {
			return true
		}
	}
}

// Finish gives the sender's end back. What was sent stays for the receiver.
func (r Ring) Finish() {
	r.ctl.hazard.Store(0)
	for {
		s := r.ctl.state.Load()
		if s&txClaimed == 0 || s&wiping != 0 {
			return
		}
		next, wipe := s&^txMask|txFinished, false
		if s&rxRetired != 0 || s&rxMask == 0 && r.slot(0).word.Load() == 0 {
			next, wipe = s|wiping, true
		}
		if r.ctl.state.CompareAndSwap(s, next) {
			if wipe {
				r.wipe()
			}
			return
		}
	}
}

// Open takes the receiver's end. It fails if it is taken, or if the
// sender of an earlier time has not left. With fresh it fails also if a sender is there.
func (r Ring) Open(fresh bool) bool {
	for {
		s := r.ctl.state.Load()
		if s&(rxMask|wiping) != 0 || fresh && s != 0 {
			return false
		}
		if r.ctl.state.CompareAndSwap(s, s|rxOpen) {
			return true
		}
	}
}

// Retire gives the receiver's end back; gone says that the sender is known not
// to live any more. It returns true if a live sender should be told.
func (r Ring) Retire(gone bool) (tell bool) {
	for {
		s := r.ctl.state.Load()
		if s&rxOpen == 0 {
			return false
		}
		claimed := s&txClaimed != 0 && !gone
		next := s | wiping
		if claimed {
			next = s&^rxOpen | rxRetired
		}
		if r.ctl.state.CompareAndSwap(s, next) {
			if !claimed {
				r.wipe()
			}
			return claimed
		}
	}
}

// Recover wipes a ring that a sender which has died holds back from being opened. The
// receiver's side calls it, with its end closed.
func (r Ring) Recover() {
	for {
		s := r.ctl.state.Load()
		if s&(rxRetired|wiping) == 0 {
			return
		}
		if r.ctl.state.CompareAndSwap(s, s|wiping) {
			r.wipe()
			return
		}
	}
}

// Sender returns the process that holds, or held, the sender's end; claimed tells
// whether it still does, as far as it said.
func (r Ring) Sender() (pid uint32, claimed bool) {
	s := r.ctl.state.Load()
	return uint32(s >> 32), s&txClaimed != 0
}

// Finished tells whether the sender has left. What it sent before is visible to
// the caller once this returns true.
func (r Ring) Finished() bool { return r.ctl.state.Load()&txFinished != 0 }

// Retired tells whether the receiver has left while the sender holds its end.
func (r Ring) Retired() bool { return r.ctl.state.Load()&rxRetired != 0 }

// Stuck tells whether the receiver can't open the ring before a sender has done its part.
func (r Ring) Stuck() bool { return r.ctl.state.Load()&(rxRetired|wiping) != 0 }

// Closed tells whether the receiver's end is closed and not retired.
func (r Ring) Closed() bool { return r.ctl.state.Load()&rxMask == 0 }

// wipe makes the ring as new. The caller has set the wiping bit.
func (r Ring) wipe() {
	c := r.ctl
	c.quiet.Store(0)
	c.tail.Store(0)
	c.hazard.Store(0)
	c.originLen.Store(0)
	c.grant.ready.Store(0)
	c.grant.pd.Store(0)
	c.grant.access.Store(0)
	c.grant.seq.Store(0)
	for i := range r.geo.Slots {
		r.slot(uint64(i)).word.Store(0)
	}
	c.state.Store(0)
}
