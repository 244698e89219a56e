package nicrt

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// breakers are programs that misbehave. Each gets messages of three packets.
var breakers = []struct {
	name    string
	program func(gate chan struct{}) Program
	cause   func(error) bool
}{
	{"panic in header", func(chan struct{}) Program {
		return Program{Header: func(*Task) Verdict { panic("off") }}
	}, isCause[*PanicError]},
	{"panic in payload", func(chan struct{}) Program {
		return Program{Payload: func(*Task) Verdict { panic("off") }}
	}, isCause[*PanicError]},
	{"panic in completion", func(chan struct{}) Program {
		return Program{Completion: func(*Task) { panic("off") }}
	}, isCause[*PanicError]},
	{"memory overrun", func(chan struct{}) Program {
		return Program{Memory: 8, Payload: func(t *Task) Verdict { t.Memory()[len(t.Memory())] = 1; return Process }}
	}, isCause[*PanicError]},
	{"scratch overrun", func(chan struct{}) Program {
		return Program{Scratch: 8, Payload: func(t *Task) Verdict { _ = t.Scratch()[:9]; return Process }}
	}, isCause[*PanicError]},
	{"no such peer", func(chan struct{}) Program {
		return Program{Header: func(t *Task) Verdict { t.Send(2, Header{}, nil); return Process }}
	}, isCause[*CommandError]},
	{"no such counter", func(chan struct{}) Program {
		return Program{Header: func(t *Task) Verdict { t.Count(1<<32-1, 1); return Process }}
	}, func(err error) bool { return errors.Is(err, ErrCounter) }},
	{"no such verdict", func(chan struct{}) Program {
		return Program{Header: func(*Task) Verdict { return 77 }}
	}, isCause[*VerdictError]},
}

// TestBrokenPrograms runs each beside one that works, which must not notice; then another takes its place.
func TestBrokenPrograms(t *testing.T) {
	overFabrics(t, func(t *testing.T, f testFabric) {
		for _, b := range breakers {
			for _, resident := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/resident %v", b.name, resident), func(t *testing.T) {
					p := b.program(nil)
					p.Name, p.Resident = b.name, resident
					testBroken(t, f, p, b.cause, nil)
				})
			}
		}
		for _, resident := range []bool{true, false} {
			t.Run(fmt.Sprintf("budget overrun/resident %v", resident), func(t *testing.T) {
				gate := make(chan struct{})
				block := func() { <-gate }
				if resident { // it holds the NIC up meanwhile
					block = func() { time.Sleep(30 * time.Millisecond) }
				}
				testBroken(t, f, Program{Name: "slow", Resident: resident, Budget: 20 * time.Millisecond,
					Header: func(*Task) Verdict { block(); return Process }}, isCause[*BudgetError], gate)
			})
		}
	})
}

func testBroken(t *testing.T, f testFabric, broken Program, cause func(error) bool, gate chan struct{}) {
	nics := openMesh(t, f, 2)
	bad := install(t, nics[1], 9, broken)
	good := install(t, nics[1], 10, Program{Name: "good", Completion: func(t *Task) { t.Notify(t.Total()) }})
	payload := make([]byte, 2*nics[0].EagerMax()+9)
	var posted []*Completion
	const messages = 5
	for range messages {
		posted = append(posted, mustPost(t, nics[0], 1, Header{Program: 9}, payload))
		posted = append(posted, mustPost(t, nics[0], 1, Header{Program: 10}, payload))
	}
	runUntil(t, nics, "all of the good program's messages", func() bool { return good.Events().Len() == messages })
	e := event(t, nics[1], bad)
	for e.Kind != EventStopped {
		e = event(t, nics[1], bad)
	}
	if !cause(e.Fault) || !errors.Is(bad.Err(), e.Fault) || e.Fault.ID != 9 || e.Fault.Peer != 0 {
		t.Errorf("fault %v of program %d and peer %d", e.Fault, e.Fault.ID, e.Fault.Peer)
	}
	if _, err := nics[1].NextEvent(context.Background(), bad); !errors.Is(err, e.Fault) {
		t.Errorf("after the last event: %v", err)
	}
	for _, c := range posted {
		runUntil(t, nics, "the ends of all posts", c.Done)
		if c.Err() != nil {
			t.Errorf("post: %v", c.Err())
		}
	}
	if gate != nil {
		close(gate)
	}
	a := nics[1].Account()
	if a.Faults != 1 || a.Stopped != 1 || good.Err() != nil {
		t.Errorf("%d faults, %d programs stopped, error %v of the good one", a.Faults, a.Stopped, good.Err())
	}
	bad.Stop()
	if _, err := nics[1].NextEvent(context.Background(), bad); !errors.Is(err, e.Fault) {
		t.Errorf("events of a removed program: %v", err)
	}
	again := install(t, nics[1], 9, Program{Name: "successor", Completion: func(t *Task) { t.Notify(t.Total()) }})
	done := mustPost(t, nics[0], 1, Header{Program: 9}, payload)
	runUntil(t, nics, "the successor", func() bool { return again.Events().Len() == 1 && done.Done() })
	again.Stop()
	good.Stop()
	runUntil(t, nics, "free NIC memory", func() bool { return nics[1].Account().MemoryUsed == 0 })
}

// TestEventsOfRemovedProgram ends a wait for events when the host stops the program.
func TestEventsOfRemovedProgram(t *testing.T) {
	n := openMesh(t, testFabrics[0], 1)[0]
	in := install(t, n, 9, Program{Name: "silent", Header: func(*Task) Verdict { return Process }})
	ended := make(chan error)
	go func() {
		_, err := n.NextEvent(context.Background(), in)
		ended <- err
	}()
	time.Sleep(2 * time.Millisecond) // it sleeps
	in.Stop()
	if err := <-ended; !errors.Is(err, ErrRemoved) {
		t.Errorf("%v, want %v", err, ErrRemoved)
	}
	in = install(t, n, 9, Program{Name: "silent", Header: func(*Task) Verdict { return Process }})
	go func() {
		_, err := n.NextEvent(context.Background(), in)
		ended <- err
	}()
	time.Sleep(2 * time.Millisecond)
	n.Close()
	if err := <-ended; !errors.Is(err, ErrClosed) && !errors.Is(err, ErrRemoved) {
		t.Errorf("%v, want %v or %v", err, ErrClosed, ErrRemoved)
	}
}

// TestProgramTooLargeForNIC refuses what does not fit NIC memory.
func TestProgramTooLargeForNIC(t *testing.T) {
	n := openMesh(t, testFabrics[0], 1)[0]
	_, err := n.Install(9, Program{Name: "huge", Memory: defaultNICMemory + 1, Header: func(*Task) Verdict { return Process }})
	var m *MemoryError
	if !errors.Is(err, ErrNICMemory) || !errors.As(err, &m) || m.Wanted != defaultNICMemory+1 {
		t.Errorf("%v", err)
	}
	if used := n.Account().MemoryUsed; used != 0 {
		t.Errorf("%d bytes in use", used)
	}
}
