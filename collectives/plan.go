package collectives

import (
	"math/bits"
	"strings"

	"outboard/nicrt"
)

// algorithm is one way to do a collective.
type algorithm struct {
	name string
	plan func(*program)
	// What it asks for.
	powerOfTwo  bool // members
	commutative bool // operator
}

// algorithms holds, for each kind, first the one that always works.
var algorithms = [kinds][]algorithm{
	Barrier: {
		{name: "dissemination", plan: barrierDissemination},
	},
	Bcast: {
		{name: "binomial", plan: bcastBinomial},
		{name: "scatter-ring", plan: bcastScatterRing},
		{name: "scatter-doubling", plan: bcastScatterDoubling, powerOfTwo: true},
	},
	Gather: {
		{name: "linear", plan: gatherLinear},
		{name: "binomial", plan: gatherBinomial},
	},
	Scatter: {
		{name: "linear", plan: scatterLinear},
		{name: "binomial", plan: scatterBinomial},
	},
	Allgather: {
		{name: "ring", plan: allgatherRing},
		{name: "bruck", plan: allgatherBruck},
		{name: "doubling", plan: allgatherDoubling, powerOfTwo: true},
	},
	Alltoall: {
		{name: "linear", plan: alltoallLinear},
		{name: "pairwise", plan: alltoallPairwise},
		{name: "bruck", plan: alltoallBruck},
	},
	Reduce: {
		{name: "binomial", plan: reduceBinomial},
		{name: "halving", plan: reduceHalving},
	},
	Allreduce: {
		{name: "doubling", plan: allreduceDoubling},
		{name: "halving", plan: allreduceHalving},
		{name: "ring", plan: allreduceRing, commutative: true},
		{name: "direct", plan: allreduceDirect},
	},
}

// Algorithms lists the names of the algorithms for a kind, first the one that
// works for any group and operator. It is empty if there is no such kind.
func Algorithms(k Kind) []string {
	if k >= kinds {
		return nil
	}
	var names []string
	for _, a := range algorithms[k] {
		names = append(names, a.name)
	}
	return names
}

// find gives the algorithm of a name, or nil.
func find(k Kind, name string) *algorithm {
	for i := range algorithms[k] {
		if algorithms[k][i].name == name {
			return &algorithms[k][i]
		}
	}
	return nil
}

// suits reports what the algorithm asks for and the spec does not have.
func (a *algorithm) suits(s *Spec) error {
	switch {
	case a.powerOfTwo && bits.OnesCount(uint(s.N)) != 1:
		return s.wrong("N", s.N, "a power of two for the algorithm %q", a.name)
	case a.commutative && !s.Commutative:
		return s.wrong("Commutative", s.Commutative, "true for the algorithm %q", a.name)
	}
	return nil
}

// Plan makes one member's schedule for a collective. The schedules that the
// members of a group plan for the same Spec, each with its own Self, belong
// together: nicrt.Verify holds for them. The same Spec gives the same schedule,
// so callers keep it, compiled.
//
// A group of one needs no messages: its schedule copies input to output, and has
// no operation at all in place. So has every schedule for a Count of 0, but a
// Barrier.
//
// The error is a *SpecError.
func Plan(s Spec) (*nicrt.Schedule, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	a := choose(&s)
	if s.Algorithm != "" {
		if a = find(s.Kind, s.Algorithm); a == nil {
			return nil, s.wrong("Algorithm", s.Algorithm, "one of %s", strings.Join(Algorithms(s.Kind), ", "))
		}
		if err := a.suits(&s); err != nil {
			return nil, err
		}
	}
	p := newProgram(s, a.name)
	if s.N == 1 {
		p.copy(out(0, p.s.Input), in(0, p.s.Input))
		return p.s, nil
	}
	a.plan(p)
	return p.s, nil
}
