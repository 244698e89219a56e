package collectives

import (
	"errors"
	"math"
	"strings"
	"testing"
)

func TestSpecErrors(t *testing.T) {
	tests := []struct {
		name  string
		edit  func(*Spec)
		field string
		want  string
	}{
		{"no kind", func(s *Spec) { s.Kind = 0 }, "Kind", "none, expected barrier to allreduce"},
		{"unknown kind", func(s *Spec) { s.Kind = kinds }, "Kind", "kind(9)"},
		{"no members", func(s *Spec) { s.N = 0 }, "N", "0, expected 1 to 65536"},
		{"negative members", func(s *Spec) { s.N = -4 }, "N", "-4"},
		{"too many members", func(s *Spec) { s.N = MaxMembers + 1 }, "N", "65537"},
		{"self is negative", func(s *Spec) { s.Self = -1 }, "Self", "-1, expected 0 to 3"},
		{"self is too high", func(s *Spec) { s.Self = 4 }, "Self", "4, expected 0 to 3"},
		{"root is negative", func(s *Spec) { s.Root = -1 }, "Root", "-1, expected 0 to 3"},
		{"root is too high", func(s *Spec) { s.Root = 4 }, "Root", "4, expected 0 to 3"},
		{"no element size", func(s *Spec) { s.Elem = 0 }, "Elem", "0"},
		{"negative element size", func(s *Spec) { s.Elem = -8 }, "Elem", "-8"},
		{"huge elements", func(s *Spec) { s.Elem = math.MaxInt }, "Elem", "expected 1 to"},
		{"negative count", func(s *Spec) { s.Count = -1 }, "Count", "-1, expected 0 to"},
		{"size overflows", func(s *Spec) { s.Count = math.MaxInt/8 + 1 }, "Count", "elements of 8 bytes"},
		{"sum of blocks overflows", func(s *Spec) { s.Kind, s.Count = Allgather, maxBytes/8/4+1 }, "Count", "elements of 8 bytes"},
		{"barrier in place", func(s *Spec) { s.Kind, s.InPlace = Barrier, true }, "InPlace", "expected false"},
		{"bcast in place", func(s *Spec) { s.Kind, s.InPlace = Bcast, true }, "InPlace", "expected false"},
		{"alltoall in place", func(s *Spec) { s.Kind, s.InPlace = Alltoall, true }, "InPlace", "expected false"},
		{"unknown algorithm", func(s *Spec) { s.Algorithm = "magic" }, "Algorithm", `"magic", expected one of binomial, halving`},
		{"algorithm of another kind", func(s *Spec) { s.Algorithm = "dissemination" }, "Algorithm", "one of"},
		{"ring without commuting", func(s *Spec) { s.Kind, s.Algorithm = Allreduce, "ring" }, "Commutative", `true for the algorithm "ring"`},
		{"doubling among 6", func(s *Spec) { s.Kind, s.N, s.Algorithm = Allgather, 6, "doubling" }, "N", "6, expected a power of two"},
		{"doubling among 6, broadcast", func(s *Spec) { s.Kind, s.N, s.Algorithm = Bcast, 6, "scatter-doubling" }, "N", "a power of two"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := Spec{Kind: Reduce, N: 4, Self: 1, Root: 2, Count: 10, Elem: 8}
			tt.edit(&s)
			schedule, err := Plan(s)
			var se *SpecError
			if schedule != nil || !errors.As(err, &se) || !errors.Is(err, ErrSpec) {
				t.Fatalf("got %v and error %v, want a *SpecError", schedule, err)
			}
			if se.Field != tt.field || !strings.Contains(err.Error(), tt.field+" is ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q about %s, want %q about %s", err, se.Field, tt.want, tt.field)
			}
		})
	}
}

// What a kind does not use may be anything.
func TestSpecIgnores(t *testing.T) {
	for _, s := range []Spec{
		{Kind: Barrier, N: 4, Root: 99, Count: -1, Elem: -1},
		{Kind: Allreduce, N: 4, Root: 99, Count: 1, Elem: 8},
	} {
		if _, err := Plan(s); err != nil {
			t.Errorf("%+v: %v", s, err)
		}
	}
	if names := Algorithms(kinds); names != nil {
		t.Errorf("an unknown kind has the algorithms %v", names)
	}
}

// The largest sizes that are accepted don't overflow.
func TestLargestBuffers(t *testing.T) {
	for _, n := range []int{2, 3, 4, 17} {
		each(n, []int{n - 1}, func(s Spec) {
			if s.Elem, s.Count = 1, maxBytes; s.Kind.blocked() {
				s.Count = maxBytes / n
			}
			planAll(t, s, nil)
		})
	}
}
