package tagmatch

import (
	"errors"
	"fmt"
)

// The classes of error, for errors.Is. A call that fails changes nothing.
var (
	ErrKey  = errors.New("key out of range") // of every *KeyError
	ErrFull = errors.New("queue full")       // of every *FullError
)

// KeyError reports a key that cannot belong to what it was given for.
type KeyError struct {
	Key   Key
	Field string // "source" or "tag"
	Value int32  // what the field holds
	Want  string // what it may hold
}

func (e *KeyError) Error() string {
	return fmt.Sprintf("tagmatch: %v: %s is %d, want %s", ErrKey, e.Field, e.Value, e.Want)
}

func (e *KeyError) Unwrap() error { return ErrKey }

// FullError reports a queue that has reached its limit.
type FullError struct {
	Queue string // "receives" or "messages"
	Limit int    // how many it may hold
}

func (e *FullError) Error() string {
	return fmt.Sprintf("tagmatch: %v: %s at their limit of %d", ErrFull, e.Queue, e.Limit)
}

func (e *FullError) Unwrap() error { return ErrFull }
