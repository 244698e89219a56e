package nicrt

import (
	"errors"
	"fmt"
	"slices"
)

// ErrSchedule is what errors.Is finds in every error about a wrong schedule.
var ErrSchedule = errors.New("nicrt: invalid schedule")

// ScheduleError says what is wrong with a schedule, and where.
type ScheduleError struct {
	Schedule string // its name
	Self     int    // the member whose schedule it is
	Op       int    // index of the operation, -1 if it is not about one
	Reason   string // the offending value and what was expected
}

// Error implements error.
func (e *ScheduleError) Error() string {
	if e.Op < 0 {
		return fmt.Sprintf("nicrt: schedule %q of member %d: %s", e.Schedule, e.Self, e.Reason)
	}
	return fmt.Sprintf("nicrt: schedule %q of member %d: op %d: %s", e.Schedule, e.Self, e.Op, e.Reason)
}

// Unwrap makes the error an ErrSchedule.
func (e *ScheduleError) Unwrap() error { return ErrSchedule }

func (s *Schedule) wrong(op int, format string, args ...any) error {
	return &ScheduleError{Schedule: s.Name, Self: s.Self, Op: op, Reason: fmt.Sprintf(format, args...)}
}

// maxSchedOps bounds the size of a schedule; indexes of operations and
// messages are 32 bits wide on the NIC.
const maxSchedOps = 1 << 24

// maxMembers bounds the size of a group: a message names its sender in 16 bits.
const maxMembers = 1 << 16

// Validate checks one member's schedule by itself: every span within its
// space, every peer within the group, message slots without gaps or duplicates,
// no dependence on an operation that does not exist or that waits in turn, and
// no two operations that may run at the same time while one writes what the
// other touches. The error is a *ScheduleError.
func (s *Schedule) Validate() error {
	if err := s.checkShape(); err != nil {
		return err
	}
	for i := range s.Ops {
		if err := s.checkOp(i); err != nil {
			return err
		}
	}
	if err := s.checkSlots(); err != nil {
		return err
	}
	order, err := s.topological()
	if err != nil {
		return err
	}
	return s.checkRaces(order)
}

func (s *Schedule) checkShape() error {
	switch {
	case s.Peers < 1 || s.Peers > maxMembers:
		return s.wrong(-1, "group of %d members, expected 1 to %d", s.Peers, maxMembers)
	case s.Self < 0 || s.Self >= s.Peers:
		return s.wrong(-1, "self is %d in a group of %d members", s.Self, s.Peers)
	case s.Input < 0 || s.Output < 0 || s.Scratch < 0:
		return s.wrong(-1, "sizes of input, output and scratch are %d, %d and %d bytes, expected none below 0",
			s.Input, s.Output, s.Scratch)
	case s.Elem < 0:
		return s.wrong(-1, "element of %d bytes", s.Elem)
	case len(s.Ops) > maxSchedOps:
		return s.wrong(-1, "%d operations, expected at most %d", len(s.Ops), maxSchedOps)
	}
	return nil
}

// checkOp checks one operation without regard to the others.
func (s *Schedule) checkOp(i int) error {
	o := &s.Ops[i]
	if o.Kind == 0 || o.Kind >= opKinds {
		return s.wrong(i, "unknown %v", o.Kind)
	}
	if err := s.checkSpan(i, "source", o.Src); err != nil {
		return err
	}
	if err := s.checkSpan(i, "destination", o.Dst); err != nil {
		return err
	}
	if o.Kind != Send && o.Dst.Space == Input && o.Dst.Len > 0 {
		return s.wrong(i, "%v writes %v, and input is only read", o.Kind, o.Dst)
	}
	if o.Kind.sends() || o.Kind.receives() {
		if o.Peer < 0 || o.Peer >= s.Peers || o.Peer == s.Self {
			return s.wrong(i, "peer %d, expected another member than %d of the %d", o.Peer, s.Self, s.Peers)
		}
	}
	reduces := o.Kind == Reduce || o.Kind == RecvReduce
	if o.Reverse && !reduces {
		return s.wrong(i, "%v has no operands to reverse", o.Kind)
	}
	if reduces && o.Dst.Len%s.elem() != 0 {
		return s.wrong(i, "reduces %d bytes, expected a multiple of the element's %d", o.Dst.Len, s.elem())
	}
	return s.checkOperands(i)
}

// checkOperands checks how the two spans of an operation go together.
func (s *Schedule) checkOperands(i int) error {
	o := &s.Ops[i]
	switch o.Kind {
	case Send:
		if o.Dst != (Span{}) {
			return s.wrong(i, "send has the destination %v, expected none", o.Dst)
		}
		return nil
	case Recv:
		if o.Src != (Span{}) {
			return s.wrong(i, "recv has the source %v, expected none", o.Src)
		}
		return nil
	case RecvReduce:
		if o.Src.Len == 0 {
			return nil
		}
	}
	if o.Src.Len != o.Dst.Len {
		return s.wrong(i, "%v of %d bytes into %d, expected equal lengths", o.Kind, o.Src.Len, o.Dst.Len)
	}
	if o.Src.overlaps(o.Dst) && o.Src != o.Dst {
		return s.wrong(i, "source %v overlaps destination %v", o.Src, o.Dst)
	}
	return nil
}

func (s *Schedule) checkSpan(i int, what string, sp Span) error {
	if sp.Space >= spaces {
		return s.wrong(i, "%s in unknown %v", what, sp.Space)
	}
	if size := s.size(sp.Space); sp.Off < 0 || sp.Len < 0 || sp.Off > size || sp.Len > size-sp.Off {
		return s.wrong(i, "%s of %d bytes at %d is outside %v, which has %d", what, sp.Len, sp.Off, sp.Space, size)
	}
	return nil
}

// checkSlots checks that the messages each way between the member and each
// peer are numbered 0, 1, 2 …
func (s *Schedule) checkSlots() error {
	counts := [2][]int{make([]int, s.Peers), make([]int, s.Peers)}
	each := func(f func(i, way int) error) error {
		for i := range s.Ops {
			k := s.Ops[i].Kind
			if !k.sends() && !k.receives() {
				continue
			}
			way := 0
			if k.receives() {
				way = 1
			}
			if err := f(i, way); err != nil {
				return err
			}
		}
		return nil
	}
	_ = each(func(i, way int) error { counts[way][s.Ops[i].Peer]++; return nil })
	seen := [2]map[[2]int]int{{}, {}}
	return each(func(i, way int) error {
		o := &s.Ops[i]
		if n := counts[way][o.Peer]; o.Slot < 0 || o.Slot >= n {
			return s.wrong(i, "slot %d of %d messages this way with peer %d, expected 0 to %d", o.Slot, n, o.Peer, n-1)
		}
		at := [2]int{o.Peer, o.Slot}
		if first, dup := seen[way][at]; dup {
			return s.wrong(i, "slot %d with peer %d is op %d's already", o.Slot, o.Peer, first)
		}
		seen[way][at] = i
		return nil
	})
}

// topological gives the operations in an order that respects After.
func (s *Schedule) topological() ([]int, error) {
	need := make([]int, len(s.Ops))
	next := make([][]int, len(s.Ops))
	for i := range s.Ops {
		for _, a := range s.Ops[i].After {
			if a < 0 || a >= len(s.Ops) {
				return nil, s.wrong(i, "after op %d, expected one of the %d operations", a, len(s.Ops))
			}
			next[a] = append(next[a], i)
			need[i]++
		}
	}
	order := make([]int, 0, len(s.Ops))
	for i, n := range need {
		if n == 0 {
			order = append(order, i)
		}
	}
	for at := 0; at < len(order); at++ {
		for _, i := range next[order[at]] {
			if need[i]--; need[i] == 0 {
				order = append(order, i)
			}
		}
	}
	if len(order) < len(s.Ops) {
		i := slices.IndexFunc(need, func(n int) bool { return n > 0 })
		return nil, s.wrong(i, "waits for itself: its dependences %v form a cycle", s.Ops[i].After)
	}
	return order, nil
}

// access is one operation's use of a span.
type access struct {
	span  Span
	op    int
	write bool
}

// accesses lists what operation i reads and writes.
func (s *Schedule) accesses(list []access, i int) []access {
	o := &s.Ops[i]
	if o.Src.Len > 0 {
		list = append(list, access{o.Src, i, false})
	}
	if o.Dst.Len > 0 {
		list = append(list, access{o.Dst, i, true})
	}
	return list
}

// checkRaces looks for two unordered operations of which one writes what the
// other uses. It sorts the spans and sweeps over them, so it only pays for
// order where memory is really shared.
func (s *Schedule) checkRaces(order []int) error {
	var list []access
	for i := range s.Ops {
		list = s.accesses(list, i)
	}
	slices.SortFunc(list, func(a, b access) int {
		if a.span.Space != b.span.Space {
			return int(a.span.Space) - int(b.span.Space)
		}
		return a.span.Off - b.span.Off
	})
	var before ancestry
	for i, a := range list {
		for _, b := range list[i+1:] {
			if !a.span.overlaps(b.span) {
				break
			}
			if a.op == b.op || !a.write && !b.write {
				continue
			}
			if before == nil {
				before = s.ancestry(order)
			}
			if !before.has(a.op, b.op) && !before.has(b.op, a.op) {
				w, r := a, b
				if !w.write {
					w, r = b, a
				}
				return s.wrong(w.op, "writes %v while op %d may use %v: neither is after the other", w.span, r.op, r.span)
			}
		}
	}
	return nil
}

// ancestry holds, for each operation, the set of those it comes after.
type ancestry [][]uint64

func (s *Schedule) ancestry(order []int) ancestry {
	words := (len(s.Ops) + 63) / 64
	all := make([]uint64, words*len(s.Ops))
	sets := make(ancestry, len(s.Ops))
	for _, i := range order {
		set := all[i*words : (i+1)*words]
		for _, a := range s.Ops[i].After {
			set[a/64] |= 1 << (a % 64)
			for w, b := range sets[a] {
				set[w] |= b
			}
		}
		sets[i] = set
	}
	return sets
}

// has reports whether i comes after a.
func (t ancestry) has(i, a int) bool { return t[i][a/64]>>(a%64)&1 == 1 }
