package collectives

import "math"

// rule gives the algorithm for groups of least to most members and buffers, or
// blocks (see Spec.Count), of up to bytes.
type rule struct {
	algorithm   string
	least, most int
	bytes       int
}

const (
	kib = 1 << 10
	inf = math.MaxInt
)

// rules are tried from the first one; an algorithm that cannot do what is asked
// (see algorithm) is passed over. The sizes suit a fabric with some 0.3 µs from
// one member to the next and memory that copies a few GB/s: where one more
// message and a few more kilobytes cost the same.
var rules = [kinds][]rule{
	Barrier: {
		{"dissemination", 1, inf, inf},
	},
	Bcast: {
		{"binomial", 1, 2, inf},
		{"binomial", 3, 3, 256 * kib},
		{"binomial", 1, inf, 16 * kib},
		{"scatter-doubling", 1, inf, inf},
		{"scatter-ring", 1, inf, inf},
	},
	Gather: {
		{"linear", 1, 4, inf},
		{"binomial", 1, inf, 2 * kib},
		{"linear", 1, inf, inf},
	},
	Scatter: {
		{"linear", 1, 4, inf},
		{"binomial", 1, inf, 2 * kib},
		{"linear", 1, inf, inf},
	},
	Allgather: {
		{"doubling", 1, inf, 16 * kib},
		{"bruck", 1, inf, 1 * kib},
		{"ring", 1, inf, inf},
	},
	Alltoall: {
		{"bruck", 8, inf, 128},
		{"linear", 1, inf, 16 * kib},
		{"pairwise", 1, inf, inf},
	},
	Reduce: {
		{"binomial", 1, inf, 16 * kib},
		{"halving", 1, inf, inf},
	},
	Allreduce: {
		{"direct", 3, 3, 2 * kib},
		{"doubling", 1, inf, 8 * kib},
		{"halving", 1, 2, inf},
		{"halving", 1, inf, 256 * kib},
		{"ring", 1, inf, inf},
		{"halving", 1, inf, inf},
	},
}

// choose gives the algorithm for a spec that names none.
func choose(s *Spec) *algorithm {
	for _, r := range rules[s.Kind] {
		if a := find(s.Kind, r.algorithm); s.N >= r.least && s.N <= r.most && s.bytes() <= r.bytes && a.suits(s) == nil {
			return a
		}
	}
	return &algorithms[s.Kind][0]
}
