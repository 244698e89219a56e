package nicrt

import (
	"fmt"
	"strings"
)

// OpKind says what one operation of a schedule does. The zero value is no kind
// and is refused, so that a forgotten field cannot pass for a Send.
type OpKind uint8

const (
	// Send sends Src to Peer. It is finished when Src may be written again.
	Send OpKind = iota + 1
	// Recv receives a message of exactly Dst.Len bytes from Peer into Dst.
	Recv
	// RecvReduce receives a message m of exactly Dst.Len bytes from Peer and
	// combines it: Dst = A op m, where A is Src if Src.Len > 0, else Dst itself.
	// With Reverse it is Dst = m op A. Given a Src, neither order costs a copy
	// of the message.
	RecvReduce
	// Reduce combines two local spans: Dst = Dst op Src, or with Reverse
	// Dst = Src op Dst.
	Reduce
	// Copy copies Src to Dst.
	Copy

	opKinds
)

var opKindNames = [opKinds]string{"none", "send", "recv", "recv-reduce", "reduce", "copy"}

// String gives the kind's name in lower case.
func (k OpKind) String() string {
	if k < opKinds {
		return opKindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// sends and receives say whether the kind takes part in a message.
func (k OpKind) sends() bool    { return k == Send }
func (k OpKind) receives() bool { return k == Recv || k == RecvReduce }

// Space names the memory that a span lies in.
type Space uint8

const (
	// Input is the caller's send buffer. A schedule only reads it.
	Input Space = iota
	// Output is the caller's receive buffer.
	Output
	// Scratch is NIC memory that a run has for itself. Its contents are
	// undefined when the run starts.
	Scratch

	spaces
)

var spaceNames = [spaces]string{"in", "out", "scratch"}

// String gives the space's short name: in, out or scratch.
func (s Space) String() string {
	if s < spaces {
		return spaceNames[s]
	}
	return fmt.Sprintf("space(%d)", uint8(s))
}

// Span is Len bytes of a space, beginning at byte Off.
type Span struct {
	Space    Space
	Off, Len int
}

// String writes the span as a slice expression, such as out[8:16].
func (s Span) String() string { return fmt.Sprintf("%v[%d:%d]", s.Space, s.Off, s.Off+s.Len) }

// overlaps reports whether two spans share a byte.
func (s Span) overlaps(o Span) bool {
	return s.Space == o.Space && s.Len > 0 && o.Len > 0 && s.Off < o.Off+o.Len && o.Off < s.Off+s.Len
}

// SchedOp is one operation of a schedule.
type SchedOp struct {
	Kind OpKind
	// Peer is the index in the group of the member at the other end of a
	// message. It is never the member itself: what stays at home is a Copy.
	Peer int
	// Slot tells apart the messages of one run that go the same way between the
	// same two members. The k messages to a peer have slots 0..k-1, and so
	// have the messages from it; a Send meets the receive with the same slot.
	Slot int
	// Src and Dst are what the operation reads and writes; see OpKind. A span
	// that a kind does not use is left zero.
	Src, Dst Span
	// Reverse exchanges the operands of a Reduce or RecvReduce. Only operators
	// that do not commute need it.
	Reverse bool
	// After lists the operations, by index, that must be finished before this
	// one begins. Operations that are not ordered by it, directly or through
	// others, may run in any order and at the same time.
	After []int
}

// String describes the operation in one line, without its index.
func (o *SchedOp) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-11v ", o.Kind)
	switch o.Kind {
	case Send:
		fmt.Fprintf(&b, "%v -> %d.%d", o.Src, o.Peer, o.Slot)
	case Recv:
		fmt.Fprintf(&b, "%v <- %d.%d", o.Dst, o.Peer, o.Slot)
	case RecvReduce:
		a := o.Dst
		if o.Src.Len > 0 {
			a = o.Src
		}
		fmt.Fprintf(&b, "%v <- %s", o.Dst, operands(a.String(), fmt.Sprintf("%d.%d", o.Peer, o.Slot), o.Reverse))
	case Reduce:
		fmt.Fprintf(&b, "%v <- %s", o.Dst, operands(o.Dst.String(), o.Src.String(), o.Reverse))
	default:
		fmt.Fprintf(&b, "%v <- %v", o.Dst, o.Src)
	}
	for i, a := range o.After {
		sep := " "
		if i == 0 {
			sep = "  after "
		}
		fmt.Fprintf(&b, "%s%d", sep, a)
	}
	return b.String()
}

func operands(a, b string, reverse bool) string {
	if reverse {
		a, b = b, a
	}
	return a + " op " + b
}

// Schedule is one member's part in a collective, as data: a graph of
// operations. It knows sizes and peers but neither buffers nor arithmetic;
// those are given when a run of it starts, so that one schedule serves all
// calls of the same shape, in real time or in a simulator's.
//
// A Schedule is never changed once it has been given to Compile or Verify.
type Schedule struct {
	// Name says what the schedule does and how, such as
	// "allreduce/recursive-doubling".
	Name string
	// Peers is the number of members in the group, Self the index of the member
	// whose part this is.
	Peers, Self int
	// Input, Output and Scratch are the sizes of the three spaces in bytes. A
	// run that works in place has its data in Output and an Input of 0.
	Input, Output, Scratch int
	// Elem is the size in bytes of the elements that are reduced. Reductions
	// are cut into pieces only at its multiples. 0 stands for 1 and suits
	// schedules that don't reduce.
	Elem int
	// Ops are the operations in issue order, in which those that become ready
	// together begin.
	Ops []SchedOp
}

// elem gives the size of an element, at least 1.
func (s *Schedule) elem() int { return max(s.Elem, 1) }

// size gives the size of a space in bytes.
func (s *Schedule) size(sp Space) int { return [spaces]int{s.Input, s.Output, s.Scratch}[sp] }

// String writes the schedule with one line for each operation.
func (s *Schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: member %d of %d, input %d B, output %d B, scratch %d B\n",
		s.Name, s.Self, s.Peers, s.Input, s.Output, s.Scratch)
	for i := range s.Ops {
		fmt.Fprintf(&b, "%4d  %s\n", i, s.Ops[i].String())
	}
	return b.String()
}
