package nicrt

// ScheduleProgram is the number of the program that runs schedules, which every NIC has.
const ScheduleProgram = 0

// execEagerMax is the longest message of a schedule that is sent with its data, where a
// packet holds it.
const execEagerMax = 8 << 10

// installExec puts the schedule executor on the NIC, as one more resident program.
func (n *NIC) installExec() error {
	var err error
	n.exec, err = newExec(execConfig{program: ScheduleProgram, wire: execWire{n}, memory: execMem{n.memory},
		eagerMax: min(execEagerMax, n.EagerMax()), finished: n.Completed})
	if err != nil {
		return err
	}
	_, err = n.machine.install(ScheduleProgram, Program{Name: "schedules", Resident: true, Header: n.scheduleMessage})
	return err
}

// scheduleMessage is the header handler of schedules: every message is one packet.
func (n *NIC) scheduleMessage(t *Task) Verdict {
	p := t.packet
	if !p.first || !p.last {
		return Fail
	}
	taken, err := n.exec.deliver(int(p.peer), &p.hdr, p.payload)
	switch {
	case !taken:
		return Retry
	case err != nil:
		return Fail
	}
	return Process
}

// execWire is the NIC as the executor sees it.
type execWire struct{ n *NIC }

func (w execWire) send(peer int, h *Header, payload []byte) bool { return w.n.Send(peer, h, payload) }

func (w execWire) expose(_ int, b []byte) (uint64, uint32, error) { return w.n.Expose(b) }

func (w execWire) conceal(key uint32) { w.n.Conceal(key) }

func (w execWire) read(peer int, dst []byte, addr uint64, key uint32, token uint64) (bool, error) {
	return w.n.Read(peer, dst, addr, key, execReader{w.n.exec}, token)
}

type execReader struct{ e *exec }

func (r execReader) ReadDone(token uint64, err error) {
	// An error here is of a message that came with the data; the run has it too.
	_ = r.e.readDone(token, err)
}

// execMem gives NIC memory to schedules, and host memory when that is used up: a schedule runs
// slower then, but it runs.
type execMem struct{ m *memory }

func (x execMem) alloc(b int) ([]byte, error) {
	if p, err := x.m.alloc(b); err == nil {
		return p, nil
	}
	return make([]byte, b), nil
}

func (x execMem) release(b []byte) {
	if cap(b) > 0 && x.m.contains(b) {
		x.m.release(b)
	}
}

// A Group is an ordered set of the mesh's members that run schedules together (see Schedule). Its members agree on the
// id, and start the same schedules in the same order. Its methods are
// called with the NIC's lock held.
type Group struct{ g *group }

// Group makes a group of which member i is peer peers[i]; this NIC is member self. The caller holds the lock.
func (n *NIC) Group(id uint32, peers []int, self int) (*Group, error) {
	if n.closed {
		return nil, ErrClosed
	}
	for _, p := range peers {
		if !n.isPeer(p) {
			return nil, n.peerArgument("Group", p)
		}
	}
	g, err := n.exec.group(id, peers, self)
	if err != nil {
		return nil, err
	}
	return &Group{g}, nil
}

// Start starts a run of a schedule. in and out are as long as the schedule says, and belong to the
// run until done reports its end; kernel does dst = dst op src for equal lengths, and is needed only if the
// schedule reduces. The error is a *StartError if the run was not started.
func (g *Group) Start(c *Compiled, in, out []byte, kernel func(dst, src []byte), done *Completion) error {
	_, err := g.g.start(c, in, out, kernel, 1, done)
	return err
}

// Repeat starts a run that repeats itself: rounds times the schedule on the same buffers, one after the other, with no help from the host.
func (g *Group) Repeat(c *Compiled, in, out []byte, kernel func(dst, src []byte), rounds int, done *Completion) error {
	_, err := g.g.start(c, in, out, kernel, rounds, done)
	return err
}

// Fail ends all runs of the group, here and on the other members, and lets no more start.
func (g *Group) Fail(cause error) { g.g.e.failGroup(g.g, cause) }

// Close gives up a group whose runs have ended.
func (g *Group) Close() error { return g.g.close() }
