package reduce

import (
	"errors"
	"fmt"
)

// ErrUndefined is what every error of Lookup and Lookup3 wraps.
var ErrUndefined = errors.New("operation is not defined")

// An UndefinedError names a combination that has no kernel.
type UndefinedError struct {
	Op   Op
	Type Type
}

func (e *UndefinedError) Error() string {
	return fmt.Sprintf("reduce: %v of %v: %v: want %s", e.Op, e.Type, ErrUndefined, e.want())
}

// Unwrap returns ErrUndefined.
func (e *UndefinedError) Unwrap() error { return ErrUndefined }

// want says what would have been accepted in place of what was given.
func (e *UndefinedError) want() string {
	switch {
	case !e.Op.Valid():
		return fmt.Sprintf("an operator from %d (%v) to %d (%v)", Sum, Sum, opEnd-1, opEnd-1)
	case !e.Type.Valid():
		return fmt.Sprintf("a type from %d (%v) to %d (%v)", Int8, Int8, typeEnd-1, typeEnd-1)
	case e.Op == Min || e.Op == Max:
		return "an integer or floating-point type"
	default:
		return "an integer type"
	}
}
