package nicrt

import "fmt"

type commandKind uint8

const (
	commandWrite commandKind = iota
	commandRead
	commandSend
	commandCount
	commandNotify
)

// A command is what a handler asks of the NIC.
type command struct {
	kind    commandKind
	peer    int32
	counter uint32
	n       int64
	mem     HostMemory
	off     uint64 // in mem
	value   uint64
	data    []byte
	hdr     Header
}

// A commandPort carries the commands of a handler that does not run on the
// machine's thread. The machine answers with settled.
type commandPort interface {
	// take returns a free slot of t, waiting for one if need be. It panics
	// with errRevoked when t is revoked.
	take(t *Task) int
	// post hands slot i of t to the machine.
	post(t *Task, i int)
	// wait returns when no command of t is under way, or panics as take does.
	wait(t *Task)
	// settled tells that the machine is done with slot i of t.
	settled(t *Task, i int)
	// revoked tells that t was revoked.
	revoked(t *Task)
}

// WriteHost copies data to byte off of mem, by DMA.
func (t *Task) WriteHost(mem HostMemory, off uint64, data []byte) error {
	t.check()
	i, c := t.next(commandWrite)
	c.mem, c.off, c.data = mem, off, data
	return t.give(i)
}

// ReadHost copies len(dst) bytes from byte off of mem to dst, by DMA. dst must
// be the program's Memory, its Scratch, or the handler's own; the bytes are
// there when [Task.Wait] has returned, and at once in a resident program.
func (t *Task) ReadHost(mem HostMemory, off uint64, dst []byte) error {
	t.check()
	i, c := t.next(commandRead)
	c.mem, c.off, c.data = mem, off, dst
	return t.give(i)
}

// Send sends a message to a peer. A resident program that cannot wait gets
// [ErrCommandsBusy] when the wire is full and CommandsInFlight sends of it
// wait already, or when there is no NIC memory left to keep the payload in.
// Messages to one peer leave in the order of their commands.
func (t *Task) Send(peer int, h Header, payload []byte) error {
	t.check()
	c := &t.machine.config
	if peer < 0 || peer >= c.peers {
		return t.refuse(&CommandError{Command: "Send", Value: int64(peer),
			Want: fmt.Sprintf("a peer from 0 to %d", c.peers-1)})
	}
	if len(payload) > c.maxSend {
		return t.refuse(&CommandError{Command: "Send", Value: int64(len(payload)),
			Want: fmt.Sprintf("a payload of at most %d bytes", c.maxSend)})
	}
	i, s := t.next(commandSend)
	s.peer, s.hdr, s.data = int32(peer), h, payload
	return t.give(i)
}

// Count adds n to the NIC's counter of that number.
func (t *Task) Count(counter uint32, n int64) error {
	t.check()
	i, c := t.next(commandCount)
	c.counter, c.n = counter, n
	return t.give(i)
}

// Notify gives the host an [EventNotify] with a value of the program's choice.
// If the host's queue is full the event is lost and counted.
func (t *Task) Notify(value uint64) error {
	t.check()
	i, c := t.next(commandNotify)
	c.value = value
	return t.give(i)
}

// Wait returns when all the handler's commands are carried out.
func (t *Task) Wait() {
	t.check()
	if t.port != nil {
		t.port.wait(t)
	}
}

// refuse makes err the cause of a fault and returns it.
func (t *Task) refuse(err error) error {
	t.fail(err)
	return err
}

// next returns a free slot for a command, waiting for one if it must.
func (t *Task) next(kind commandKind) (i int, c *command) {
	if t.port != nil {
		i = t.port.take(t)
	}
	c = &t.slots[i]
	c.kind = kind
	return i, c
}

// give carries the command in slot i out, or posts it to the machine's thread.
func (t *Task) give(i int) error {
	switch {
	case t.cause != nil:
		if t.port != nil {
			t.port.settled(t, i)
		}
		return t.cause
	case t.port != nil:
		t.port.post(t, i)
		return nil
	}
	c := &t.slots[i]
	done, err := t.machine.perform(t, c)
	switch {
	case err != nil:
		err = t.refuse(err)
	case !done:
		err = t.machine.stalled.keep(t, c)
	}
	c.mem, c.data = nil, nil
	return err
}

// perform carries out command c of t. It returns false when the wire has no
// room, and an error when c names what is not there.
func (m *machine) perform(t *Task, c *command) (done bool, err error) {
	a := &t.in.account
	switch c.kind {
	case commandSend:
		if m.stalled.blocks(c.peer) || !m.transmit(c) {
			return false, nil
		}
		a.Sends++
		a.BytesSent += uint64(len(c.data))
	case commandWrite:
		span, err := hostSpan(c, true)
		if err != nil {
			return false, err
		}
		a.BytesToHost += uint64(copy(span, c.data))
	case commandRead:
		span, err := hostSpan(c, false)
		if err != nil {
			return false, err
		}
		a.BytesFromHost += uint64(copy(c.data, span))
	case commandCount:
		if err := m.config.port.increment(c.counter, c.n); err != nil {
			return false, &CommandError{Command: "Count", Value: int64(c.counter), Want: "a counter of this NIC", Cause: err}
		}
		a.Increments++
	case commandNotify:
		m.report(t.in, &Event{Kind: EventNotify, Handler: t.kind,
			Peer: int(t.packet.peer), Message: t.packet.msg, Value: c.value})
	}
	return true, nil
}

// transmit gives the wire a send; false: no room. Whatever the wire does
// meanwhile, it finds the machine busy.
func (m *machine) transmit(c *command) bool {
	was := m.busy
	m.busy = true
	ok := m.config.port.send(int(c.peer), &c.hdr, c.data)
	m.busy = was
	return ok
}

// hostSpan returns the host memory of a DMA command.
func hostSpan(c *command, write bool) ([]byte, error) {
	if c.mem == nil {
		return nil, &DMAError{Off: c.off, Len: len(c.data), Write: write, Reason: "no region"}
	}
	return c.mem.hostSpan(c.off, len(c.data), write)
}

// report puts an event into the program's queue for its host.
func (m *machine) report(in *Installed, e *Event) {
	if in.events.add(e) {
		in.account.Notifications++
	} else {
		in.account.LostEvents++
	}
	m.config.reported()
}

// performPosted carries out slot i of t, which its handler posted. It does
// nothing for a handler that was cut off.
func (m *machine) performPosted(t *Task, i int) {
	if t.flow == noFlow {
		return
	}
	done, err := m.perform(t, &t.slots[i])
	switch {
	case err != nil:
		m.stop(t.in, t.fault(err, ""))
	case done:
		t.port.settled(t, i)
	default:
		m.stalled.wait(t, i)
	}
}
