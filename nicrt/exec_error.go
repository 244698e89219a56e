package nicrt

import (
	"errors"
	"fmt"
)

var (
	// ErrGroupClosed is the cause of runs and messages of a group that was closed.
	ErrGroupClosed = errors.New("group is closed")
	// ErrAborted is the cause of a run that another member reported as failed.
	ErrAborted = errors.New("another member reports a failure")
	// ErrMessage is what errors.Is finds in every error about a message that
	// contradicts what the receiver expects.
	ErrMessage = errors.New("unexpected message")
	// ErrBusy is the cause of a start with a completion that is still pending,
	// or of closing a group with runs in progress.
	ErrBusy = errors.New("in use by a run")
)

// RunError says which run of a schedule failed and where.
type RunError struct {
	Schedule string // name of the schedule
	Group    uint32 // id of the group
	Self     int    // index in the group of the member that reports
	Run      uint32 // number of the run in the group
	Op       int    // operation of the schedule, -1 if it is not about one
	Peer     int    // index in the group of the member concerned, -1 if none is
	Err      error  // the cause
}

// Error implements error.
func (e *RunError) Error() string {
	where := fmt.Sprintf("nicrt: %s, member %d of group %d, run %d", e.Schedule, e.Self, e.Group, e.Run)
	if e.Op >= 0 {
		where += fmt.Sprintf(", op %d", e.Op)
	}
	if e.Peer >= 0 {
		where += fmt.Sprintf(", peer %d", e.Peer)
	}
	return where + ": " + e.Err.Error()
}

// Unwrap gives the cause.
func (e *RunError) Unwrap() error { return e.Err }

// MessageError describes a message that the executor cannot use.
type MessageError struct {
	Peer   int    // where it came from, an index of the NIC
	Header Header // as it arrived
	Len    int    // bytes of payload
	Reason string // the offending value and what was expected
}

// Error implements error.
func (e *MessageError) Error() string {
	return fmt.Sprintf("nicrt: %v from peer %d (%v, %d bytes): %s", ErrMessage, e.Peer, e.Header, e.Len, e.Reason)
}

// Unwrap makes the error an ErrMessage.
func (e *MessageError) Unwrap() error { return ErrMessage }

// PeerError says that a peer of the NIC was lost.
type PeerError struct {
	Peer int   // index of the NIC
	Err  error // why
}

// Error implements error.
func (e *PeerError) Error() string { return fmt.Sprintf("peer %d is lost: %v", e.Peer, e.Err) }

// Unwrap gives the reason.
func (e *PeerError) Unwrap() error { return e.Err }

// KernelError says that a reduction panicked.
type KernelError struct {
	Value any    // what it panicked with
	Stack []byte // where
}

// Error implements error. It leaves the stack out.
func (e *KernelError) Error() string { return fmt.Sprintf("reduction panicked: %v", e.Value) }

// Unwrap gives the error that the reduction panicked with, if it was one.
func (e *KernelError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// StartError says why a run could not be started. Nothing has happened then:
// the run has not taken its place in the group's order and may be tried again.
type StartError struct {
	Schedule string
	Group    uint32
	Reason   string // the offending value and what was expected
	Err      error  // the cause, if there is one besides
}

// Error implements error.
func (e *StartError) Error() string {
	s := fmt.Sprintf("nicrt: cannot start %q in group %d: %s", e.Schedule, e.Group, e.Reason)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives the cause.
func (e *StartError) Unwrap() error { return e.Err }
