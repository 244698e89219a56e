package launch

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// What an error of this package stands for; compare with errors.Is.
var (
	// ErrJob: a field of the Job cannot be obeyed; an *ArgError.
	ErrJob = errors.New("bad job")
	// ErrStart: a process could not be started; a *StartError.
	ErrStart = errors.New("cannot start")
	// ErrRank: a rank has failed; a *RankError.
	ErrRank = errors.New("rank failed")
	// ErrInterrupted: a signal has ended the job; an *InterruptError.
	ErrInterrupted = errors.New("interrupted")
	// ErrGuard: somebody has killed the guard of the job.
	ErrGuard = errors.New("the guard of the job was killed")
	// ErrOutput: the output of the ranks could not be written.
	ErrOutput = errors.New("cannot write output")
)

// ArgError is a field of a Job that cannot be obeyed. It is ErrJob, and its
// cause if it has one.
type ArgError struct {
	Field string // of the Job
	Got   string // the offending value
	Want  string // what was expected
	Err   error  // the cause, such as fs.ErrNotExist, or nil
}

func (e *ArgError) Error() string {
	return fmt.Sprintf("launch: %s %q: want %s", e.Field, e.Got, e.Want)
}

func (e *ArgError) Unwrap() []error { return []error{ErrJob, e.Err} }

// StartError is a process that could not be started. It is ErrStart and its
// cause.
type StartError struct {
	Rank int    // or -1 for the guard
	Path string // the program
	Err  error  // the cause
}

func (e *StartError) Error() string {
	if e.Rank < 0 {
		return fmt.Sprintf("launch: cannot start the guard %s: %v", e.Path, e.Err)
	}
	return fmt.Sprintf("launch: cannot start rank %d: %v", e.Rank, e.Err)
}

func (e *StartError) Unwrap() []error { return []error{ErrStart, e.Err} }

// Failure is the way in which a rank fails.
type Failure int

// The ways in which a rank fails.
const (
	Exited      Failure = iota // with a code other than 0
	Killed                     // by a signal
	Aborted                    // it asked for the end of the job
	Unfinalized                // it exited with 0 between PMI's init and finalize
	Stranded                   // others wait in a barrier that it has turned its back on
)

// RankError is the first failure of a rank. It is ErrRank.
type RankError struct {
	Rank    int
	PID     int
	Failure Failure
	Code    int            // the exit code of the job: the rank's, or 128 + Signal, or 1
	Signal  syscall.Signal // that killed the rank, or 0
	Core    bool           // the signal left a core dump
	Tail    []string       // the last lines that the rank printed, at most 10
}

func (e *RankError) Error() string {
	who := fmt.Sprintf("rank %d (pid %d)", e.Rank, e.PID)
	switch e.Failure {
	case Killed:
		dumped := ""
		if e.Core {
			dumped = " (core dumped)"
		}
		return fmt.Sprintf("%s was killed by %s%s", who, signalName(e.Signal), dumped)
	case Aborted:
		return fmt.Sprintf("%s aborted the job with code %d", who, e.Code)
	case Unfinalized:
		return who + " exited with code 0 without finalizing"
	case Stranded:
		return who + " left the job while others wait for it in a barrier"
	}
	return fmt.Sprintf("%s exited with code %d", who, e.Code)
}

func (e *RankError) Unwrap() error { return ErrRank }

// Report is the error with what the rank printed last, in several lines.
func (e *RankError) Report() string {
	if len(e.Tail) == 0 {
		return e.Error() + " and printed nothing"
	}
	return e.Error() + "; it printed last:\n  | " + strings.Join(e.Tail, "\n  | ")
}

// InterruptError is a signal that was passed to the ranks and ended the job.
// It is ErrInterrupted.
type InterruptError struct{ Signal syscall.Signal }

func (e *InterruptError) Error() string {
	return "launch: the job was ended by " + signalName(e.Signal)
}

func (e *InterruptError) Unwrap() error { return ErrInterrupted }

func signalName(s syscall.Signal) string {
	if name := unix.SignalName(s); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", int(s))
}
