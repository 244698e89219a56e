package nicrt

import "slices"

// A stallList holds the sends that found no room on the wire, in order. Those
// of handlers that wait stay in their slots; those of handlers that run on the
// NIC's own thread, and will have returned, keep their payload in NIC memory.
type stallList struct {
	machine *machine
	sends   []taskSend
	blocked []int32 // peers that kick found without room
}

type taskSend struct {
	task *Task
	in   *Installed
	slot int // of a waiting handler, or -1
	cmd  command
}

func (l *stallList) init(m *machine) { l.machine = m }

// blocks reports whether a send to peer must queue behind another.
func (l *stallList) blocks(peer int32) bool {
	for i := range l.sends {
		if l.sends[i].cmd.peer == peer {
			return true
		}
	}
	return false
}

// keep queues the send c of a handler that cannot wait, with a copy of its
// payload.
func (l *stallList) keep(t *Task, c *command) error {
	if t.stalls == CommandsInFlight {
		return ErrCommandsBusy
	}
	payload, err := l.machine.memory.alloc(len(c.data))
	if err != nil {
		return ErrCommandsBusy
	}
	copy(payload, c.data)
	kept := *c
	kept.data = payload
	t.stalls++
	l.sends = append(l.sends, taskSend{task: t, in: t.in, slot: -1, cmd: kept})
	return nil
}

// wait queues slot i of t, whose handler waits.
func (l *stallList) wait(t *Task, i int) {
	l.sends = append(l.sends, taskSend{task: t, in: t.in, slot: i, cmd: t.slots[i]})
}

// settle ends s, sent or given up.
func (l *stallList) settle(s *taskSend) {
	if s.slot < 0 {
		l.machine.memory.release(s.cmd.data)
		s.task.stalls--
	} else {
		s.task.port.settled(s.task, s.slot)
	}
}

// discard gives up the sends of a program.
func (l *stallList) discard(in *Installed) {
	l.filter(func(s *taskSend) bool { return s.in == in })
}

// filter settles the sends for which done is true, in order, and keeps the
// others.
func (l *stallList) filter(done func(*taskSend) bool) {
	kept := l.sends[:0]
	for i := range l.sends {
		if s := &l.sends[i]; done(s) {
			l.settle(s)
		} else {
			kept = append(kept, *s)
		}
	}
	clear(l.sends[len(kept):])
	l.sends = kept
}

// kick offers the waiting sends to the wire again and returns how many left.
// The caller calls it when the wire may have room.
func (m *machine) kick() int {
	if len(m.stalled.sends) == 0 {
		return 0
	}
	l, sent := &m.stalled, 0
	l.blocked = l.blocked[:0]
	l.filter(func(s *taskSend) bool {
		if slices.Contains(l.blocked, s.cmd.peer) {
			return false
		}
		if !m.transmit(&s.cmd) {
			l.blocked = append(l.blocked, s.cmd.peer)
			return false
		}
		s.in.account.Sends++
		s.in.account.BytesSent += uint64(len(s.cmd.data))
		sent++
		return true
	})
	return sent
}
