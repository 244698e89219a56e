package collectives

import (
	"errors"
	"fmt"
	"math"
)

// Kind names a collective operation. The zero value is none.
type Kind uint8

const (
	// Barrier lets no member leave before all have entered (MPI 4.1, 6.3).
	Barrier Kind = iota + 1
	// Bcast copies the root's buffer to all members (6.4). The buffer is the
	// schedule's output on every member, the root included.
	Bcast
	// Gather puts one block of every member after another at the root (6.5).
	Gather
	// Scatter is the inverse of Gather (6.6).
	Scatter
	// Allgather is Gather to all members (6.7).
	Allgather
	// Alltoall sends block j of member i to block i of member j (6.8).
	Alltoall
	// Reduce combines the buffers of all members at the root (6.9.1).
	Reduce
	// Allreduce is Reduce to all members (6.9.6).
	Allreduce

	kinds
)

var kindNames = [kinds]string{"none", "barrier", "bcast", "gather", "scatter", "allgather", "alltoall", "reduce", "allreduce"}

// String gives the kind's name in lower case, as it begins names of schedules.
func (k Kind) String() string {
	if k < kinds {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// rooted, blocked and reducing say whether one member is special, whether Count
// is that of one of N blocks, and whether there is arithmetic.
func (k Kind) rooted() bool { return k == Bcast || k == Gather || k == Scatter || k == Reduce }
func (k Kind) blocked() bool {
	return k == Gather || k == Scatter || k == Allgather || k == Alltoall
}
func (k Kind) reducing() bool { return k == Reduce || k == Allreduce }

// hasInPlace says whether the kind can work in place.
func (k Kind) hasInPlace() bool { return k != Barrier && k != Bcast && k != Alltoall }

// Spec describes one member's part in a collective. All members of the group
// give the same values but for Self and InPlace.
type Spec struct {
	Kind    Kind
	Self, N int // this member and how many there are: 0 <= Self < N <= MaxMembers
	Root    int // of Bcast, Gather, Scatter and Reduce; ignored by the others

	// Count is the number of elements: of the whole buffer, or for Gather,
	// Scatter, Allgather and Alltoall of the block that one member contributes
	// to or gets from another. Elem is the size of an element in bytes. A
	// Barrier ignores both.
	Count, Elem int

	// InPlace says that the member's contribution lies where its result goes:
	// the schedule's input is empty. For Allreduce and Reduce it is the output,
	// for Allgather and Gather block Self of the output. For Scatter the blocks
	// of all lie in the output and the root's stays there. For the rooted kinds
	// it counts only at the root.
	InPlace bool

	// Commutative says that operands may be exchanged. If it is false, members
	// are combined strictly in ascending order.
	Commutative bool

	// Algorithm is one of Algorithms(Kind), or empty to choose by size.
	Algorithm string
}

// MaxMembers bounds the size of a group.
const MaxMembers = 1 << 16

// maxBytes bounds the buffers so that no sum of a few of them overflows.
const maxBytes = math.MaxInt / 64

// ErrSpec is what errors.Is finds in every error about a Spec.
var ErrSpec = errors.New("collectives: invalid spec")

// SpecError names the field of a Spec that is wrong.
type SpecError struct {
	Kind  Kind
	Field string // such as "Root"
	Value any    // what it is
	Want  string // what was expected
}

// Error implements error.
func (e *SpecError) Error() string {
	value := fmt.Sprint(e.Value)
	if s, ok := e.Value.(string); ok {
		value = fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("collectives: %v: %s is %s, expected %s", e.Kind, e.Field, value, e.Want)
}

// Unwrap makes the error an ErrSpec.
func (e *SpecError) Unwrap() error { return ErrSpec }

func (s *Spec) wrong(field string, value any, want string, args ...any) error {
	return &SpecError{Kind: s.Kind, Field: field, Value: value, Want: fmt.Sprintf(want, args...)}
}

// check reports the first field that is wrong, without regard to Algorithm.
func (s *Spec) check() error {
	switch {
	case s.Kind == 0 || s.Kind >= kinds:
		return s.wrong("Kind", s.Kind, "%v to %v", Barrier, kinds-1)
	case s.N < 1 || s.N > MaxMembers:
		return s.wrong("N", s.N, "1 to %d", MaxMembers)
	case s.Self < 0 || s.Self >= s.N:
		return s.wrong("Self", s.Self, "0 to %d", s.N-1)
	case s.Kind.rooted() && (s.Root < 0 || s.Root >= s.N):
		return s.wrong("Root", s.Root, "0 to %d", s.N-1)
	case s.InPlace && !s.Kind.hasInPlace():
		return s.wrong("InPlace", s.InPlace, "false")
	case s.Kind == Barrier:
		return nil
	case s.Elem < 1 || s.Elem > maxBytes:
		return s.wrong("Elem", s.Elem, "1 to %d bytes", maxBytes)
	}
	blocks := 1
	if s.Kind.blocked() {
		blocks = s.N
	}
	if most := maxBytes / s.Elem / blocks; s.Count < 0 || s.Count > most {
		return s.wrong("Count", s.Count, "0 to %d elements of %d bytes", most, s.Elem)
	}
	return nil
}

// bytes gives the size of the buffer or block that Count describes.
func (s *Spec) bytes() int {
	if s.Kind == Barrier {
		return 0
	}
	return s.Count * s.Elem
}
