package unit

import (
	"errors"
	"fmt"

	"outboard/nicrt"
)

var (
	// ErrTruncate reports a message longer than the receive's buffer. The buffer
	// holds the message's beginning; nothing past its end was touched.
	ErrTruncate = errors.New("message longer than the receive buffer")
	// ErrRefused reports a send whose receiver has given the message up: its context has ended there, or the
	// buffer could not be read. It is a nicrt.ErrAborted: the cause is for another to report.
	ErrRefused = fmt.Errorf("message refused: %w", nicrt.ErrAborted)
	// ErrTooMany reports a send beyond the number that one unit can have waiting.
	ErrTooMany = errors.New("too many long sends in flight")
)

// A RangeError reports an argument out of range.
type RangeError struct {
	What            string // "peer", "eager limit"
	Value, Min, Max int
}

func (e *RangeError) Error() string {
	return fmt.Sprintf("unit: %s %d: expected %d to %d", e.What, e.Value, e.Min, e.Max)
}
