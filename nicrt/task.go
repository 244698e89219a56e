package nicrt

import (
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"unsafe"
)

// A Task is what a handler gets: one packet, the memory it may use, and the
// commands it may give to the NIC. It is the handler's until the handler
// returns, and for its goroutine alone; neither it nor what its methods return
// may be kept. When a program is stopped while a handler runs, every method of
// the handler's Task panics, which ends the handler.
//
// Commands follow sPIN: the NIC carries them out in order, at most
// [CommandsInFlight] of one HPU may be under way, and the next one waits for a
// place. What a command refers to must not change before [Task.Wait] or the
// handler's return, which waits too. A command that names what is not there
// stops the program; it returns the cause if it is known at once.
type Task struct {
	machine *machine
	in      *Installed
	packet  *packet
	tally   *tally
	port    commandPort // nil: commands run at once on this thread
	revoked atomic.Bool
	hpu     int32
	cluster int32

	kind     HandlerKind
	verdict  Verdict
	returned bool  // the handler came back by itself
	failed   bool  // what Failed returns
	flow     int32 // noFlow: its message is gone, the result does not matter
	slot     int32
	cell     int32
	total    uint64
	dropped  uint64
	steer    steering
	cause    error // of a fault
	stack    string
	own      tally // of an isolated handler
	stalls   int   // sends of an inline handler that wait for the wire
	// abandoned: its handler overran and its HPU has another Task.
	abandoned bool
	void      packet // stands for a packet that does not exist or must differ
	slots     [CommandsInFlight]command
}

// A tally is what programs report about themselves.
type tally struct{ matches, reduced uint64 }

// check ends a handler whose program was stopped.
func (t *Task) check() {
	if t.revoked.Load() {
		panic(errRevoked)
	}
}

// Header returns the header of the message.
func (t *Task) Header() Header { t.check(); return t.packet.hdr }

// Peer returns the index of the peer that sent the message.
func (t *Task) Peer() int { t.check(); return int(t.packet.peer) }

// Message returns the number of the message, which no other message in flight
// from the same peer has.
func (t *Task) Message() uint64 { t.check(); return t.packet.msg }

// Payload returns the packet's payload, to read only.
func (t *Task) Payload() []byte {
	t.check()
	p := t.packet.payload
	return p[:len(p):len(p)]
}

// Offset returns where the packet's payload begins within the message. It is
// what the sender says.
func (t *Task) Offset() uint64 { t.check(); return t.packet.offset }

// First reports whether the packet is the message's first.
func (t *Task) First() bool { t.check(); return t.packet.first }

// Last reports whether the packet is the message's last. A completion handler
// sees the last packet, or, when the peer was lost, an empty one for which
// Last is false.
func (t *Task) Last() bool { t.check(); return t.packet.last }

// Total returns the payload bytes of the message so far; in a completion
// handler, of the whole message.
func (t *Task) Total() uint64 { t.check(); return t.total }

// Dropped returns, in a completion handler, how many of the bytes were
// dropped.
func (t *Task) Dropped() uint64 { t.check(); return t.dropped }

// Failed reports, in a completion handler, whether a handler failed the
// message or its peer was lost.
func (t *Task) Failed() bool { t.check(); return t.failed }

// HPU returns the index of the HPU that runs the handler; 0 on the NIC's own
// thread, where resident programs run.
func (t *Task) HPU() int { t.check(); return int(t.hpu) }

// Cluster returns the index of that HPU's cluster.
func (t *Task) Cluster() int { t.check(); return int(t.cluster) }

// Slot returns the message's place in the NIC's table, from 0 to
// [MaxMessages]-1. No two messages of isolated programs have the same one at
// the same time, nor have two multi-packet messages, so it can index state
// that a program keeps for each message in its Memory; the header handler
// finds there what the last message left.
func (t *Task) Slot() int { t.check(); return int(t.slot) }

// Memory returns the NIC memory of the program, which all its handlers share;
// handlers that run in parallel must agree on who writes where or use
// [Task.FetchAdd] and [Task.CompareAndSwap].
func (t *Task) Memory() []byte { t.check(); return t.in.memory }

// Scratch returns this HPU's scratchpad for the program.
func (t *Task) Scratch() []byte {
	t.check()
	at, n := int(t.hpu)*t.in.stride, t.in.program.Scratch
	return t.in.scratch[at : at+n : at+n]
}

// FetchAdd adds n to the 64-bit word at byte off of Memory, in the machine's
// byte order, and returns what it was before. It is atomic, and with n = 0 a
// read. An offset that is not a multiple of 8 within Memory stops the program.
func (t *Task) FetchAdd(off int, n uint64) uint64 {
	return atomic.AddUint64(t.word("FetchAdd", off), n) - n
}

// CompareAndSwap stores new in the word that FetchAdd would add to if it holds
// old, and reports whether it did.
func (t *Task) CompareAndSwap(off int, old, new uint64) bool {
	return atomic.CompareAndSwapUint64(t.word("CompareAndSwap", off), old, new)
}

// word returns the word at off of Memory.
func (t *Task) word(command string, off int) *uint64 {
	t.check()
	if off < 0 || off%8 != 0 || off > len(t.in.memory)-8 {
		panic(&CommandError{Command: command, Value: int64(off),
			Want: fmt.Sprintf("a multiple of 8 within %d bytes of memory", len(t.in.memory))})
	}
	return (*uint64)(unsafe.Pointer(&t.in.memory[off]))
}

// AddMatches adds n to the matches in the account.
func (t *Task) AddMatches(n int) { t.check(); t.tally.matches += uint64(n) }

// AddReduced adds n to the bytes reduced in the account.
func (t *Task) AddReduced(n int) { t.check(); t.tally.reduced += uint64(n) }

// Steer sets, in a header handler that will return [Proceed], where the
// message's payload goes: byte 0 of the message to byte off of mem.
func (t *Task) Steer(mem HostMemory, off uint64) {
	t.check()
	t.steer = steering{mem, off}
}

// begin makes t the task of one handler on an HPU.
func (t *Task) begin(in *Installed, kind HandlerKind, flowIndex, cell int32) {
	f := &t.machine.flows.flows[flowIndex]
	t.in, t.kind, t.flow, t.slot, t.cell = in, kind, flowIndex, flowIndex, cell
	t.verdict, t.returned, t.cause, t.stack = Process, false, nil, ""
	t.total, t.dropped, t.failed, t.steer = f.total, f.dropped, f.failed, steering{}
	t.own, t.tally = tally{}, &t.own
	if cell == noCell {
		t.void = packet{peer: f.peer, msg: f.msg, hdr: f.hdr}
		t.packet = &t.void
	} else {
		t.packet = &t.machine.cells.cells[cell].packet
	}
}

// execute runs the handler and leaves verdict and fault in t.
func (t *Task) execute() {
	defer t.guard()
	t.check()
	switch p := &t.in.program; t.kind {
	case HeaderHandler:
		t.verdict = p.Header(t)
	case PayloadHandler:
		t.verdict = p.Payload(t)
	case CompletionHandler:
		p.Completion(t)
	}
	t.returned = true
}

// header runs h, the header handler of a resident program.
func (t *Task) header(h func(*Task) Verdict) (v Verdict) {
	defer t.guard()
	v = h(t)
	t.returned = true
	return v
}

// guard is deferred around every handler and turns its panic into the cause of
// a fault.
func (t *Task) guard() {
	if t.returned {
		return
	}
	switch r := recover(); r {
	case nil:
		t.fail(errGoexit)
	case errRevoked:
		t.fail(errRevoked)
	default:
		t.stack = string(debug.Stack())
		t.fail(&PanicError{Value: r, text: fmt.Sprint(r)})
	}
}

// fail notes what is to stop the program when the handler has returned. The
// first cause stands.
func (t *Task) fail(cause error) {
	if t.cause == nil {
		t.cause = cause
	}
}

// fault returns the report about t's handler.
func (t *Task) fault(cause error, stack string) *Fault {
	return &Fault{ID: t.in.id, Program: t.in.program.Name, Handler: t.kind,
		Peer: int(t.packet.peer), Message: t.packet.msg, Cause: cause, Stack: stack}
}
