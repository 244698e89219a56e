package nicrt

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestInstallErrors(t *testing.T) {
	handler := func(*Task) Verdict { return Process }
	for _, c := range []struct {
		name   string
		p      Program
		id     uint8
		memory bool // ErrNICMemory
		want   string
	}{
		{"taken", Program{Name: "p", Header: handler}, 7, false, `the number is taken by program "first"`},
		{"no name", Program{Header: handler}, 1, false, "the name is empty"},
		{"no handler", Program{Name: "p"}, 1, false, "no handler, want one at least"},
		{"negative memory", Program{Name: "p", Header: handler, Memory: -4}, 1, false, "memory of -4 bytes"},
		{"negative scratch", Program{Name: "p", Header: handler, Scratch: -4}, 1, false, "scratchpad of -4 bytes"},
		{"negative budget", Program{Name: "p", Header: handler, Budget: -time.Second}, 1, false, "budget of -1s"},
		{"too much memory", Program{Name: "p", Header: handler, Resident: true, Memory: 4096}, 1, true, "wanted 4096 bytes, 4032 free"},
		{"more memory than there is", Program{Name: "p", Header: handler, Resident: true, Memory: 1 << 62}, 1, true, "4032 free"},
		{"too much scratch", Program{Name: "p", Header: handler, Resident: true, Memory: 64, Scratch: 4032}, 1, true, "wanted 4032 bytes, 3968 free"},
		{"scratch that overflows", Program{Name: "p", Header: handler, Scratch: 1 << 62}, 1, true, "2048 free"},
		{"scratch for each HPU", Program{Name: "p", Header: handler, Scratch: 200}, 1, true, "wanted 8192 bytes"},
		{"no room for packets", Program{Name: "p", Header: handler, Memory: 2049}, 1, true, "wanted 2049 bytes, 2048 free"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, _ := newTestMachine(machineConfig{memory: newMemoryOf(4096), packetMemory: 1984})
			mustInstall(t, m, 7, Program{Name: "first", Header: handler, Memory: 1, Resident: true})
			in, err := m.install(c.id, c.p)
			var e *InstallError
			if in != nil || !errors.As(err, &e) || e.ID != c.id || e.Program != c.p.Name || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("installed: %v, error %v; want an InstallError with %q", in != nil, err, c.want)
			}
			if errors.Is(err, ErrNICMemory) != c.memory {
				t.Errorf("is ErrNICMemory: %v, want %v", !c.memory, c.memory)
			}
			if m.memory.used != memoryGrain || m.isolated != 0 {
				t.Errorf("%d bytes taken, %d isolated, by what was not installed", m.memory.used, m.isolated)
			}
			mustInstall(t, m, 1, Program{Header: handler, Memory: 64})
		})
	}
}

func TestEventsBounded(t *testing.T) {
	m, _ := newTestMachine(machineConfig{events: 3})
	in := mustInstall(t, m, 1, Program{Resident: true, Header: func(tk *Task) Verdict {
		tk.Notify(tk.Header().Tag)
		if tk.Header().Tag == 9 {
			panic("nine")
		}
		return Process
	}})
	for tag := range uint64(10) {
		m.deliver(&packet{first: true, last: true, hdr: Header{Program: 1, Tag: tag}})
	}
	if in.Events().Lost() != 7 || in.Account().LostEvents != 7 || in.Events().Len() != 4 {
		t.Errorf("%d lost, %d waiting; want 7 and 4", in.Events().Lost(), in.Events().Len())
	}
	for want := range uint64(3) {
		if e, ok := in.Events().Poll(); !ok || e.Kind != EventNotify || e.Value != want {
			t.Errorf("event %+v, %v; want notification %d", e, ok, want)
		}
	}
	if e, ok := in.Events().Poll(); !ok || e.Kind != EventStopped {
		t.Errorf("event %+v, %v; want the stop", e, ok)
	}
	if e, ok := in.Events().Poll(); ok {
		t.Errorf("event %+v after the stop", e)
	}
}

// TestEventsBetweenThreads takes events while they are added.
func TestEventsBetweenThreads(t *testing.T) {
	var q Events
	q.init(4)
	const n = 20000
	go func() {
		for i := uint64(0); i < n; {
			if q.add(&Event{Value: i}) {
				i++
			}
		}
	}()
	deadline := time.Now().Add(30 * time.Second)
	for want := uint64(0); want < n; {
		e, ok := q.Poll()
		if ok {
			if e.Value != want {
				t.Fatalf("event %d, want %d", e.Value, want)
			}
			want++
		} else if time.Now().After(deadline) {
			t.Fatalf("no event %d", want)
		}
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		Process.String(): "Process", Retry.String(): "Retry", Verdict(9).String(): "Verdict(9)",
		CompletionHandler.String(): "completion", HandlerKind(3).String(): "HandlerKind(3)",
		EventStopped.String(): "stopped", flowPayloadDraining.String(): "payload-draining",
	} {
		if got != want {
			t.Errorf("name %q, want %q", got, want)
		}
	}
}
