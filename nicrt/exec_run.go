package nicrt

import "runtime/debug"

// run is one run of a compiled schedule, or several rounds of it one after the
// other. The object serves many runs; gen tells them apart.
type run struct {
	c      *Compiled
	g      *group
	gen    uint32
	seq    uint32 // number of the present round
	last   uint32 // number of the last round
	left   int    // operations of the round not yet finished
	mem    [spaces][]byte
	kernel func(dst, src []byte)
	done   *Completion

	state []opState
	queue []int32 // operations in the order in which they became ready
	begun int     // how many of them have begun

	reads  int // reads under way into memory of the run
	parked bool
	dead   bool // failed; ends when no read is under way any more
	err    error
}

// opState is the state of one operation in the present round.
type opState struct {
	count   int32 // its counter
	phase   opPhase
	exposed bool   // a Send whose source the peer may read
	key     uint32 // with which
	addr    uint64 // and where
	msg     *kept  // a receive's message, if it had to be kept
}

// opPhase says how far an operation has come.
type opPhase uint8

const (
	opWaits  opPhase = iota // its counter is below the threshold
	opReady                 // released: waits for its message or for room on the wire
	opMoving                // its payload is being read, here or by the peer
	opDone
)

// bump increments an operation's counter and reports whether that releases it:
// whether the counter has reached the threshold. It then takes the threshold
// off again, so that the counter is ready for the next round.
func (s *opState) bump(threshold int32) bool {
	s.count++
	if s.count < threshold {
		return false
	}
	s.count -= threshold
	return true
}

// runRef names a run from outside. It may be kept after the run has ended.
type runRef struct {
	run *run
	gen uint32
}

// start starts a run of a schedule, or a sequence of rounds of it on the same
// buffers, which take as many places in the group's order. in and out are as
// long as the schedule says, and belong to the run until done is; kernel does
// dst = dst op src for equal lengths, and is needed only if the schedule
// reduces. The error is a *StartError if the run was not started.
func (g *group) start(c *Compiled, in, out []byte, kernel func(dst, src []byte), rounds int, done *Completion) (runRef, error) {
	if err := g.admissible(c, in, out, kernel, rounds, done); err != nil {
		return runRef{}, err
	}
	var scratch []byte
	if n := c.schedule.Scratch; n > 0 {
		var err error
		if scratch, err = g.e.cfg.memory.alloc(n); err != nil {
			return runRef{}, g.refusal(c, "scratch memory", err)
		}
	}
	done.begin()
	r := g.e.newRun(c)
	r.g, r.kernel, r.done = g, kernel, done
	r.mem[Input], r.mem[Output], r.mem[Scratch] = in, out, scratch
	r.seq, r.last = g.next, g.next+uint32(rounds)-1
	g.next += uint32(rounds)
	g.active++
	ref := runRef{r, r.gen}
	if len(g.parked) > 0 || !g.admits(r.seq) {
		g.park(r)
	} else if g.enter(r) {
		g.e.step(r)
	}
	if len(g.e.later) > 0 {
		g.e.catchUp()
	}
	return ref, nil
}

// admissible checks the arguments of start.
func (g *group) admissible(c *Compiled, in, out []byte, kernel func(dst, src []byte), rounds int, done *Completion) error {
	if c == nil || done == nil {
		return &StartError{Group: g.id, Reason: "schedule or completion is nil"}
	}
	s := c.schedule
	switch {
	case g.err != nil:
		return g.refusal(c, "the group can do no more", g.err)
	case s.Peers != len(g.peers) || s.Self != int(g.self):
		return g.refusalf(c, "it is for member %d of %d, and this is member %d of %d", s.Self, s.Peers, g.self, len(g.peers))
	case len(in) != s.Input:
		return g.refusalf(c, "input of %d bytes, expected %d", len(in), s.Input)
	case len(out) != s.Output:
		return g.refusalf(c, "output of %d bytes, expected %d", len(out), s.Output)
	case kernel == nil && c.reduces:
		return g.refusalf(c, "it reduces, and no kernel is given")
	case c.reduces && s.elem() > g.e.cfg.chunk:
		return g.refusalf(c, "elements of %d bytes, expected at most the %d reduced at a time", s.elem(), g.e.cfg.chunk)
	case rounds < 1 || rounds > 1<<30:
		return g.refusalf(c, "%d rounds, expected 1 to 2^30", rounds)
	case done.pending:
		return g.refusal(c, "completion is pending", ErrBusy)
	}
	return nil
}

// newRun takes a run object for a schedule.
func (e *exec) newRun(c *Compiled) *run {
	var r *run
	if n := len(e.idle); n > 0 {
		r = e.idle[n-1]
		e.idle = e.idle[:n-1]
	} else {
		r = new(run)
	}
	n := len(c.ops)
	if cap(r.state) < n {
		r.state, r.queue = make([]opState, n), make([]int32, n)
	}
	r.c, r.state, r.queue = c, r.state[:n], r.queue[:n]
	return r
}

// reset prepares a round. The counters of a round that was run to its end are
// back at zero by themselves.
func (r *run) reset() {
	clear(r.state)
	r.left = len(r.state)
	r.begun = 0
	r.queue = r.queue[:copy(r.queue[:r.left], r.c.roots)]
}

// step begins operations that are ready until none is, and rounds until the
// last one. The caller does not touch the run afterwards: it may have ended.
func (e *exec) step(r *run) {
	for {
		for r.begun < len(r.queue) {
			i := r.queue[r.begun]
			r.begun++
			if !e.begin(r, i) {
				return
			}
		}
		if r.left > 0 || !r.g.endRound(r) {
			return
		}
	}
}

// begin begins an operation that has been released. It reports whether the run
// lives on.
func (e *exec) begin(r *run, i int32) bool {
	o, st := &r.c.ops[i], &r.state[i]
	st.phase = opReady
	switch o.kind {
	case Send:
		return e.push(r, i)
	case Recv, RecvReduce:
		if st.msg == nil {
			return true
		}
		return e.consume(r, i)
	case Reduce:
		if err := e.combine(r, o.reverse, r.dst(o), r.src(o)); err != nil {
			return e.fail(r, int(i), -1, err)
		}
	case Copy:
		copy(r.dst(o), r.src(o))
	}
	r.finish(i)
	return true
}

// src and dst give the memory of an operation's spans. Compile has checked the
// spans, and start the memory.
func (r *run) src(o *compiledOp) []byte {
	return r.mem[o.srcSpace][o.srcOff : o.srcOff+o.srcLen : o.srcOff+o.srcLen]
}

func (r *run) dst(o *compiledOp) []byte {
	return r.mem[o.dstSpace][o.dstOff : o.dstOff+o.dstLen : o.dstOff+o.dstLen]
}

// finish ends an operation and increments the counters of those that wait for it.
func (r *run) finish(i int32) {
	r.state[i].phase = opDone
	r.left--
	o := &r.c.ops[i]
	for _, n := range r.c.next[o.nextAt:o.nextEnd] {
		if r.state[n].bump(r.c.ops[n].need) {
			r.queue = append(r.queue, n)
		}
	}
}

// push sends the message of a Send, or offers it to the receiver if it is long.
// It reports whether the run lives on.
func (e *exec) push(r *run, i int32) bool {
	o := &r.c.ops[i]
	src := r.src(o)
	if len(src) > e.cfg.eagerMax {
		return e.offer(r, i, src)
	}
	if !e.send(r.g, int(o.peer), msgEager, runTag(r.seq, o.slot), src) {
		e.stall(r, i)
		return true
	}
	e.stats.Sends++
	e.stats.BytesSent += uint64(len(src))
	r.finish(i)
	return true
}

// stall puts a Send aside until there is room on the wire.
func (e *exec) stall(r *run, i int32) {
	e.stats.Retries++
	e.stalled = append(e.stalled, stall{r, r.gen, i})
}

// consume takes the message that was kept for a receive that is now ready. It
// reports whether the run lives on.
func (e *exec) consume(r *run, i int32) bool {
	st := &r.state[i]
	k := st.msg
	if k.hdr.Op == msgRequest {
		st.phase = opMoving
		return e.pump(r, i)
	}
	st.msg = nil
	err := e.land(r, &r.c.ops[i], 0, k.payload())
	e.pool.drop(k)
	if err != nil {
		return e.fail(r, int(i), -1, err)
	}
	r.finish(i)
	return true
}

// land puts received bytes, which begin at byte off of the message, where they
// belong. It does not change them.
func (e *exec) land(r *run, o *compiledOp, off int, msg []byte) error {
	dst := r.dst(o)[off:][:len(msg):len(msg)]
	switch {
	case o.kind == Recv:
		copy(dst, msg)
		return nil
	case o.srcLen == 0:
		return e.combine(r, o.reverse, dst, msg)
	}
	first, second := r.src(o)[off:][:len(msg):len(msg)], msg
	if o.reverse {
		first, second = second, first
	}
	copy(dst, first)
	return e.combine(r, false, dst, second)
}

// combine does dst = dst op src, or dst = src op dst in reverse, which takes a
// detour because kernels write their first operand.
func (e *exec) combine(r *run, reverse bool, dst, src []byte) error {
	e.stats.BytesReduced += uint64(len(dst))
	if !reverse {
		return callKernel(r.kernel, dst, src)
	}
	if e.temp == nil {
		temp, err := e.cfg.memory.alloc(e.cfg.chunk)
		if err != nil {
			return err
		}
		e.temp = temp
	}
	piece := e.pieceLen(r)
	for len(dst) > 0 {
		n := min(piece, len(dst))
		t := e.temp[:n:n]
		copy(t, src)
		if err := callKernel(r.kernel, t, dst[:n:n]); err != nil {
			return err
		}
		copy(dst, t)
		dst, src = dst[n:], src[n:]
	}
	return nil
}

// pieceLen gives the number of bytes to reduce at a time: whole elements.
func (e *exec) pieceLen(r *run) int { return e.cfg.chunk - e.cfg.chunk%r.c.schedule.elem() }

// callKernel calls a kernel, which may be the user's, and turns a panic into
// an error.
func callKernel(kernel func(dst, src []byte), dst, src []byte) (err error) {
	returned := false
	defer func() {
		if !returned { // recover itself costs more than the check
			err = &KernelError{Value: recover(), Stack: debug.Stack()}
		}
	}()
	kernel(dst, src)
	returned = true
	return nil
}
