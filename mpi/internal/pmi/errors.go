package pmi

import (
	"errors"
	"fmt"
	"strings"
)

// What an Error or an AbortError stands for; compare with errors.Is.
var (
	// ErrEnv: an environment variable that names the launcher is wrong.
	ErrEnv = errors.New("bad PMI environment")
	// ErrProtocol: the other end said something that PMI-1 does not allow.
	ErrProtocol = errors.New("PMI protocol violated")
	// ErrLimit: a key or a value is too long, or has a forbidden character.
	ErrLimit = errors.New("not representable in PMI")
	// ErrNotFound: no process has put this key.
	ErrNotFound = errors.New("key not found")
	// ErrRefused: the launcher answered with an error code.
	ErrRefused = errors.New("refused by the launcher")
	// ErrGone: the connection to the launcher has ended.
	ErrGone = errors.New("the launcher has gone")
	// ErrAborted: the job has been aborted.
	ErrAborted = errors.New("the job was aborted")
	// ErrFinalized: the client has finalized; nothing more can be asked.
	ErrFinalized = errors.New("already finalized")
)

// Error is a failed operation.
type Error struct {
	Op   string // the command or function, such as "get"
	What string // the variable, key or field concerned; may be empty
	Got  string // the offending value; may be empty
	Want string // what was expected; may be empty
	Err  error  // one of the sentinels, or a cause such as context.Canceled
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "pmi: %s", e.Op)
	if e.What != "" {
		fmt.Fprintf(&b, " %s", e.What)
	}
	fmt.Fprintf(&b, ": %v", e.Err)
	if e.Got != "" || e.Want != "" {
		fmt.Fprintf(&b, ": got %q", e.Got)
	}
	if e.Want != "" {
		fmt.Fprintf(&b, ", want %s", e.Want)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// AbortError says that a rank, or the launcher on its behalf, has ended the
// job. It is ErrAborted.
type AbortError struct {
	Rank int // the rank that failed first, or -1 if the launcher did not say
	Code int // the exit code of the job
}

func (e *AbortError) Error() string {
	if e.Rank < 0 {
		return fmt.Sprintf("pmi: %v with code %d", ErrAborted, e.Code)
	}
	return fmt.Sprintf("pmi: %v by rank %d with code %d", ErrAborted, e.Rank, e.Code)
}

func (e *AbortError) Unwrap() error { return ErrAborted }
