package nicrt

import "fmt"

func (g *group) refusal(c *Compiled, reason string, err error) error {
	return &StartError{Schedule: c.schedule.Name, Group: g.id, Reason: reason, Err: err}
}

func (g *group) refusalf(c *Compiled, format string, args ...any) error {
	return g.refusal(c, fmt.Sprintf(format, args...), nil)
}

// fail fails a run at an operation and a member (-1 if it is not about one) and
// tells the members that take part in it: they would wait for ever. It returns
// false, for "the run does not live on".
func (e *exec) fail(r *run, op, member int, cause error) bool {
	e.fall(r, op, member, cause, true)
	return false
}

// fall fails a run. Its completion follows when no read is under way into its
// memory any more.
func (e *exec) fall(r *run, op, member int, cause error, tell bool) {
	if r.dead {
		return
	}
	g := r.g
	r.dead = true
	r.gen++ // nothing that waits finds it any more
	r.err = &RunError{Schedule: r.c.schedule.Name, Group: g.id, Self: int(g.self), Run: r.seq, Op: op, Peer: member, Err: cause}
	e.stats.Failed++
	g.failures = true
	if !r.parked {
		e.letGo(r)
		g.vacate(r)
	}
	if tell {
		for _, m := range r.c.partners {
			if int(m) != member || cause != ErrAborted {
				e.tell(g, int(m), msgAbortRun, runTag(r.last, 0))
			}
		}
	}
	if r.reads == 0 {
		e.retire(r)
	}
}

// letGo releases what the operations of a run hold.
func (e *exec) letGo(r *run) {
	for i := range r.state {
		st := &r.state[i]
		if st.exposed {
			e.wire.conceal(st.key)
			st.exposed = false
		}
		if st.msg != nil {
			e.pool.drop(st.msg)
			st.msg = nil
		}
	}
}

// retire ends a run: its memory goes back, and the host is told.
func (e *exec) retire(r *run) {
	g, done, err := r.g, r.done, r.err
	g.active--
	if scratch := r.mem[Scratch]; scratch != nil {
		e.cfg.memory.release(scratch)
	}
	r.mem[Input], r.mem[Output], r.mem[Scratch] = nil, nil, nil
	r.kernel, r.done = nil, nil
	if !r.parked { // else it keeps its place among the parked
		e.recycle(r)
	}
	done.finish(err)
	e.cfg.finished()
	if len(g.parked) > 0 {
		g.unpark()
	}
}

// recycle makes a run object ready for another run.
func (e *exec) recycle(r *run) {
	r.gen++
	r.c, r.g, r.err, r.dead, r.parked = nil, nil, nil, false, false
	e.idle = append(e.idle, r)
}

// abortRun fails the run that another member gave up, now or when it is started.
func (g *group) abortRun(member int, last uint32) {
	if g.ended(last) {
		return
	}
	if int32(last-g.next) < 0 {
		for i := range g.ring {
			if r := g.ring[i].run; r != nil && r.last == last {
				g.e.fail(r, -1, member, ErrAborted)
				return
			}
		}
		for _, r := range g.parked {
			if r.last == last {
				g.e.fail(r, -1, member, ErrAborted)
				return
			}
		}
		return // it has ended here
	}
	g.takeAborted(last)
	if g.aborted = append(g.aborted, last); len(g.aborted) > maxAborted {
		g.e.failGroup(g, fmt.Errorf("members report more than %d failed runs: %w", maxAborted, ErrAborted))
	}
}

// abortGroup gives up the group because another member has.
func (g *group) abortGroup(member int) {
	g.e.fallGroup(g, fmt.Errorf("member %d gave the group up: %w", member, ErrAborted))
}

// cancel fails a run, if it has not ended.
func (e *exec) cancel(ref runRef, cause error) {
	if ref.run != nil && ref.run.gen == ref.gen {
		e.fail(ref.run, -1, -1, cause)
	}
}

// failGroup gives a group up: every run of it fails, here and at the other
// members, and none can be started any more.
func (e *exec) failGroup(g *group, cause error) {
	if g.err != nil {
		return
	}
	e.fallGroup(g, cause)
	for m := range g.peers {
		if m != int(g.self) {
			e.tell(g, m, msgAbortGroup, 0)
		}
	}
}

// fallGroup gives a group up without a word to the others.
func (e *exec) fallGroup(g *group, cause error) {
	if g.err != nil {
		return
	}
	g.err = cause
	g.failures = true
	for i := range g.ring {
		if r := g.ring[i].run; r != nil {
			e.fall(r, -1, -1, cause, false)
		}
	}
	parked := g.parked
	g.parked = nil
	for _, r := range parked {
		e.fall(r, -1, -1, cause, false)
		e.recycle(r)
	}
	g.forget()
}

// shut gives up all groups without a word to the others.
func (e *exec) shut(cause error) {
	for _, g := range e.groups {
		if g != nil && g != goneGroup {
			e.fallGroup(g, cause)
		}
	}
}

// failPeer gives up all groups that a lost peer is a member of.
func (e *exec) failPeer(peer int, cause error) {
	if e.inWire {
		e.later = append(e.later, lateNews{peer: peer, err: cause})
		return
	}
	e.losePeer(peer, cause)
	e.catchUp()
}

func (e *exec) losePeer(peer int, cause error) {
	if peer < 0 || e.lost(peer) != nil {
		return
	}
	for peer >= len(e.failed) {
		e.failed = append(e.failed, nil)
	}
	e.failed[peer] = cause
	left := e.control[:0]
	for _, c := range e.control {
		if int(c.peer) != peer {
			left = append(left, c)
		}
	}
	e.control = left
	for _, g := range e.groups {
		if g != nil && g != goneGroup && g.has(peer) {
			e.failGroup(g, &PeerError{Peer: peer, Err: cause})
		}
	}
}

// has reports whether a peer of the NIC is another member of the group.
func (g *group) has(peer int) bool {
	for m, p := range g.peers {
		if int(p) == peer && m != int(g.self) {
			return true
		}
	}
	return false
}
