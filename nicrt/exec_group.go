package nicrt

import "fmt"

// group is an ordered set of peers that run schedules together. All members
// start the same runs in the same order, and number them 0, 1, 2 … modulo 2^32,
// so that a message finds its run by number.
//
// The runs base to base+len(ring)-1 are the window: they may be in progress.
// What the host starts beyond is parked. Messages are taken for any run to
// come, as far as memory for them goes: to refuse one would hold up the others
// from the same peer, on which older runs of this or another group may depend.
type group struct {
	e     *exec
	id    uint32
	self  uint16
	peers []int32 // by member: index of the peer on this NIC
	err   error   // why the group can do no more

	base uint32 // oldest run that has not ended, or next
	next uint32 // number of the run to be started next
	mask uint32 // len(ring)-1
	ring []runSlot

	parked  []*run   // in order of their numbers
	aborted []uint32 // last rounds of runs that other members gave up before they were started here
	active  int      // runs started and not yet ended

	failures bool // runs have failed
}

// runSlot is the place of one run number in the window.
type runSlot struct {
	run   *run     // if it is in progress
	skip  uint32   // run numbers that ended with this one: 0 if it has not ended
	early keptList // messages for runs to come, of all that will have this place
}

// maxAborted bounds group.aborted against members that only send aborts.
const maxAborted = 1024

// group makes a group of the NIC's peers, of which the self-th is this NIC.
// Members agree on the id, a small number because it indexes a table. It may be
// used again when all members have closed the group, unless runs of it have
// failed: then messages of the old group may still be under way.
func (e *exec) group(id uint32, peers []int, self int) (*group, error) {
	bad := func(format string, args ...any) (*group, error) {
		return nil, fmt.Errorf("nicrt: group %d: "+format, append([]any{id}, args...)...)
	}
	switch {
	case id >= maxGroups:
		return bad("id is too large, expected less than %d", maxGroups)
	case int(id) < len(e.groups) && e.groups[id] != nil && e.groups[id] != goneGroup:
		return bad("id is in use")
	case len(peers) < 1 || len(peers) > maxMembers:
		return bad("%d members, expected 1 to %d", len(peers), maxMembers)
	case self < 0 || self >= len(peers):
		return bad("self is %d of %d members", self, len(peers))
	}
	window := e.cfg.window
	g := &group{e: e, id: id, self: uint16(self), peers: make([]int32, len(peers)),
		mask: uint32(window - 1), ring: make([]runSlot, window)}
	for m, p := range peers {
		if p < 0 || p > 1<<31-1 {
			return bad("member %d is peer %d, expected an index of the NIC", m, p)
		}
		g.peers[m] = int32(p)
		if err := e.lost(p); err != nil && m != self && g.err == nil {
			g.err, g.failures = &PeerError{Peer: p, Err: err}, true
		}
	}
	for int(id) >= len(e.groups) {
		e.groups = append(e.groups, nil)
	}
	e.groups[id] = g
	g.adopt()
	return g, nil
}

// adopt takes over the messages that came before the group was made.
func (g *group) adopt() {
	e := g.e
	all := e.orphans
	e.orphans = keptList{}
	for k := all.pop(); k != nil; k = all.pop() {
		switch {
		case k.hdr.Ctx != g.id:
			e.orphans.push(k)
			continue
		case g.err != nil || !g.sentBy(int(k.peer), &k.hdr):
		case k.hdr.Op == msgEager || k.hdr.Op == msgRequest:
			g.ring[uint32(k.hdr.Tag>>32)&g.mask].early.push(k)
			continue
		case k.hdr.Op == msgAbortRun:
			g.abortRun(int(k.hdr.Aux), uint32(k.hdr.Tag>>32))
		case k.hdr.Op == msgAbortGroup:
			g.abortGroup(int(k.hdr.Aux))
		}
		e.pool.drop(k)
	}
}

// close gives the group up. Its runs must have ended. If none has failed then no
// message for it can be under way, so that what comes for its id is for a group
// to come.
func (g *group) close() error {
	if g.err == ErrGroupClosed {
		return nil
	}
	if g.active > 0 {
		return fmt.Errorf("nicrt: close of group %d with %d runs in progress: %w", g.id, g.active, ErrBusy)
	}
	g.err = ErrGroupClosed
	g.forget()
	g.e.groups[g.id] = nil
	if g.failures {
		g.e.groups[g.id] = goneGroup
	}
	return nil
}

// forget drops the messages kept for runs to come.
func (g *group) forget() {
	for i := range g.ring {
		g.e.pool.dropAll(&g.ring[i].early)
	}
	g.aborted = nil
}

// tag gives the header's tag of a message of a run.
func runTag(seq, slot uint32) uint64 { return uint64(seq)<<32 | uint64(slot) }

// admits reports whether a run number is in the window.
func (g *group) admits(seq uint32) bool { return seq-g.base <= g.mask }

// ended reports whether a run number lies behind the window.
func (g *group) ended(seq uint32) bool { return int32(seq-g.base) < 0 }

// over reports whether a run has ended, be it behind the window or in it.
func (g *group) over(seq uint32) bool {
	return g.ended(seq) || g.admits(seq) && g.ring[seq&g.mask].skip != 0
}

// slide moves the window past the runs that have ended.
func (g *group) slide() {
	for g.base != g.next {
		s := &g.ring[g.base&g.mask]
		if s.skip == 0 {
			return
		}
		n := s.skip
		s.skip = 0
		g.base += n
		if n == 1 {
			continue
		}
		for i := uint32(1); i <= n && i <= g.mask+1; i++ {
			g.purge(&g.ring[(g.base-i)&g.mask])
		}
	}
}

// purge drops a slot's messages for runs that have ended.
func (g *group) purge(s *runSlot) {
	early := s.early
	s.early = keptList{}
	for k := early.pop(); k != nil; k = early.pop() {
		if g.over(uint32(k.hdr.Tag >> 32)) {
			g.e.pool.drop(k)
		} else {
			s.early.push(k)
		}
	}
}

// vacate gives up the places in the order that a failed run had yet to take.
func (g *group) vacate(r *run) {
	s := &g.ring[r.seq&g.mask]
	s.run, s.skip = nil, r.last-r.seq+1
	g.slide()
	g.purge(s)
}

// unpark lets the runs in that the window has reached.
func (g *group) unpark() {
	for g.err == nil && len(g.parked) > 0 && g.admits(g.parked[0].seq) {
		r := g.parked[0]
		n := copy(g.parked, g.parked[1:])
		g.parked[n] = nil
		g.parked = g.parked[:n]
		if r.dead { // while it was parked
			g.vacate(r)
			g.e.recycle(r)
			continue
		}
		if g.enter(r) {
			g.e.step(r)
		}
	}
}

// enter begins a round of a run within the window. It reports whether the run
// lives on.
func (g *group) enter(r *run) bool {
	s := &g.ring[r.seq&g.mask]
	s.run = r
	r.parked = false
	r.reset()
	if len(g.aborted) > 0 && g.takeAborted(r.last) {
		g.e.fail(r, -1, -1, ErrAborted)
		return false
	}
	if s.early.first == nil {
		return true
	}
	return g.takeEarly(r, s)
}

// takeEarly gives a round the messages that came before it. It reports whether
// the run lives on.
func (g *group) takeEarly(r *run, s *runSlot) bool {
	early := s.early
	s.early = keptList{}
	for k := early.pop(); k != nil; k = early.pop() {
		if uint32(k.hdr.Tag>>32) != r.seq {
			s.early.push(k)
			continue
		}
		i, err := r.expect(int(k.hdr.Aux), &k.hdr, k.payload(), &k.offer)
		if err != nil {
			for rest := early.pop(); rest != nil; rest = early.pop() {
				s.early.push(rest)
			}
			g.e.contradict(r, i, k.peer, &k.hdr, int(k.n), err)
			g.e.pool.drop(k)
			return false
		}
		r.state[i].msg = k
	}
	return true
}

// takeAborted reports whether another member gave up the run that ends with the
// given round, and forgets the runs that are over.
func (g *group) takeAborted(last uint32) bool {
	found := false
	left := g.aborted[:0]
	for _, a := range g.aborted {
		if a == last {
			found = true
		} else if !g.ended(a) {
			left = append(left, a)
		}
	}
	g.aborted = left
	return found
}

// endRound ends a round of a run, all of whose operations are finished. It
// reports whether the next one has begun.
func (g *group) endRound(r *run) bool {
	s := &g.ring[r.seq&g.mask]
	s.run, s.skip = nil, 1
	g.e.stats.Runs++
	g.e.stats.Ops += uint64(len(r.state))
	if r.seq == r.last {
		g.slide()
		g.e.retire(r)
		return false
	}
	r.seq++
	g.slide()
	if !g.admits(r.seq) {
		g.park(r)
		return false
	}
	gen := r.gen
	again := g.enter(r)
	if len(g.parked) > 0 {
		g.unpark()
	}
	return again && r.gen == gen
}

// park puts a run aside until the window reaches it. A repeating run that comes
// back is older than those that were never in.
func (g *group) park(r *run) {
	r.parked = true
	at := len(g.parked)
	for at > 0 && int32(r.seq-g.parked[at-1].seq) < 0 {
		at--
	}
	g.parked = append(g.parked, nil)
	copy(g.parked[at+1:], g.parked[at:])
	g.parked[at] = r
}
