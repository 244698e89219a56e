package cm

import (
	"errors"
	"fmt"

	"outboard/verbs/internal/ib"
)

// What an error of this package stands for; compare with errors.Is.
var (
	ErrInvalid     = errors.New("invalid argument")
	ErrAddress     = errors.New("malformed address")
	ErrInUse       = errors.New("port in use")
	ErrUnreachable = errors.New("peer unreachable")
	ErrTimeout     = errors.New("no answer from the peer") // is ErrUnreachable too
	ErrRefused     = errors.New("connection refused")      // nobody listens at the port
	ErrLost        = errors.New("connection lost")         // the wire, or a device that was closed, has ended it
	ErrClosed      = errors.New("closed")
)

// An Error says which call failed and on what. It is the sentinels that it wraps, and the cause: an error of verbs or of the system.
type Error struct {
	Op     string // "listen", "dial", "accept" …
	Addr   string // the peer or the port
	Detail string // the offending value and what was expected
	Err    error
}

func (e *Error) Error() string {
	s := "cm: " + e.Op
	if e.Addr != "" {
		s += " " + e.Addr
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s + ": " + e.Err.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

func fail(op, addr string, err error, format string, args ...any) *Error {
	return &Error{Op: op, Addr: addr, Err: err, Detail: fmt.Sprintf(format, args...)}
}

// errNoAnswer is how an exchange ends whose retries are used up.
var errNoAnswer = fmt.Errorf("%w: %w", ErrUnreachable, ErrTimeout)

// A RejectReason says why a peer has refused (IBTA 12.6.7.2).
type RejectReason = ib.RejectReason

// The reasons that this package gives; a peer may give any other.
const (
	NoResources        = ib.RejNoResources        // the listener has too many requests that wait
	Timeout            = ib.RejTimeout            // the peer has given up
	UnsupportedRequest = ib.RejUnsupportedRequest // the request makes no sense
	InvalidCommID      = ib.RejInvalidCommID      // the peer knows nothing of the connection
	InvalidServiceID   = ib.RejInvalidServiceID   // nobody listens: ErrRefused
	InvalidServiceType = ib.RejInvalidServiceType // neither RC nor UC
	StaleConnection    = ib.RejStaleConnection    // the peer thought the queue pair connected
	InvalidGID         = ib.RejInvalidGID         // the request was not meant for this port
	InvalidMTU         = ib.RejInvalidMTU         // more than the peer's port carries
	ConsumerReject     = ib.RejConsumer           // the peer's program does not want it
)

// A RejectedError is a refusal by the peer. It is ErrRefused if nobody listens, and ErrTimeout if the peer has given up waiting.
type RejectedError struct {
	Reason      RejectReason
	PrivateData []byte // 148 bytes of ConsumerReject: what Request.Reject was given and zeros

	info []byte
	port uint16 // that was dialed, or 0
}

func (e *RejectedError) Error() string {
	if e.Reason == InvalidServiceID && e.port != 0 {
		return nobodyListens(e.port).Error()
	}
	return "rejected: " + e.Reason.String()
}

// nobodyListens is what a dialer gets whose port nobody holds, whoever tells: the machine, or the NIC.
func nobodyListens(port uint16) error {
	return fmt.Errorf("%w: nobody listens at port %d", ErrRefused, port)
}

// offersMTU tells whether the peer has refused a path MTU, in bytes or 0 for the port's, and says which smaller one would do.
func (e *RejectedError) offersMTU(asked int) bool {
	if e.Reason != InvalidMTU || len(e.info) != 1 {
		return false
	}
	code := e.info[0]
	return code >= 1 && code < 5 && (asked == 0 || code < mtuCode(asked))
}

// Is makes a RejectedError what its reason means.
func (e *RejectedError) Is(target error) bool {
	return target == ErrRefused && e.Reason == InvalidServiceID || target == ErrTimeout && e.Reason == Timeout
}
