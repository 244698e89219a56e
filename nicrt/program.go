package nicrt

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// A Program is what runs on a NIC: up to three handlers that see the packets
// of the messages sent to it, after sPIN (Hoefler et al., SC'17). A message
// names its program by [Header.Program].
//
// For each message the header handler runs first, on the first packet. When it
// has returned, the payload handler runs once for each packet, the first and
// the last included, in any order and in parallel. When all those have
// returned, the completion handler runs once; it sees the last packet. Nothing
// is promised between messages. A missing handler counts as one that returns
// [Process].
//
// A handler that panics, breaks a rule of the [Task] it is given, or overruns
// its budget stops its program, not the NIC: see [Fault].
type Program struct {
	Name       string              // for reports; must not be empty
	Header     func(*Task) Verdict // decides what becomes of the message
	Payload    func(*Task) Verdict // sees each packet
	Completion func(*Task)         // sees the message's end

	// Memory is the size in bytes of the NIC memory that all handlers of the
	// program share, [Task.Memory]. It is zero when the program is installed.
	Memory int

	// Scratch is the size in bytes of the scratchpad each HPU has for this
	// program, [Task.Scratch]. An HPU runs one handler at a time, so nothing
	// else writes there meanwhile, and what a handler leaves there the next
	// one on that HPU finds. A program takes Scratch bytes of NIC memory for
	// every HPU, a resident one only once.
	Scratch int

	// Budget is the longest time that one handler may take; 0 stands for
	// [DefaultBudget], and for a resident program for no limit. It is wall
	// time and includes the wait for a core, so it should be generous where
	// goroutines outnumber cores.
	Budget time.Duration

	// Resident marks a trusted program, as those of the runtime itself. Its
	// handlers run on the thread that polls the NIC, as soon as the packet is
	// there and on the wire's own bytes, one at a time. They must not wait
	// for anything. A panic stops the program as usual.
	//
	// The handlers of other programs run on HPUs, which are goroutines of
	// their own. One that overruns its budget is cut off from the NIC and
	// its HPU goes to others; but no Go program can end a goroutine from
	// outside, so a handler that never returns keeps its goroutine, a core
	// and the NIC memory of its program.
	Resident bool
}

// DefaultBudget is the time that one handler of a program may take unless the
// program says otherwise. It bounds a hang; handlers are meant to take a
// microsecond, but a machine with more work than cores may keep one waiting.
const DefaultBudget = time.Second

// A Verdict is what a header or payload handler decides.
type Verdict uint8

const (
	// Process goes on: from a header handler, run the payload handler on the
	// message's packets; from a payload handler, the packet is done.
	Process Verdict = iota

	// Proceed from a header handler does without payload handlers: the NIC
	// puts the payload into the host memory that [Task.Steer] named. What
	// does not fit there is dropped. From a payload handler it means Process.
	Proceed

	// Drop from a header handler drops all payload of the message, from a
	// payload handler this packet. The completion handler still runs and
	// finds the bytes in [Task.Dropped].
	Drop

	// Fail drops what is left of the message and reports it to the host as
	// [EventFailed]. The completion handler still runs, [Task.Failed] is true.
	Fail

	// Retry from a header handler of a resident program refuses the message
	// for now: the wire keeps the packet and offers it again later, and the
	// message has not begun. All later messages of that peer wait with it.
	Retry
)

func (v Verdict) String() string {
	return nameOf(int(v), "Verdict", "Process", "Proceed", "Drop", "Fail", "Retry")
}

// A HandlerKind says which of a program's handlers is meant.
type HandlerKind uint8

const (
	HeaderHandler HandlerKind = iota
	PayloadHandler
	CompletionHandler
)

func (k HandlerKind) String() string {
	return nameOf(int(k), "HandlerKind", "header", "payload", "completion")
}

// nameOf returns names[v], or kind(v) if there is none.
func nameOf(v int, kind string, names ...string) string {
	if v < len(names) {
		return names[v]
	}
	return fmt.Sprintf("%s(%d)", kind, v)
}

// An Installed is a program on a NIC. Its methods may be called from any
// goroutine, but not from a handler.
type Installed struct {
	program Program
	id      uint8
	machine *machine
	budget  time.Duration // 0: no limit
	memory  []byte
	scratch []byte // one stride for each HPU
	stride  int
	// direct: resident with only a header handler, no budget, not stopped. A
	// single-packet message costs then little more than the call.
	direct    bool
	stopped   bool
	removed   bool
	running   int // handlers on HPUs
	account   Account
	tally     tally // added to account when it is read
	events    Events
	failure   atomic.Pointer[Fault]
	serialise sync.Locker // held around each step of the machine
}

// ID returns the number by which messages name the program.
func (in *Installed) ID() uint8 { return in.id }

// Name returns the program's name.
func (in *Installed) Name() string { return in.program.Name }

// Events returns what the program and the NIC report to the host.
func (in *Installed) Events() *Events { return &in.events }

// Err returns the [*Fault] that stopped the program, or nil.
func (in *Installed) Err() error {
	if f := in.failure.Load(); f != nil {
		return f
	}
	return nil
}

// Account returns what the program has done so far.
func (in *Installed) Account() Account {
	in.serialise.Lock()
	defer in.serialise.Unlock()
	var a Account
	in.addTo(&a)
	a.MemorySize = in.machine.memory.size()
	a.MemoryUsed = grains(cap(in.memory)) + grains(cap(in.scratch))
	a.MemoryPeak = in.machine.footprint(&in.program)
	return a
}

// Stop removes the program from the NIC. No handler of it starts any more, its
// messages are dropped, and a handler still running is cut off. Its NIC memory
// is free when the last of those has returned. Stopping twice does nothing.
func (in *Installed) Stop() {
	in.serialise.Lock()
	defer in.serialise.Unlock()
	in.machine.uninstall(in)
}

// noLock serialises nothing: for a machine with a single caller.
type noLock struct{}

func (noLock) Lock()   {}
func (noLock) Unlock() {}
