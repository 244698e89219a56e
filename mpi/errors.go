package mpi

import (
	"errors"
	"fmt"
	"strings"
)

// Errors of this package, to be tested with errors.Is. Every call returns
// them wrapped in an *Error (MPI 4.1, 9.4, has them as error classes).
var (
	ErrTruncate   = errors.New("message longer than the receive buffer")
	ErrRank       = errors.New("rank out of range")
	ErrTag        = errors.New("tag out of range")
	ErrCount      = errors.New("counts disagree")
	ErrColor      = errors.New("color out of range")
	ErrBuffer     = errors.New("buffers overlap")
	ErrOp         = errors.New("operator not defined for this type")
	ErrComm       = errors.New("not a communicator")
	ErrFreed      = errors.New("used after it was freed")
	ErrRequest    = errors.New("not an active request")
	ErrPending    = errors.New("operations still pending")
	ErrProcFailed = errors.New("process failed")
	ErrAborted    = errors.New("aborted")
	ErrInit       = errors.New("Init and Finalize out of order")
	ErrLaunch     = errors.New("cannot join the job")
)

// An Error says what failed, where and with whom. Fields that mean nothing for
// the call are -1 or empty.
type Error struct {
	Op    string // "Send", "Allreduce" …
	Comm  string // the communicator's name
	Rank  int    // the caller's rank in it
	Peer  int    // the other rank: destination, source, root, or the one that failed
	Tag   int
	Count int    // elements
	Info  string // the offending value and what was expected
	Err   error  // one of the errors above, a context's error, or the NIC's
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "mpi: %s", e.Op)
	if e.Comm != "" {
		fmt.Fprintf(&b, " on %s, rank %d", e.Comm, e.Rank)
	}
	if e.Peer >= 0 {
		fmt.Fprintf(&b, ", peer %d", e.Peer)
	}
	if e.Tag >= 0 {
		fmt.Fprintf(&b, ", tag %d", e.Tag)
	}
	if e.Count >= 0 {
		fmt.Fprintf(&b, ", count %d", e.Count)
	}
	fmt.Fprintf(&b, ": %v", e.Err)
	if e.Info != "" {
		fmt.Fprintf(&b, ": %s", e.Info)
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// errorf makes an error of a call on c that names no peer, tag or count.
func (c *Comm) errorf(op string, err error, format string, args ...any) *Error {
	e := &Error{Op: op, Rank: -1, Peer: -1, Tag: -1, Count: -1, Err: err, Info: fmt.Sprintf(format, args...)}
	if c != nil && c.comm != nil {
		e.Comm, e.Rank = c.name, c.rank
	}
	return e
}

// because adds a cause to one of the errors of this package.
func because(err, cause error) error { return fmt.Errorf("%w: %w", err, cause) }

// procFailed is the cause of the errors that the loss of a process brings.
type procFailed struct {
	rank int // in the communicator
	why  error
}

func (p *procFailed) Error() string   { return fmt.Sprintf("rank %d failed: %v", p.rank, p.why) }
func (p *procFailed) Unwrap() []error { return []error{ErrProcFailed, p.why} }
