package nicrt

import (
	"errors"
	"fmt"
	"time"
)

// An InstallError reports a program that cannot be installed. It wraps the
// cause where there is one, as [ErrNICMemory].
type InstallError struct {
	Program string // its name
	ID      uint8
	Problem string // what was found and what was expected
	Cause   error  // or nil
}

func (e *InstallError) Error() string {
	s := fmt.Sprintf("nicrt: install program %q as %d: %s", e.Program, e.ID, e.Problem)
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

func (e *InstallError) Unwrap() error { return e.Cause }

// A Fault reports the handler that stopped its program. It wraps its cause:
// [*PanicError], [*BudgetError], [*DMAError], [*CommandError] or
// [*VerdictError].
type Fault struct {
	ID      uint8       // the program
	Program string      // its name
	Handler HandlerKind // which handler
	Peer    int         // who sent the message it worked on
	Message uint64      // and which
	Cause   error
	Stack   string // where a panic came from, else empty
}

func (e *Fault) Error() string {
	return fmt.Sprintf("nicrt: program %q (%d) stopped: %s handler, message %d from peer %d: %v",
		e.Program, e.ID, e.Handler, e.Message, e.Peer, e.Cause)
}

func (e *Fault) Unwrap() error { return e.Cause }

// A PanicError is a handler's panic. It unwraps to the value if that is an
// error.
type PanicError struct {
	Value any
	text  string
}

func (e *PanicError) Error() string { return "panic: " + e.text }

func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// A BudgetError reports a handler that took longer than its program allows.
type BudgetError struct {
	Took   time.Duration // so far
	Budget time.Duration
}

func (e *BudgetError) Error() string {
	return fmt.Sprintf("took %v of a budget of %v", e.Took, e.Budget)
}

// A CommandError reports a command or access of a handler that names something
// that is not there.
type CommandError struct {
	Command string // the method of Task
	Value   int64  // what it was given
	Want    string // what is allowed
	Cause   error  // or nil
}

func (e *CommandError) Error() string {
	s := fmt.Sprintf("%s of %d, want %s", e.Command, e.Value, e.Want)
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

func (e *CommandError) Unwrap() error { return e.Cause }

// A VerdictError reports a verdict that the handler may not give.
type VerdictError struct{ Verdict Verdict }

func (e *VerdictError) Error() string {
	return fmt.Sprintf("verdict %v is not for this handler", e.Verdict)
}

// ErrCommandsBusy is returned by a command of a resident program's handler
// when [CommandsInFlight] of its sends wait for the wire. It is no fault:
// nothing was done, and the handler may return [Retry] or do without.
var ErrCommandsBusy = errors.New("nicrt: too many commands in flight")

// ErrRemoved is the end of the events of a program that its host stopped.
var ErrRemoved = errors.New("nicrt: program was removed")

// errRevoked is what a revoked Task panics with, so that its handler unwinds.
var errRevoked = errors.New("nicrt: the program of this handler was stopped")

// errGoexit is the fault of a handler that ended its goroutine.
var errGoexit = errors.New("runtime.Goexit called by a handler")
