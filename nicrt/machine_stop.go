package nicrt

import "time"

// stop ends a program: no handler of it starts any more, its messages are
// gone, and what its handlers in progress ask for is refused. A fault says why
// and is reported; nil means that the host wants it.
func (m *machine) stop(in *Installed, fault *Fault) {
	if in.stopped {
		return
	}
	in.stopped, in.direct = true, false
	m.unqueue(in)
	for i := range int32(MaxMessages) {
		if m.flows.flows[i].in == in {
			m.dropFlow(i)
		}
	}
	for _, t := range m.hpus {
		if t.in == in && t.flow != noFlow {
			m.revoke(t)
		}
	}
	m.stalled.discard(in)
	if fault != nil {
		in.account.Faults++
		in.account.Stopped++
		in.failure.Store(fault)
		m.report(in, &Event{Kind: EventStopped, Handler: fault.Handler,
			Peer: fault.Peer, Message: fault.Message, Fault: fault})
	}
}

// unqueue removes the handlers of in from the clusters' queues.
func (m *machine) unqueue(in *Installed) {
	for i := range m.clusters {
		c := &m.clusters[i]
		for range c.n {
			r := c.pop()
			c.load--
			if r.in == in {
				if r.kind == PayloadHandler {
					in.account.drop(len(m.cells.cells[r.cell].payload))
				}
				m.unref(r.cell)
			} else {
				c.push(r)
			}
		}
	}
}

// dropFlow ends a message before its time.
func (m *machine) dropFlow(i int32) {
	f := &m.flows.flows[i]
	f.in.account.Dropped++
	for c := f.queue.head; c != noCell; c = m.cells.cells[c].next {
		f.in.account.drop(len(m.cells.cells[c].payload))
	}
	m.closeFlow(i)
}

// revoke cuts a running handler off: its result does not matter any more.
func (m *machine) revoke(t *Task) {
	t.flow = noFlow
	t.revoked.Store(true)
	if t.port != nil {
		t.port.revoked(t)
	}
}

// overrun stops the program of t, whose handler has taken longer than its
// budget and has not returned. Its HPU goes to others with a new Task; what the
// handler can still reach stays allocated until done is called for t.
func (m *machine) overrun(t *Task, took time.Duration) {
	t.abandoned = true
	if !t.in.stopped {
		m.stop(t.in, t.fault(&BudgetError{Took: took, Budget: t.in.budget}, ""))
	}
	m.freeHPU(t)
	m.dispatch()
}
