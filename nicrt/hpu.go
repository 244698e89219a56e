package nicrt

import (
	"math/bits"
	"time"
)

// A taskRunner runs handlers. run makes t.execute happen, now or later and on
// any goroutine; after that the caller of the machine must call done.
type taskRunner interface{ run(t *Task) }

// inlineTasks runs each handler at once, on the machine's thread.
type inlineTasks struct{ machine *machine }

func (r *inlineTasks) run(t *Task) {
	start := r.machine.config.clock()
	t.execute()
	r.machine.done(t, r.machine.config.clock()-start)
}

// An hpuCluster is a group of HPUs with one queue of handlers to run.
type hpuCluster struct {
	queue []handlerRequest // a ring
	head  int
	n     int
	idle  uint64 // a bit for each HPU
	load  int    // requests queued and running
}

// A handlerRequest is a handler that is to run.
type handlerRequest struct {
	in   *Installed
	kind HandlerKind
	flow int32
	cell int32 // owned by the request, or noCell
}

func (c *hpuCluster) full() bool { return c.n == len(c.queue) }

func (c *hpuCluster) push(r handlerRequest) {
	c.queue[(c.head+c.n)%len(c.queue)] = r
	c.n++
	c.load++
}

func (c *hpuCluster) pop() handlerRequest {
	r := c.queue[c.head]
	c.queue[c.head] = handlerRequest{}
	c.head = (c.head + 1) % len(c.queue)
	c.n--
	return r
}

func (m *machine) initHPUs() {
	c := &m.config
	c.hpus = min(c.hpus, maxHPUsPerCluster)
	m.clusters = make([]hpuCluster, c.clusters)
	m.hpus = make([]*Task, c.clusters*c.hpus)
	for i := range m.clusters {
		m.clusters[i] = hpuCluster{queue: make([]handlerRequest, c.queue), idle: 1<<c.hpus - 1}
	}
	for i := range m.hpus {
		m.renewHPU(i)
	}
}

// renewHPU gives HPU i a fresh Task; the old one may still be in the hands of
// a handler that was abandoned.
func (m *machine) renewHPU(i int) {
	m.hpus[i] = &Task{machine: m, flow: noFlow, cell: noCell, hpu: int32(i), cluster: int32(i / m.config.hpus)}
}

// place returns the cluster for a handler of message msg: its home, given by
// the low bits of its number, if there is room, else the one with the least
// load, else nil. The message then waits until any cluster has room; PsPIN
// would hold its scheduler until the home cluster has.
func (m *machine) place(msg uint64) *hpuCluster {
	home := &m.clusters[msg%uint64(len(m.clusters))]
	if !home.full() {
		return home
	}
	var least *hpuCluster
	for i := range m.clusters {
		if c := &m.clusters[i]; !c.full() && (least == nil || c.load < least.load) {
			least = c
		}
	}
	return least
}

// dispatch moves handlers from messages to queues and from queues to idle
// HPUs until nothing more fits.
func (m *machine) dispatch() {
	if m.busy {
		return
	}
	m.busy = true
	for m.startQueued() || m.issueNext() {
	}
	m.busy = false
}

// startQueued starts one queued handler on an idle HPU of its cluster, or
// returns false.
func (m *machine) startQueued() bool {
	for i := range m.clusters {
		c := &m.clusters[i]
		if c.n == 0 || c.idle == 0 {
			continue
		}
		hpu := bits.TrailingZeros64(c.idle)
		c.idle &^= 1 << hpu
		r := c.pop()
		t := m.hpus[i*m.config.hpus+hpu]
		t.begin(r.in, r.kind, r.flow, r.cell)
		r.in.running++
		r.in.account.started(r.kind)
		m.runner.run(t)
		return true
	}
	return false
}

// issueNext puts the next ready message's handler into a queue, or returns
// false.
func (m *machine) issueNext() bool {
	turn := m.ready.turn
	i := m.ready.next()
	if i == noFlow {
		return false
	}
	c := m.place(m.flows.flows[i].msg)
	if c == nil {
		m.ready.turn = turn
		return false
	}
	c.push(m.issue(i))
	m.settle(i)
	return true
}

// issue takes from flow i, which is ready, the handler that is next.
func (m *machine) issue(i int32) handlerRequest {
	f := &m.flows.flows[i]
	r := handlerRequest{in: f.in, flow: i, cell: noCell}
	switch f.state {
	case flowHeader:
		f.state = flowHeaderRunning
		r.kind, r.cell = HeaderHandler, f.queue.head
		m.cells.cells[r.cell].refs++
	case flowPayload:
		r.kind, r.cell = PayloadHandler, f.queue.pop(&m.cells)
		f.inFlight++
	case flowCompletion:
		f.state = flowCompletionRunning
		r.kind, r.cell = CompletionHandler, f.last
		f.last = noCell
	}
	return r
}

// settle moves flow i through the states that need no handler and notes
// whether it has one to run.
func (m *machine) settle(i int32) {
	f := &m.flows.flows[i]
	if f.state == flowPayload {
		if f.verdict != Process || f.in.program.Payload == nil {
			m.absorbQueued(f)
		}
		if f.ended && f.queue.head == noCell {
			f.state = flowPayloadDraining
		}
	}
	if f.state == flowPayloadDraining && f.inFlight == 0 {
		if f.in.program.Completion == nil {
			m.closeFlow(i)
			return
		}
		f.state = flowCompletion
	}
	m.ready.set(i, f.state == flowHeader || f.state == flowCompletion ||
		f.state == flowPayload && f.queue.head != noCell)
}

// absorbQueued absorbs the packets of f that no payload handler is to see.
func (m *machine) absorbQueued(f *flow) {
	for f.queue.head != noCell {
		c := f.queue.pop(&m.cells)
		m.absorb(f, &m.cells.cells[c].packet)
		m.unref(c)
	}
}

// done ends the task t, whose handler has returned after so long.
func (m *machine) done(t *Task, took time.Duration) {
	in := t.in
	in.running--
	in.account.HandlerTime += took
	in.tally.matches += t.own.matches
	in.tally.reduced += t.own.reduced
	if budget := in.budget; budget > 0 && took > budget {
		t.fail(&BudgetError{Took: took, Budget: budget})
	}
	if t.flow != noFlow {
		m.conclude(t)
	}
	m.unref(t.cell)
	t.flow, t.cell = noFlow, noCell
	if !t.abandoned {
		m.freeHPU(t)
	}
	m.reclaim(in)
	m.dispatch()
}

// freeHPU makes the HPU of t idle.
func (m *machine) freeHPU(t *Task) {
	if t.revoked.Load() {
		m.renewHPU(int(t.hpu))
	}
	c := &m.clusters[t.cluster]
	c.idle |= 1 << (int(t.hpu) % m.config.hpus)
	c.load--
}

// conclude moves the flow of t on by what its handler decided.
func (m *machine) conclude(t *Task) {
	i := t.flow
	f := &m.flows.flows[i]
	if allowed := t.kind == CompletionHandler || t.verdict < Retry; !allowed {
		t.fail(&VerdictError{t.verdict})
	}
	if t.cause != nil {
		t.flow = noFlow
		m.stop(t.in, t.fault(t.cause, t.stack))
		return
	}
	switch t.kind {
	case HeaderHandler:
		m.judgeHeader(f, t)
	case PayloadHandler:
		f.inFlight--
		m.judgePayload(f, t.verdict, len(t.packet.payload))
	case CompletionHandler:
		m.closeFlow(i)
		return
	}
	m.settle(i)
}

// judgeHeader carries out the verdict of f's header handler.
func (m *machine) judgeHeader(f *flow, t *Task) {
	f.state, f.steer = flowPayload, t.steer
	if f.failed { // its peer was lost meanwhile
		return
	}
	switch f.verdict = t.verdict; t.verdict {
	case Drop:
		f.in.account.Dropped++
	case Fail:
		m.failFlow(f, EventFailed, HeaderHandler)
	}
}

// closeFlow frees flow i.
func (m *machine) closeFlow(i int32) {
	f := &m.flows.flows[i]
	if i == singleFlow {
		*f = flow{}
		return
	}
	m.ready.set(i, false)
	for f.queue.head != noCell {
		m.unref(f.queue.pop(&m.cells))
	}
	m.unref(f.last)
	m.flows.close(i)
}
