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
// (see algorithm) is passed over.
//
// The sizes were measured between members on one machine, where a long message
// is read by its receiver out of the sender's memory. So a sender is no
// bottleneck, nobody waits for a wire, and what counts for a few members is how
// often they wait for each other: trees last longer than in the literature.
// Among many members, it is how often a byte is moved one after the other.
var rules = [kinds][]rule{
	Barrier: {
		{"dissemination", 1, inf, inf},
	},
	Bcast: {
		{"binomial", 1, 4, inf},
		{"binomial", 5, inf, 128 * kib},
		{"scatter-doubling", 5, inf, inf},
		{"scatter-ring", 5, inf, inf},
	},
	Gather: {
		{"linear", 1, 4, inf},
		{"binomial", 5, inf, 256},
		{"linear", 5, inf, inf},
	},
	Scatter: {
		{"linear", 1, 4, inf},
		{"binomial", 5, inf, 256},
		{"linear", 5, inf, inf},
	},
	Allgather: {
		{"doubling", 1, inf, 64 * kib},
		{"bruck", 1, inf, 1 * kib},
		{"ring", 1, inf, inf},
	},
	Alltoall: {
		{"bruck", 8, inf, 128},
		{"linear", 1, inf, 128 * kib},
		{"pairwise", 1, inf, inf},
	},
	Reduce: {
		{"binomial", 1, 4, 1024 * kib},
		{"binomial", 5, inf, 64 * kib},
		{"halving", 1, inf, inf},
	},
	Allreduce: {
		{"direct", 3, 8, 2 * kib},
		{"doubling", 1, 4, 64 * kib},
		{"doubling", 5, inf, 16 * kib},
		{"halving", 1, 2, inf},
		{"halving", 3, inf, 512 * kib},
		{"ring", 3, inf, inf},
		{"halving", 3, inf, inf},
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
