package verbs

import (
	"errors"
	"fmt"
)

// Errors that calls of this package return, wrapped in an *Error; test for
// them with errors.Is. They stand where libibverbs returns an errno.
var (
	ErrInvalid    = errors.New("invalid argument")                 // EINVAL
	ErrState      = errors.New("not allowed in this state")        // EINVAL of a QP in the wrong state
	ErrQueueFull  = errors.New("work queue full")                  // ENOMEM of a post
	ErrBusy       = errors.New("object still in use")              // EBUSY
	ErrDestroyed  = errors.New("object destroyed")                 // use after destroy
	ErrOverflow   = errors.New("completion queue overflow")        // IBV_EVENT_CQ_ERR
	ErrNotDriven  = errors.New("device is present but not driven") // real hardware
	ErrLimit      = errors.New("device limit exceeded")
	ErrUnresolved = errors.New("destination unknown") // EHOSTUNREACH
)

// An Error says which call failed and on what.
type Error struct {
	Op     string // call, in libibverbs' words: "post_send", "modify_qp"
	Object string // "QP 0x12", "MR 0x300", or empty
	Detail string // the offending value and what was expected
	Index  int    // of the first bad work request in a list; else 0
	Err    error  // one of the sentinels above, or the fabric's error
}

func (e *Error) Error() string {
	s := "verbs: " + e.Op
	if e.Object != "" {
		s += " " + e.Object
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s + ": " + e.Err.Error()
}

// Unwrap gives the sentinel.
func (e *Error) Unwrap() error { return e.Err }

func opErr(op, object string, err error, format string, args ...any) *Error {
	return &Error{Op: op, Object: object, Err: err, Detail: fmt.Sprintf(format, args...)}
}

// A Status is the outcome of a work request (IBTA 11.6.2, ibv_wc_status, with the
// same numbers).
type Status uint8

// The statuses of ibv_wc_status. This device never reports LocEECOpErr, LocAccessErr, LocRDDViolErr, RemInvRDReqErr, RemAbortErr,
// InvEECNErr, InvEECStateErr, FatalErr, RespTimeoutErr and GeneralErr.
const (
	Success          Status = 0
	LocLenErr        Status = 1  // message longer than the receive buffers
	LocQPOpErr       Status = 2  // internal inconsistency of a QP
	LocEECOpErr      Status = 3  // of RD, which this device lacks, as are all with EE or RD below
	LocProtErr       Status = 4  // scatter/gather entry outside its region, or wrong lkey or PD
	WRFlushErr       Status = 5  // the queue pair was in, or went to, the error state
	MWBindErr        Status = 6  // a memory window could not be bound
	BadRespErr       Status = 7  // a response that fits no request
	LocAccessErr     Status = 8  // a message could not be placed in local memory
	RemInvReqErr     Status = 9  // the responder found the request malformed
	RemAccessErr     Status = 10 // the responder refused key, bounds, rights or PD
	RemOpErr         Status = 11 // the responder could not finish the operation
	RetryExcErr      Status = 12 // the peer does not answer
	RNRRetryExcErr   Status = 13 // the peer had no receive posted for too long
	LocRDDViolErr    Status = 14
	RemInvRDReqErr   Status = 15
	RemAbortErr      Status = 16 // the peer gave the operation up
	InvEECNErr       Status = 17
	InvEECStateErr   Status = 18
	FatalErr         Status = 19
	RespTimeoutErr   Status = 20
	GeneralErr       Status = 21
	TMErr            Status = 22 // a tag operation came too late, or made no sense
	TMRndvIncomplete Status = 23 // a rendezvous found a buffer that is too small
)

var statusText = [...]string{
	Success:          "success",
	LocLenErr:        "local length error",
	LocQPOpErr:       "local QP operation error",
	LocEECOpErr:      "local EE context operation error",
	LocProtErr:       "local protection error",
	WRFlushErr:       "work request flushed",
	MWBindErr:        "memory window bind error",
	BadRespErr:       "bad response",
	LocAccessErr:     "local access error",
	RemInvReqErr:     "remote invalid request",
	RemAccessErr:     "remote access error",
	RemOpErr:         "remote operation error",
	RetryExcErr:      "transport retry counter exceeded: peer does not answer",
	RNRRetryExcErr:   "RNR retry counter exceeded: peer has no receive posted",
	LocRDDViolErr:    "local RDD violation",
	RemInvRDReqErr:   "remote invalid RD request",
	RemAbortErr:      "remote aborted",
	InvEECNErr:       "invalid EE context number",
	InvEECStateErr:   "invalid EE context state",
	FatalErr:         "fatal device error",
	RespTimeoutErr:   "response timeout",
	GeneralErr:       "general error",
	TMErr:            "tag matching error",
	TMRndvIncomplete: "tag matching rendezvous incomplete",
}

func (s Status) String() string {
	if int(s) < len(statusText) {
		return statusText[s]
	}
	return fmt.Sprintf("status %d", uint8(s))
}

// Error makes a failed Status an error, so that errors.Is(err, verbs.RemAccessErr) works.
func (s Status) Error() string { return "verbs: " + s.String() }
