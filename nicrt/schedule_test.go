package nicrt

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// pairSchedule is one member's part of an Allreduce between two: each sends its
// input and adds what it receives to its own.
func pairSchedule(self, bytes, elem int) *Schedule {
	s := &Schedule{
		Name: "allreduce/pair", Peers: 2, Self: self, Input: bytes, Output: bytes, Elem: elem,
		Ops: []SchedOp{
			{Kind: Send, Peer: 1 - self, Src: Span{Input, 0, bytes}},
			{Kind: RecvReduce, Peer: 1 - self, Src: Span{Input, 0, bytes}, Dst: Span{Output, 0, bytes}, Reverse: self == 1},
		},
	}
	return s
}

func TestScheduleString(t *testing.T) {
	s := pairSchedule(1, 8, 8)
	s.Scratch = 8
	s.Ops = append(s.Ops,
		SchedOp{Kind: Copy, Src: Span{Output, 0, 8}, Dst: Span{Scratch, 0, 8}, After: []int{1}},
		SchedOp{Kind: Reduce, Src: Span{Scratch, 0, 8}, Dst: Span{Output, 0, 8}, After: []int{0, 2}},
		SchedOp{Kind: Recv, Slot: 1, Dst: Span{Scratch, 0, 8}, After: []int{3}},
	)
	want := `allreduce/pair: member 1 of 2, input 8 B, output 8 B, scratch 8 B
   0  send        in[0:8] -> 0.0
   1  recv-reduce out[0:8] <- 0.0 op in[0:8]
   2  copy        scratch[0:8] <- out[0:8]  after 1
   3  reduce      out[0:8] <- out[0:8] op scratch[0:8]  after 0 2
   4  recv        scratch[0:8] <- 0.1  after 3
`
	if got := s.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(OpKind(0), OpKind(9), Space(9)); got != "none kind(9) space(9)" {
		t.Errorf("names of unknown values: %s", got)
	}
}

func TestValidateErrors(t *testing.T) {
	in, out, scr := Span{Input, 0, 8}, Span{Output, 0, 8}, Span{Scratch, 0, 8}
	ops := func(ops ...SchedOp) func(*Schedule) { return func(s *Schedule) { s.Ops = ops } }
	tests := []struct {
		name string
		edit func(*Schedule)
		op   int
		want string
	}{
		{"no members", func(s *Schedule) { s.Peers = 0 }, -1, "group of 0 members"},
		{"too many members", func(s *Schedule) { s.Peers = maxMembers + 1 }, -1, "65537 members"},
		{"self outside", func(s *Schedule) { s.Self = 3 }, -1, "self is 3"},
		{"negative self", func(s *Schedule) { s.Self = -1 }, -1, "self is -1"},
		{"negative size", func(s *Schedule) { s.Scratch = -1 }, -1, "-1 bytes"},
		{"negative element", func(s *Schedule) { s.Elem = -8 }, -1, "element of -8"},
		{"no kind", ops(SchedOp{}), 0, "unknown none"},
		{"unknown kind", ops(SchedOp{Kind: opKinds}), 0, "unknown kind(6)"},
		{"unknown space", ops(SchedOp{Kind: Copy, Src: Span{7, 0, 8}, Dst: out}), 0, "unknown space(7)"},
		{"source too long", ops(SchedOp{Kind: Send, Peer: 1, Src: Span{Input, 9, 8}}), 0, "source of 8 bytes at 9 is outside in"},
		{"overflowing span", ops(SchedOp{Kind: Send, Peer: 1, Src: Span{Input, 8, 1<<63 - 1}}), 0, "outside in"},
		{"negative offset", ops(SchedOp{Kind: Send, Peer: 1, Src: Span{Input, -1, 1}}), 0, "at -1"},
		{"negative length", ops(SchedOp{Kind: Recv, Peer: 1, Dst: Span{Output, 4, -1}}), 0, "-1 bytes at 4"},
		{"destination outside", ops(SchedOp{Kind: Recv, Peer: 1, Dst: Span{Output, 17, 0}}), 0, "outside out"},
		{"writes input", ops(SchedOp{Kind: Copy, Src: out, Dst: in}), 0, "input is only read"},
		{"peer is self", ops(SchedOp{Kind: Send, Peer: 0, Src: in}), 0, "another member than 0"},
		{"peer outside", ops(SchedOp{Kind: Send, Peer: 3, Src: in}), 0, "peer 3"},
		{"negative peer", ops(SchedOp{Kind: Recv, Peer: -1, Dst: out}), 0, "peer -1"},
		{"reversed copy", ops(SchedOp{Kind: Copy, Src: in, Dst: out, Reverse: true}), 0, "no operands to reverse"},
		{"part of an element", ops(SchedOp{Kind: Reduce, Src: Span{Input, 0, 4}, Dst: Span{Output, 0, 4}}), 0, "multiple of the element's 8"},
		{"send with destination", ops(SchedOp{Kind: Send, Peer: 1, Src: in, Dst: out}), 0, "expected none"},
		{"recv with source", ops(SchedOp{Kind: Recv, Peer: 1, Src: in, Dst: out}), 0, "expected none"},
		{"unequal copy", ops(SchedOp{Kind: Copy, Src: Span{Input, 0, 4}, Dst: out}), 0, "4 bytes into 8"},
		{"unequal operands", ops(SchedOp{Kind: RecvReduce, Peer: 1, Src: Span{Input, 0, 16}, Dst: out}), 0, "16 bytes into 8"},
		{"overlapping operands", ops(SchedOp{Kind: Reduce, Src: Span{Output, 4, 8}, Dst: out}), 0, "overlaps"},
		{"slot gap", ops(SchedOp{Kind: Send, Peer: 1, Slot: 1, Src: in}), 0, "expected 0 to 0"},
		{"negative slot", ops(SchedOp{Kind: Send, Peer: 1, Slot: -1, Src: in}), 0, "slot -1"},
		{"slot twice", ops(SchedOp{Kind: Recv, Peer: 1, Dst: out}, SchedOp{Kind: RecvReduce, Peer: 1, Dst: scr}), 1, "op 0's already"},
		{"after nothing", ops(SchedOp{Kind: Send, Peer: 1, Src: in, After: []int{1}}), 0, "after op 1"},
		{"after negative", ops(SchedOp{Kind: Send, Peer: 1, Src: in, After: []int{-1}}), 0, "after op -1"},
		{"after itself", ops(SchedOp{Kind: Send, Peer: 1, Src: in, After: []int{0}}), 0, "cycle"},
		{"cycle", ops(SchedOp{Kind: Copy, Src: in, Dst: out},
			SchedOp{Kind: Copy, Src: out, Dst: scr, After: []int{0, 2}},
			SchedOp{Kind: Send, Peer: 1, Src: scr, After: []int{1}}), 1, "cycle"},
		{"write against write", ops(SchedOp{Kind: Copy, Src: in, Dst: out}, SchedOp{Kind: Recv, Peer: 1, Dst: Span{Output, 7, 1}}), 0, "neither is after"},
		{"write against send", ops(SchedOp{Kind: Send, Peer: 1, Src: out}, SchedOp{Kind: Recv, Peer: 1, Dst: out}), 1, "neither is after"},
		{"order through a third is not enough the other way", ops(
			SchedOp{Kind: Send, Peer: 1, Src: out},
			SchedOp{Kind: Send, Peer: 2, Src: out},
			SchedOp{Kind: Recv, Peer: 1, Dst: out, After: []int{1}}), 2, "op 0 may use"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &Schedule{Name: "x", Peers: 3, Self: 0, Input: 16, Output: 16, Scratch: 16, Elem: 8}
			tt.edit(s)
			err := s.Validate()
			var se *ScheduleError
			if !errors.As(err, &se) || !errors.Is(err, ErrSchedule) {
				t.Fatalf("got %v, want a *ScheduleError", err)
			}
			if se.Op != tt.op || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q about op %d, want %q about op %d", err, se.Op, tt.want, tt.op)
			}
			if _, cerr := Compile(s); cerr == nil {
				t.Error("Compile accepts it")
			}
		})
	}
}

func TestValidateAcceptsOrderedReuse(t *testing.T) {
	s := &Schedule{Name: "reuse", Peers: 2, Input: 8, Output: 8, Scratch: 8, Ops: []SchedOp{
		{Kind: Recv, Peer: 1, Dst: Span{Scratch, 0, 8}},
		{Kind: Copy, Src: Span{Scratch, 0, 8}, Dst: Span{Output, 0, 8}, After: []int{0}},
		{Kind: Send, Peer: 1, Src: Span{Scratch, 0, 8}, After: []int{0}},
		{Kind: Recv, Peer: 1, Slot: 1, Dst: Span{Scratch, 0, 8}, After: []int{1, 2}},
		{Kind: Send, Peer: 1, Slot: 1},
	}}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
}

func TestVerify(t *testing.T) {
	exchange := func(self int, sendFirst bool) *Schedule {
		s := pairSchedule(self, 8, 8)
		if sendFirst {
			s.Ops[1].After = []int{0}
		} else {
			s.Ops[0].After = []int{1}
		}
		return s
	}
	tests := []struct {
		name string
		all  []*Schedule
		want string // "" for none
	}{
		{"pair", []*Schedule{pairSchedule(0, 8, 8), pairSchedule(1, 8, 8)}, ""},
		{"alone", []*Schedule{{Name: "alone", Peers: 1}}, ""},
		{"ordered ends that meet", []*Schedule{exchange(0, true), exchange(1, false)}, ""},
		{"both send first", []*Schedule{exchange(0, true), exchange(1, true)}, "deadlock with 4 of 4"},
		{"both receive first", []*Schedule{exchange(0, false), exchange(1, false)}, "member 0 op 1 (recv-reduce) for op 0 of member 1"},
		{"lengths differ", []*Schedule{pairSchedule(0, 16, 8), pairSchedule(1, 8, 8)}, "receives 16 bytes, and op 0 of member 1 sends 8"},
		{"never sent", []*Schedule{pairSchedule(0, 8, 8), {Name: "idle", Peers: 2, Self: 1}}, "never sends slot 0"},
		{"never received", []*Schedule{{Name: "idle", Peers: 2}, {Name: "s", Peers: 2, Self: 1, Ops: []SchedOp{{Kind: Send}}}}, "never receives slot 0"},
		{"wrong member", []*Schedule{pairSchedule(1, 8, 8), pairSchedule(0, 8, 8)}, "expected member 0 of 2"},
		{"wrong size", []*Schedule{pairSchedule(0, 8, 8)}, "expected member 0 of 1"},
		{"nil", []*Schedule{nil}, "nil"},
		{"invalid", []*Schedule{{Name: "bad", Peers: 1, Ops: []SchedOp{{}}}}, "unknown none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := Verify(tt.all)
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, ErrSchedule) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an ErrSchedule with %q", err, tt.want)
			}
		})
	}
}

// drawSchedule draws operations with dependences on earlier ones only.
func drawSchedule(t *rapid.T) *Schedule {
	s := &Schedule{Name: "random", Peers: rapid.IntRange(2, 4).Draw(t, "peers"), Input: 32, Output: 32, Scratch: 32}
	slots := map[[2]int]int{}
	for i := range rapid.IntRange(0, 12).Draw(t, "ops") {
		o := SchedOp{Kind: OpKind(rapid.IntRange(1, int(opKinds)-1).Draw(t, "kind"))}
		span := func(sp Space) Span {
			off := rapid.IntRange(0, 24).Draw(t, "off")
			return Span{sp, off, 8}
		}
		if o.Kind != Recv {
			o.Src = span(Space(rapid.IntRange(0, 2).Draw(t, "space")))
		}
		if o.Kind != Send {
			o.Dst = span(Space(rapid.IntRange(1, 2).Draw(t, "space")))
		}
		if o.Src.overlaps(o.Dst) {
			o.Src.Space = Input
		}
		if o.Kind.sends() || o.Kind.receives() {
			o.Peer = rapid.IntRange(1, s.Peers-1).Draw(t, "peer")
			way := 0
			if o.Kind.sends() {
				way = 1
			}
			o.Slot = slots[[2]int{o.Peer, way}]
			slots[[2]int{o.Peer, way}]++
		}
		for a := range i {
			if rapid.IntRange(0, 3).Draw(t, "after") == 0 {
				o.After = append(o.After, a)
			}
		}
		s.Ops = append(s.Ops, o)
	}
	return s
}

// TestRacesAgainstClosure compares the sweep with the plain definition: a pair
// of operations races if neither reaches the other and a write meets an access.
func TestRacesAgainstClosure(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSchedule(t)
		for i := range s.Ops {
			if err := s.checkOp(i); err != nil {
				t.Fatal(err)
			}
		}
		reach := make([][]bool, len(s.Ops))
		for i := range s.Ops {
			reach[i] = make([]bool, len(s.Ops))
			for _, a := range s.Ops[i].After {
				reach[i][a] = true
				for b := range a {
					reach[i][b] = reach[i][b] || reach[a][b]
				}
			}
		}
		race := false
		for i := range s.Ops {
			for j := range i {
				if reach[i][j] {
					continue
				}
				a, b := &s.Ops[i], &s.Ops[j]
				race = race || a.Dst.overlaps(b.Dst) || a.Dst.overlaps(b.Src) || a.Src.overlaps(b.Dst)
			}
		}
		if err := s.Validate(); (err != nil) != race {
			t.Fatalf("race %v, Validate says %v\n%v", race, err, s)
		}
	})
}

func TestCompileLinks(t *testing.T) {
	s := &Schedule{Name: "links", Peers: 4, Self: 2, Input: 8, Output: 24, Ops: []SchedOp{
		{Kind: Recv, Peer: 3, Slot: 1, Dst: Span{Output, 0, 8}},
		{Kind: Recv, Peer: 3, Slot: 0, Dst: Span{Output, 8, 8}},
		{Kind: Recv, Peer: 0, Slot: 0, Dst: Span{Output, 16, 8}, After: []int{0, 1}},
		{Kind: Send, Peer: 0, Slot: 0, Src: Span{Output, 0, 8}, After: []int{0}},
	}}
	c, err := Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	next := func(i int) []int32 { return c.next[c.ops[i].nextAt:c.ops[i].nextEnd] }
	if !slices.Equal(c.roots, []int32{0, 1}) || !slices.Equal(next(0), []int32{2, 3}) || !slices.Equal(next(1), []int32{2}) || len(next(2)) != 0 {
		t.Errorf("roots %v, successors %v of %+v", c.roots, c.next, c.ops)
	}
	for _, tt := range []struct {
		peer int
		slot uint32
		want int32
	}{{3, 0, 1}, {3, 1, 0}, {3, 2, -1}, {0, 0, 2}, {0, 1, -1}, {1, 0, -1}, {2, 0, -1}, {3, 1 << 31, -1}, {3, 1<<32 - 1, -1}} {
		if got := c.recv.find(tt.peer, tt.slot); got != tt.want {
			t.Errorf("receive of slot %d from %d is op %d, want %d", tt.slot, tt.peer, got, tt.want)
		}
	}
	if c.send.find(0, 0) != 3 || c.send.find(3, 0) != -1 || !slices.Equal(c.partners, []int32{0, 3}) || c.Schedule() != s {
		t.Errorf("send table %+v, partners %v", c.send, c.partners)
	}
}

func ExampleSchedule() {
	s := &Schedule{
		Name: "allreduce/pair", Peers: 2, Self: 0, Input: 8, Output: 8, Elem: 8,
		Ops: []SchedOp{
			{Kind: Send, Peer: 1, Src: Span{Input, 0, 8}},
			{Kind: RecvReduce, Peer: 1, Src: Span{Input, 0, 8}, Dst: Span{Output, 0, 8}},
		},
	}
	fmt.Print(s)
	// Output:
	// allreduce/pair: member 0 of 2, input 8 B, output 8 B, scratch 0 B
	//    0  send        in[0:8] -> 1.0
	//    1  recv-reduce out[0:8] <- in[0:8] op 1.0
}
