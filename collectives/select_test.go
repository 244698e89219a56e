package collectives

import (
	"strings"
	"testing"
)

func TestChoice(t *testing.T) {
	const mib = 1 << 20
	tests := []struct {
		name        string
		kind        Kind
		n, bytes    int
		commutative bool
		want        string
	}{
		{"small pair", Allreduce, 2, 8, true, "doubling"},
		{"large pair", Allreduce, 2, 64 * mib, true, "halving"},
		{"small, three", Allreduce, 3, 8, true, "direct"},
		{"small, four", Allreduce, 4, 8, true, "direct"},
		{"medium pair", Allreduce, 2, 64 * kib, true, "doubling"},
		{"medium, six", Allreduce, 6, 64 * kib, true, "halving"},
		{"large, six", Allreduce, 6, mib, true, "ring"},
		{"large, six, ordered", Allreduce, 6, mib, false, "halving"},
		{"one", Allreduce, 1, 8, true, "doubling"},
		{"small tree", Bcast, 8, 8, true, "binomial"},
		{"large, four", Bcast, 4, mib, true, "binomial"},
		{"large, eight", Bcast, 8, mib, true, "scatter-doubling"},
		{"large, seven", Bcast, 7, mib, true, "scatter-ring"},
		{"small blocks", Allgather, 7, 8, true, "bruck"},
		{"small blocks, eight", Allgather, 8, 8, true, "doubling"},
		{"large blocks", Allgather, 8, mib, true, "ring"},
		{"few small blocks", Alltoall, 4, 8, true, "linear"},
		{"many small blocks", Alltoall, 16, 8, true, "bruck"},
		{"large blocks, all to all", Alltoall, 16, mib, true, "pairwise"},
		{"small", Gather, 16, 8, true, "binomial"},
		{"large", Gather, 16, mib, true, "linear"},
		{"few", Scatter, 3, 8, true, "linear"},
		{"small reduction", Reduce, 16, 8, false, "binomial"},
		{"large reduction", Reduce, 16, mib, false, "halving"},
		{"barrier", Barrier, 5, 0, true, "dissemination"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Plan(Spec{Kind: tt.kind, N: tt.n, Count: tt.bytes, Elem: 1, Commutative: tt.commutative})
			if err != nil {
				t.Fatal(err)
			}
			if want := tt.kind.String() + "/" + tt.want; s.Name != want {
				t.Errorf("chose %s, want %s", s.Name, want)
			}
		})
	}
}

// Every name in the table is an algorithm, and every algorithm but the first of
// its kind is chosen for something or has its reason not to be.
func TestRulesNameAlgorithms(t *testing.T) {
	for k, list := range rules {
		for _, r := range list {
			if find(Kind(k), r.algorithm) == nil {
				t.Errorf("%v: no algorithm %q, there are %s", Kind(k), r.algorithm, strings.Join(Algorithms(Kind(k)), ", "))
			}
		}
		for _, name := range Algorithms(Kind(k)) {
			used := false
			for _, r := range list {
				used = used || r.algorithm == name
			}
			if !used {
				t.Errorf("%v: nothing chooses %q", Kind(k), name)
			}
		}
	}
}
