package nicrt

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestCommands(t *testing.T) {
	eachKind(t, func(t *testing.T, resident bool) {
		m, port := newTestMachine(machineConfig{})
		host := &hostWindow{bytes: []byte("0123456789"), canRead: true, canWrite: true}
		in := mustInstall(t, m, 1, Program{Resident: resident, Memory: 64, Header: func(tk *Task) Verdict {
			err := errors.Join(
				tk.ReadHost(host, 2, tk.Memory()[:3]),
				tk.WriteHost(host, 7, tk.Payload()),
				tk.Send(5, Header{Program: 4, Tag: 9}, tk.Memory()[:3]),
				tk.Count(2, 10), tk.Count(2, -3),
				tk.Notify(77),
			)
			tk.Wait()
			if err != nil {
				t.Error(err)
			}
			return Process
		}})
		deliverAll(t, m, message(1, 0, 6, "abc", 1))
		if got := string(host.bytes); got != "0123456abc" {
			t.Errorf("host has %q", got)
		}
		if got := fmt.Sprint(port.sent); got != "[{5 {4 0 0 0 9} 234}]" {
			t.Errorf("sent %s", got)
		}
		if port.counters[2] != 7 {
			t.Errorf("counter at %d, want 7", port.counters[2])
		}
		if e, ok := in.Events().Poll(); !ok || e.Kind != EventNotify || e.Value != 77 || e.Message != 6 {
			t.Errorf("event %+v, %v", e, ok)
		}
		a := in.Account()
		if a.BytesToHost != 3 || a.BytesFromHost != 3 || a.Sends != 1 || a.BytesSent != 3 || a.Increments != 2 || a.Notifications != 1 {
			t.Errorf("account %+v", a)
		}
	})
}

// TestWithdrawnRegion sees that a region is out of reach as soon as its owner
// takes it back.
func TestWithdrawnRegion(t *testing.T) {
	m, _ := newTestMachine(machineConfig{})
	host := &hostWindow{bytes: []byte("...."), canWrite: true}
	in := mustInstall(t, m, 1, Program{Resident: true, Header: func(tk *Task) Verdict {
		tk.WriteHost(host, 0, tk.Payload())
		return Process
	}})
	deliverAll(t, m, message(1, 0, 1, "ab", 1))
	host.withdrawn = true
	deliverAll(t, m, message(1, 0, 2, "cd", 1))
	var dma *DMAError
	if !errors.As(in.Err(), &dma) || !strings.Contains(dma.Reason, "no longer registered") || string(host.bytes) != "ab.." {
		t.Errorf("error %v, host %q", in.Err(), host.bytes)
	}
}

// TestFullWire sends more than the wire takes from a program that cannot wait.
func TestFullWire(t *testing.T) {
	m, port := newTestMachine(machineConfig{})
	port.room = 1
	var errs []error
	in := mustInstall(t, m, 1, Program{Resident: true, Header: func(tk *Task) Verdict {
		errs = append(errs, tk.Send(int(tk.Header().Aux), tk.Header(), tk.Payload()))
		return Process
	}})
	send := func(peer uint16, text string) {
		p := message(1, 0, 1, text, 1)[0]
		p.hdr.Aux = peer
		deliverAll(t, m, []packet{p})
		copy(p.payload, "XXXX") // the wire's bytes go to others
	}
	for i, text := range []string{"a", "b", "c", "d", "e", "f"} {
		send(uint16(i%2), text)
	}
	for i, err := range errs {
		if want := i == 5; errors.Is(err, ErrCommandsBusy) != want || !want && err != nil {
			t.Errorf("send %d: error %v, want busy: %v", i, err, want)
		}
	}
	if got := m.kick(); got != 0 {
		t.Errorf("%d sends left a full wire", got)
	}
	port.room = 3
	if got := m.kick(); got != 3 {
		t.Errorf("%d sends left for 3 places", got)
	}
	send(1, "g") // must not overtake e
	port.room = -1
	m.kick()
	send(1, "h")
	order := ""
	for _, s := range port.sent {
		order += fmt.Sprint(s.peer, s.payload, " ")
	}
	if order != "0a 1b 0c 1d 0e 1g 1h " {
		t.Errorf("sent in order %s", order)
	}
	if in.Err() != nil || m.memory.used != 0 || m.inline.stalls != 0 {
		t.Errorf("error %v, %d bytes of NIC memory, %d stalls", in.Err(), m.memory.used, m.inline.stalls)
	}
}

func TestFullWireWithoutMemory(t *testing.T) {
	m, port := newTestMachine(machineConfig{memory: newMemoryOf(64)})
	port.room = 0
	var errs []error
	in := mustInstall(t, m, 1, Program{Resident: true, Header: func(tk *Task) Verdict {
		errs = append(errs, tk.Send(0, tk.Header(), tk.Payload()))
		return Process
	}})
	deliverAll(t, m, message(1, 0, 1, "first", 1))
	deliverAll(t, m, message(1, 0, 2, "second", 1))
	if errs[0] != nil || !errors.Is(errs[1], ErrCommandsBusy) {
		t.Errorf("errors %v, want the second to be busy", errs)
	}
	in.Stop()
	if m.memory.used != 0 || len(m.stalled.sends) != 0 {
		t.Errorf("%d bytes and %d sends left of a stopped program", m.memory.used, len(m.stalled.sends))
	}
}

// TestSendLeadsBack gives the machine a wire that tries to deliver at once, to
// the machine itself: it must find the machine busy, in deliver and in kick.
func TestSendLeadsBack(t *testing.T) {
	w := &mirrorPort{room: 1}
	m, _ := newTestMachine(machineConfig{port: w})
	w.machine = m
	var tags []uint64
	mustInstall(t, m, 1, Program{Resident: true, Header: func(tk *Task) Verdict {
		tag := tk.Header().Tag
		tags = append(tags, tag)
		for i := range tag {
			tk.Send(0, Header{Program: 1, Tag: i}, nil)
		}
		return Process
	}})
	w.queue = []packet{{first: true, last: true, hdr: Header{Program: 1, Tag: 3}}}
	for len(w.queue) > 0 {
		p := w.queue[0]
		w.queue = w.queue[1:]
		deliverAll(t, m, []packet{p})
		w.room = 1
		m.kick()
	}
	if got := fmt.Sprint(tags); got != "[3 0 1 2 0 0 1 0]" || w.taken {
		t.Errorf("tags %s, taken inside a step: %v", got, w.taken)
	}
}

// mirrorPort is a wire that leads back.
type mirrorPort struct {
	machine *machine
	queue   []packet
	room    int
	taken   bool // the machine took a packet inside a step
}

func (w *mirrorPort) send(_ int, h *Header, _ []byte) bool {
	p := packet{first: true, last: true, hdr: *h}
	w.taken = w.taken || w.machine.deliver(&p)
	if w.room == 0 {
		return false
	}
	w.room--
	w.queue = append(w.queue, p)
	return true
}

func (w *mirrorPort) increment(uint32, int64) error { return nil }

func TestSharedWords(t *testing.T) {
	m, _ := newTestMachine(machineConfig{})
	var got []string
	mustInstall(t, m, 1, Program{Resident: true, Memory: 16, Header: func(tk *Task) Verdict {
		got = append(got, fmt.Sprint(tk.FetchAdd(8, 5), tk.FetchAdd(8, ^uint64(0)), tk.CompareAndSwap(8, 4, 40), tk.CompareAndSwap(8, 4, 41), tk.FetchAdd(8, 0)))
		return Process
	}})
	deliverAll(t, m, message(1, 0, 1, "", 1))
	if got[0] != "0 5 true false 40" {
		t.Errorf("got %s", got[0])
	}
}
