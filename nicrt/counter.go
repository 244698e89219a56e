package nicrt

import (
	"errors"
	"fmt"

	"outboard/verbs"
)

// Counter is the number of a counting event of a NIC. 0 is no counter.
type Counter uint32

// CounterValue is what a counting event has counted. Its sum is what thresholds
// are compared with. All arithmetic is modulo 2^64, so that adding
// -n, as ^uint64(n-1), takes n away: the usual way to reset a counter while
// others may count on.
type CounterValue = verbs.CounterValue

// Negative gives the value to add for taking n successes away.
func Negative(n uint64) CounterValue { return CounterValue{Success: -n} }

// TriggerKind says what a triggered operation does. The zero value is no kind
// and is refused.
type TriggerKind uint8

const (
	// TriggerSend sends Payload with Header to Peer.
	TriggerSend TriggerKind = iota + 1
	// TriggerReduce combines two pieces of memory: Dst = Dst op Src by Kernel. With a
	// nil Kernel it copies Src to Dst.
	TriggerReduce
	// TriggerIncrement adds Value to the counter Target.
	TriggerIncrement
	// TriggerSet sets the counter Target to Value.
	TriggerSet
	// TriggerCall calls Call.
	TriggerCall

	triggerKinds
)

var triggerKindNames = [triggerKinds]string{"none", "send", "reduce", "increment", "set", "call"}

// String gives the kind's name in lower case.
func (k TriggerKind) String() string {
	if k < triggerKinds {
		return triggerKindNames[k]
	}
	return fmt.Sprintf("trigger(%d)", uint8(k))
}

// Triggered is an operation that waits for a counter to reach a threshold. The
// rules are those of Portals 4: it is released when the sum of successes and
// failures reaches or exceeds the threshold, at once if it has when the
// operation is armed; operations on a counter are released in order of
// threshold, and in issue order where that is equal.
//
// The memory that it names belongs to it until it is cancelled, or has run and
// is not Persistent. The payload of a send is taken when it is released, so that
// an operation released after it may overwrite the payload.
type Triggered struct {
	Counter   Counter
	Threshold uint64
	Kind      TriggerKind
	// Persistent operations stay armed: they are released each time that the
	// counter rises from below the threshold to it or beyond.
	Persistent bool
	// Then is a counter that the operation increments when it is over: by a
	// success, or by a failure if it could not be done. 0 is none.
	Then Counter

	// For TriggerSend.
	Peer    int
	Header  Header
	Payload []byte

	// For TriggerReduce; of equal length.
	Dst, Src []byte
	Kernel   func(dst, src []byte)

	// For TriggerIncrement and TriggerSet.
	Target Counter
	Value  CounterValue

	// Call is for TriggerCall. It runs on the NIC and must not block. It may use
	// the counters; an error or panic makes the operation fail.
	Call func() error
}

// ErrCounter is what errors.Is finds in every error about the use of counters.
var ErrCounter = errors.New("nicrt: counter misused")

// CounterError says what is wrong with the use of a counter.
type CounterError struct {
	Counter Counter
	Reason  string // the offending value and what was expected
}

// Error implements error.
func (e *CounterError) Error() string {
	return fmt.Sprintf("nicrt: counter %d: %s", e.Counter, e.Reason)
}

// Unwrap makes the error an ErrCounter.
func (e *CounterError) Unwrap() error { return ErrCounter }

func counterErrorf(c Counter, format string, args ...any) error {
	return &CounterError{Counter: c, Reason: fmt.Sprintf(format, args...)}
}

// CountedFailure is the error of a wait for a counter that counted failures.
type CountedFailure struct {
	Counter Counter
	Value   CounterValue
}

// Error implements error.
func (e *CountedFailure) Error() string {
	return fmt.Sprintf("nicrt: counter %d has %d failures and %d successes", e.Counter, e.Value.Failure, e.Value.Success)
}

// check checks a triggered operation by itself.
func (t *Triggered) check() error {
	switch t.Kind {
	case TriggerSend:
		if t.Peer < 0 {
			return counterErrorf(t.Counter, "triggered send to peer %d", t.Peer)
		}
	case TriggerReduce:
		if len(t.Dst) != len(t.Src) {
			return counterErrorf(t.Counter, "triggered reduction of %d bytes into %d, expected equal lengths", len(t.Src), len(t.Dst))
		}
	case TriggerIncrement, TriggerSet:
	case TriggerCall:
		if t.Call == nil {
			return counterErrorf(t.Counter, "triggered call of nothing")
		}
	default:
		return counterErrorf(t.Counter, "unknown triggered operation %v", t.Kind)
	}
	return nil
}
