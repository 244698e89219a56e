package nicrt

// deliver takes one packet from the wire. False means that there is no room,
// or that the program asked to have it offered again: the wire keeps it.
// Packets that make no sense are taken, dropped and counted.
func (m *machine) deliver(p *packet) bool {
	if m.busy { // a handler's command led back here
		return false
	}
	if !p.first {
		return m.deliverNext(p)
	}
	in := m.programs[p.hdr.Program]
	if in == nil {
		m.common.Unknown++
		m.common.drop(len(p.payload))
		return true
	}
	if in.direct && p.last {
		return m.deliverDirect(in, p)
	}
	return m.deliverFirst(in, p)
}

// deliverDirect is the short way for a whole message to a resident program
// that has only a header handler.
func (m *machine) deliverDirect(in *Installed, p *packet) bool {
	t := &m.inline
	if t.in != in || t.kind != HeaderHandler {
		t.in, t.tally, t.kind = in, &in.tally, HeaderHandler
	}
	t.packet, t.slot, t.total = p, singleFlow, uint64(len(p.payload))
	t.returned = false
	if t.steer.mem != nil {
		t.steer = steering{}
	}
	m.busy = true
	v := t.header(in.program.Header)
	m.busy = false
	in.account.Headers++
	if v == Process && t.cause == nil {
		in.account.Packets++
		in.account.Messages++
		in.account.Bytes += uint64(len(p.payload))
		return true
	}
	f := &m.flows.flows[singleFlow]
	f.begin(in, p)
	switch taken := m.decideResident(f, v); {
	case in.stopped:
		in.account.countLost(p)
		return true
	case taken:
		m.countMessage(f)
		m.countPacket(f, p)
		m.absorb(f, p)
	}
	retry := f.verdict == Retry
	m.closeFlow(singleFlow)
	return !retry
}

// deliverFirst takes the first packet of a message.
func (m *machine) deliverFirst(in *Installed, p *packet) bool {
	if in.stopped {
		in.account.Dropped++
		in.account.drop(len(p.payload))
		return true
	}
	if m.flows.find(p.peer, p.msg) != noFlow {
		m.stray(len(p.payload))
		return true
	}
	if in.program.Resident {
		return m.residentFirst(in, p)
	}
	if len(p.payload) > m.packets.size() { // it will never fit
		in.account.Messages++
		in.account.Dropped++
		in.account.drop(len(p.payload))
		return true
	}
	cell := m.hold(p)
	i := int32(noFlow)
	if cell != noCell {
		i = m.flows.open(in, p)
	}
	if i == noFlow {
		m.unref(cell)
		in.account.Refused++
		return false
	}
	f := &m.flows.flows[i]
	m.countMessage(f)
	m.enqueue(i, cell, p)
	m.settle(i)
	m.dispatch()
	return true
}

// deliverNext takes a packet of a message that has begun.
func (m *machine) deliverNext(p *packet) bool {
	i := m.flows.find(p.peer, p.msg)
	if i == noFlow || m.flows.flows[i].ended {
		m.stray(len(p.payload))
		return true
	}
	f := &m.flows.flows[i]
	if f.in.program.Resident {
		m.residentPacket(i, p)
		return true
	}
	if m.wanted(f, p) {
		cell := m.hold(p)
		if cell == noCell {
			f.in.account.Refused++
			return false
		}
		m.enqueue(i, cell, p)
	} else {
		m.countPacket(f, p)
		m.absorb(f, p)
		f.ended = p.last
	}
	m.settle(i)
	m.dispatch()
	return true
}

// wanted reports whether a handler has to see p, so that p must be held. A
// payload larger than packet memory fails its message.
func (m *machine) wanted(f *flow, p *packet) bool {
	if len(p.payload) > m.packets.size() {
		m.failFlow(f, EventFailed, PayloadHandler)
		return false
	}
	undecided := f.state < flowPayload
	return undecided || f.verdict == Process && f.in.program.Payload != nil ||
		p.last && f.in.program.Completion != nil
}

// enqueue adds the packet p, held in cell, to its message.
func (m *machine) enqueue(i, cell int32, p *packet) {
	f := &m.flows.flows[i]
	m.cells.cells[cell].hdr = f.hdr
	f.queue.push(&m.cells, cell)
	if p.last {
		f.ended = true
		if f.in.program.Completion != nil {
			f.last = cell
			m.cells.cells[cell].refs++
		}
	}
	m.countPacket(f, p)
}

// absorb does with the payload of p what the message's verdict says when no
// payload handler is to see it.
func (m *machine) absorb(f *flow, p *packet) {
	n := len(p.payload)
	switch f.verdict {
	case Process:
		return
	case Proceed:
		if f.steer.mem == nil {
			break
		}
		span, err := f.steer.span(p)
		if err != nil {
			break
		}
		f.in.account.BytesToHost += uint64(copy(span, p.payload))
		return
	}
	f.dropped += uint64(n)
	f.in.account.drop(n)
}

// span returns the host memory for the payload of p.
func (s *steering) span(p *packet) ([]byte, error) {
	if s.off+p.offset < s.off {
		return nil, &DMAError{Off: p.offset, Len: len(p.payload), Write: true, Reason: "offset overflows"}
	}
	return s.mem.hostSpan(s.off+p.offset, len(p.payload), true)
}

func (m *machine) countPacket(f *flow, p *packet) {
	f.total += uint64(len(p.payload))
	f.in.account.Packets++
	f.in.account.Bytes += uint64(len(p.payload))
}

func (m *machine) countMessage(f *flow) { f.in.account.Messages++ }

// stray counts a packet that belongs to no message and is dropped; the caller
// uses it for what is too short to be delivered.
func (m *machine) stray(bytes int) {
	m.common.Strays++
	m.common.drop(bytes)
}

// failFlow marks a message as failed, once, and reports it.
func (m *machine) failFlow(f *flow, kind EventKind, by HandlerKind) {
	f.verdict = Fail
	if f.failed {
		return
	}
	f.failed = true
	f.in.account.Failed++
	m.report(f.in, &Event{Kind: kind, Handler: by, Peer: int(f.peer), Message: f.msg})
}

// peerDown ends the messages of a peer that will send nothing more. Those that
// a handler has seen fail; the others are dropped.
func (m *machine) peerDown(peer int32) {
	for i := int32(singleFlow + 1); i < MaxMessages; i++ {
		f := &m.flows.flows[i]
		if f.state == flowFree || f.peer != peer || f.ended {
			continue
		}
		if f.state == flowHeader {
			m.dropFlow(i)
			continue
		}
		m.failFlow(f, EventPeerLost, 0)
		f.ended = true
		if f.in.program.Resident {
			m.residentEnd(i, nil)
		} else {
			m.settle(i)
		}
	}
	m.dispatch()
}
