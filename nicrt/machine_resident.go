package nicrt

// Resident programs run on the caller's thread, packet by packet, so that the
// order of handlers is the order of packets and nothing is ever queued.

// residentFirst takes the first packet of a message that needs more than
// deliverDirect gives.
func (m *machine) residentFirst(in *Installed, p *packet) bool {
	i := int32(singleFlow)
	if p.last {
		m.flows.flows[i].begin(in, p)
	} else if i = m.flows.open(in, p); i == noFlow {
		in.account.Refused++
		return false
	}
	f := &m.flows.flows[i]
	if in.program.Header != nil {
		f.state = flowHeaderRunning
		f.total = uint64(len(p.payload))
		v := m.runResident(i, HeaderHandler, p)
		f.total = 0
		switch taken := m.decideResident(f, v); {
		case in.stopped:
			in.account.countLost(p)
			return true
		case !taken:
			m.closeFlow(i)
			return false
		}
		f.state = flowPayload
	}
	m.countMessage(f)
	m.residentPacket(i, p)
	return true
}

// decideResident makes v, from the header handler that just returned, the
// verdict on f. False means that there is no such message: it is refused for
// now, or the program was stopped and f is free.
func (m *machine) decideResident(f *flow, v Verdict) bool {
	t := &m.inline
	if v > Retry {
		t.fail(&VerdictError{v})
	}
	if t.cause != nil {
		m.inlineFault()
		return false
	}
	f.steer = t.steer
	switch f.verdict = v; v {
	case Retry:
		f.in.account.Refused++
		return false
	case Fail:
		m.failFlow(f, EventFailed, HeaderHandler)
	case Drop:
		f.in.account.Dropped++
	}
	return true
}

// inlineFault stops the program of the handler that just returned, and frees
// its flows.
func (m *machine) inlineFault() {
	t := &m.inline
	fault := t.fault(t.cause, t.stack)
	t.cause, t.stack, t.steer = nil, "", steering{}
	m.stop(t.in, fault)
}

// residentPacket gives p, whose message is flow i, to the payload handler and,
// if it is the last, ends the message.
func (m *machine) residentPacket(i int32, p *packet) {
	f := &m.flows.flows[i]
	m.countPacket(f, p)
	if f.verdict != Process || f.in.program.Payload == nil {
		m.absorb(f, p)
	} else if !m.residentPayload(i, p) {
		return
	}
	if p.last {
		m.residentEnd(i, p)
	}
}

// residentPayload runs the payload handler. It returns false if that ended the
// program and with it the flow.
func (m *machine) residentPayload(i int32, p *packet) bool {
	f, t := &m.flows.flows[i], &m.inline
	v := m.runResident(i, PayloadHandler, p)
	if v >= Retry {
		t.fail(&VerdictError{v})
	}
	if t.cause != nil {
		f.in.account.drop(len(p.payload))
		m.inlineFault()
		return false
	}
	m.judgePayload(f, v, len(p.payload))
	return true
}

// judgePayload carries out a payload handler's verdict on a packet of n bytes.
func (m *machine) judgePayload(f *flow, v Verdict, n int) {
	switch v {
	case Drop:
		f.dropped += uint64(n)
		f.in.account.drop(n)
	case Fail:
		f.dropped += uint64(n)
		f.in.account.drop(n)
		m.failFlow(f, EventFailed, PayloadHandler)
	}
}

// residentEnd runs the completion handler of flow i on its last packet, nil if
// there is none, and ends the message.
func (m *machine) residentEnd(i int32, p *packet) {
	in := m.flows.flows[i].in
	if in.program.Completion != nil {
		m.runResident(i, CompletionHandler, p)
		if m.inline.cause != nil {
			m.inlineFault() // frees the flow too
			return
		}
	}
	m.closeFlow(i)
}

// runResident runs one handler on this thread.
func (m *machine) runResident(i int32, kind HandlerKind, p *packet) Verdict {
	f, t := &m.flows.flows[i], &m.inline
	t.in, t.tally, t.kind, t.slot = f.in, &f.in.tally, kind, i
	t.total, t.dropped, t.failed = f.total, f.dropped, f.failed
	t.void = packet{peer: f.peer, msg: f.msg}
	if p != nil {
		t.void = *p
	}
	t.void.hdr = f.hdr
	t.packet = &t.void
	t.verdict, t.returned, t.steer = Process, false, steering{}
	f.in.account.started(kind)
	m.busy = true
	if f.in.budget > 0 {
		m.executeTimed(f.in, t)
	} else {
		t.execute()
	}
	m.busy = false
	return t.verdict
}

// executeTimed runs the handler of t and holds it to the program's budget.
func (m *machine) executeTimed(in *Installed, t *Task) {
	start := m.config.clock()
	t.execute()
	took := m.config.clock() - start
	in.account.HandlerTime += took
	if took > in.budget {
		t.fail(&BudgetError{Took: took, Budget: in.budget})
	}
}
