package collectives

import (
	"math/bits"

	"outboard/nicrt"
)

// allreduceDoubling is recursive doubling. In step k members whose numbers
// differ in bit k exchange what they have combined so far, and both combine the
// two: afterwards each has the result over the 2^k+1 … members that share its
// higher bits. If n is not a power of two, one member of each pair (see fold)
// hands its buffer to the other before and gets the result after.
//
// Partners combine in the same order, that of the members, so all get the same
// bits whatever the operator.
//
// Steps: log2 n, in which every member sends B bytes; with pairs two more.
// Between two members it is two operations and no copy. With more, results
// alternate between the output and B bytes of scratch, so that one can be sent
// while the next one is made.
func allreduceDoubling(p *program) {
	f := newFold(p.N, -1)
	c := f.corner(p.Self)
	partner, paired := f.partner(p.Self)
	if f.member(c) != p.Self {
		p.send(partner, p.own())
		p.recv(partner, p.block(0))
		return
	}
	left := bits.Len(uint(f.power)) - 1
	if paired {
		left++
	}
	a := newAlternation(p, left)
	if paired {
		a.combine(partner)
	}
	for d := 1; d < f.power; d <<= 1 {
		other := f.member(c ^ d)
		p.send(other, a.at)
		a.combine(other)
	}
	if paired {
		p.send(partner, a.at)
	}
}

// alternation is a sequence of reductions of which each leaves its operand
// alone and puts its result elsewhere, the last one into the output.
type alternation struct {
	*program
	at   nicrt.Span // the result so far, at first the member's own buffer
	even nicrt.Span // the result when an even number of reductions is left
	odd  nicrt.Span
	left int
}

func newAlternation(p *program, reductions int) *alternation {
	a := &alternation{program: p, at: p.own(), even: p.block(0), left: reductions}
	inTheWay := p.InPlace && reductions%2 == 1
	if reductions > 1 || inTheWay {
		a.odd = p.scratch(p.bytes())
	}
	if inTheWay {
		p.copy(a.odd, a.at)
		a.at = a.odd
	}
	return a
}

// combine receives the result so far of another member, and combines the two in
// the order of members.
func (a *alternation) combine(other int) {
	a.left--
	to := a.even
	if a.left%2 == 1 {
		to = a.odd
	}
	a.recvReduce(other, to, a.at, other < a.Self)
	a.at = to
}
