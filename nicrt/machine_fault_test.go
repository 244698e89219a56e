package nicrt

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// faults are the ways in which a handler can break a rule, and the cause that
// must be reported.
var faults = []struct {
	name  string
	do    func(*Task) Verdict
	cause func(error) bool
	text  string
	stack bool
}{
	{"panic with text", func(*Task) Verdict { panic("off the rails") }, isCause[*PanicError], "panic: off the rails", true},
	{"panic with an error", func(*Task) Verdict { panic(fmt.Errorf("wrapped: %w", io.EOF)) },
		func(err error) bool { return errors.Is(err, io.EOF) }, "panic: wrapped: EOF", true},
	{"panic with what cannot be compared", func(*Task) Verdict { panic([]int{1}) }, isCause[*PanicError], "panic: [1]", true},
	{"index out of range", func(t *Task) Verdict { t.Memory()[len(t.Memory())] = 1; return Process }, isCause[*PanicError], "index out of range", true},
	{"memory grown beyond its end", func(t *Task) Verdict { t.Memory()[:65][64] = 1; return Process }, isCause[*PanicError], "slice bounds out of range", true},
	{"scratch grown beyond its end", func(t *Task) Verdict { t.Scratch()[:9][8] = 1; return Process }, isCause[*PanicError], "slice bounds out of range", true},
	{"payload grown beyond its end", func(t *Task) Verdict { t.Payload()[:4][3] = 1; return Process }, isCause[*PanicError], "slice bounds out of range", true},
	{"atomic beyond memory", func(t *Task) Verdict { t.FetchAdd(64, 1); return Process }, isCause[*CommandError], "FetchAdd of 64, want a multiple of 8 within 64 bytes", true},
	{"atomic across words", func(t *Task) Verdict { t.CompareAndSwap(4, 0, 1); return Process }, isCause[*CommandError], "CompareAndSwap of 4", true},
	{"atomic before memory", func(t *Task) Verdict { t.FetchAdd(-8, 1); return Process }, isCause[*CommandError], "FetchAdd of -8", true},
	{"unknown verdict", func(*Task) Verdict { return 99 }, isCause[*VerdictError], "verdict Verdict(99)", false},
	{"send to nobody", func(t *Task) Verdict { t.Send(8, Header{}, nil); return Process }, isCause[*CommandError], "Send of 8, want a peer from 0 to 7", false},
	{"send to minus one", func(t *Task) Verdict { t.Send(-1, Header{}, nil); return Process }, isCause[*CommandError], "Send of -1", false},
	{"send too much", func(t *Task) Verdict { t.Send(0, Header{}, make([]byte, 101)); return Process }, isCause[*CommandError], "at most 100 bytes", false},
	{"no such counter", func(t *Task) Verdict { t.Count(4, 1); return Process },
		func(err error) bool { return errors.Is(err, errNoCounter) }, "Count of 4", false},
	{"write beyond the region", func(t *Task) Verdict { t.WriteHost(faultHost, 9, make([]byte, 2)); return Process },
		isCause[*DMAError], "write of 2 bytes at offset 9 of a host region of 10 bytes: outside the region", false},
	{"write at an offset that overflows", func(t *Task) Verdict { t.WriteHost(faultHost, 1<<64-1, make([]byte, 2)); return Process },
		isCause[*DMAError], "outside the region", false},
	{"read without right", func(t *Task) Verdict { t.ReadHost(faultHost, 0, make([]byte, 2)); return Process },
		isCause[*DMAError], "no right to read", false},
	{"write to no region", func(t *Task) Verdict { t.WriteHost(nil, 0, make([]byte, 2)); return Process }, isCause[*DMAError], "no region", false},
	{"first of two causes", func(t *Task) Verdict { t.Count(4, 1); panic("later") },
		func(err error) bool { return errors.Is(err, errNoCounter) }, "Count of 4", true},
}

var faultHost = &hostWindow{bytes: make([]byte, 10), canWrite: true}

func isCause[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

// TestFaultIsolation lets each handler of a program break each rule, in the
// middle of messages of this program and of another.
func TestFaultIsolation(t *testing.T) {
	for _, f := range faults {
		for _, kind := range []HandlerKind{HeaderHandler, PayloadHandler, CompletionHandler} {
			if kind == CompletionHandler && strings.Contains(f.name, "verdict") {
				continue // it gives none
			}
			for _, packets := range []int{1, 3} {
				t.Run(fmt.Sprintf("%s/%v/%d packets", f.name, kind, packets), func(t *testing.T) {
					eachKind(t, func(t *testing.T, resident bool) {
						testFault(t, f.do, f.cause, f.text, f.stack, kind, packets, resident)
					})
				})
			}
		}
	}
}

func testFault(t *testing.T, do func(*Task) Verdict, isRight func(error) bool, text string, stack bool,
	kind HandlerKind, packets int, resident bool) {
	m, _ := newTestMachine(machineConfig{maxSend: 100})
	armed, after := false, 0
	run := func(tk *Task, k HandlerKind) Verdict {
		switch {
		case armed && k == kind && tk.Message() == 7:
			armed = false
			after = -1 // this one counts itself
			defer func() { after++ }()
			return do(tk)
		case after >= 0 && !armed:
			after++
		}
		return Process
	}
	bad := mustInstall(t, m, 1, Program{Name: "bad", Resident: resident, Memory: 64, Scratch: 8,
		Header:     func(tk *Task) Verdict { return run(tk, HeaderHandler) },
		Payload:    func(tk *Task) Verdict { return run(tk, PayloadHandler) },
		Completion: func(tk *Task) { run(tk, CompletionHandler) }})
	completions := 0
	good := mustInstall(t, m, 2, Program{Name: "good", Resident: resident,
		Header:     func(*Task) Verdict { return Process },
		Completion: func(*Task) { completions++ }})
	open, other := message(1, 3, 6, "ab", 2), message(2, 3, 8, "cd", 2)
	armed = true
	deliverAll(t, m, open[:1])
	deliverAll(t, m, other[:1])
	deliverAll(t, m, message(1, 3, 7, "abc", packets))
	deliverAll(t, m, other[1:])
	deliverAll(t, m, open[1:])
	deliverAll(t, m, message(1, 3, 9, "new", 1))

	if after != 0 {
		t.Errorf("%d handlers of the program ran after its fault", after)
	}
	var fault *Fault
	if !errors.As(bad.Err(), &fault) || fault.Program != "bad" || fault.ID != 1 || fault.Handler != kind ||
		fault.Peer != 3 || fault.Message != 7 || (fault.Stack != "") != stack && fault.Stack == "" {
		t.Fatalf("error %#v, want the %v handler of \"bad\" (1) at message 7 from peer 3, stack %v", bad.Err(), kind, stack)
	}
	if !isRight(fault) || !strings.Contains(fault.Error(), text) {
		t.Errorf("cause %q of wrong type or without %q", fault.Cause, text)
	}
	if e, ok := bad.Events().Poll(); !ok || e.Kind != EventStopped || e.Fault != fault {
		t.Errorf("event %+v, %v; want EventStopped with the fault", e, ok)
	}
	if a := m.account(); a.Faults != 1 || a.Stopped != 1 {
		t.Errorf("%d faults, %d programs stopped, want one", a.Faults, a.Stopped)
	}
	if completions != 1 || good.Err() != nil {
		t.Errorf("the other program ended %d messages, error %v; want 1 and none", completions, good.Err())
	}
	bad.Stop()
	good.Stop()
	if m.memory.used != 0 || len(m.leaving) != 0 {
		t.Errorf("%d bytes of NIC memory in use, %d programs leaving, after both are gone", m.memory.used, len(m.leaving))
	}
	if mustInstall(t, m, 1, Program{Resident: resident, Memory: 64, Header: func(tk *Task) Verdict {
		if tk.FetchAdd(0, 0) != 0 {
			t.Error("memory of a new program is not zero")
		}
		return Process
	}}); !m.deliver(&message(1, 3, 10, "", 1)[0]) {
		t.Error("message to the new program refused")
	}
	checkIdle(t, m)
}

// TestStopDropsWhatWaits stops a program with handlers running, queued, and
// packets waiting, and sees that what ran finds itself cut off.
func TestStopDropsWhatWaits(t *testing.T) {
	r := &heldTasks{}
	m, _ := newTestMachine(machineConfig{clusters: 1, hpus: 2, queue: 2})
	r.machine, m.runner = m, r
	ran := 0
	in := mustInstall(t, m, 1, Program{Memory: 64, Payload: func(tk *Task) Verdict { ran++; return Process }, Completion: func(*Task) { ran++ }})
	keep := mustInstall(t, m, 2, Program{Memory: 64, Payload: func(tk *Task) Verdict { return Process }})
	deliverAll(t, m, message(2, 0, 99, "z", 1))
	deliverAll(t, m, message(1, 0, 1, "abcdefgh", 8))
	if len(r.held) != 2 || m.clusters[0].n != 2 {
		t.Fatalf("%d handlers running, %d queued, want 2 and 2", len(r.held), m.clusters[0].n)
	}
	in.Stop()
	in.Stop()
	if len(m.leaving) != 1 || len(in.memory) == 0 {
		t.Fatal("memory taken from under a running handler")
	}
	if m.programs[1] != nil {
		t.Fatal("number not free after Stop")
	}
	for len(r.held) > 0 {
		r.finish(0)
	}
	if ran != 0 || len(m.leaving) != 0 || m.memory.used != 64+defaultPacketMemory {
		t.Errorf("%d handlers did something, %d leaving, %d bytes used", ran, len(m.leaving), m.memory.used)
	}
	if a := in.Account(); a.DroppedPackets != 7 || a.Dropped != 1 { // one was with its handler
		t.Errorf("%d packets of %d messages dropped, want 7 of 1", a.DroppedPackets, a.Dropped)
	}
	if in.Err() != nil || keep.Err() != nil {
		t.Errorf("errors %v and %v, want none", in.Err(), keep.Err())
	}
	checkIdle(t, m)
}

// heldTasks is a runner whose handlers run when the test says so.
type heldTasks struct {
	machine *machine
	held    []*Task
}

func (r *heldTasks) run(t *Task) { r.held = append(r.held, t) }

// finish runs task i and reports its end.
func (r *heldTasks) finish(i int) {
	t := r.held[i]
	r.held = append(r.held[:i], r.held[i+1:]...)
	t.execute()
	r.machine.done(t, 0)
}
