package collectives

import "outboard/nicrt"

// halving is Rabenseifner's reduce-scatter (Optimization of collective reduction
// operations, ICCS 2004), the first half of reducing long buffers. Members are
// the corners of a hypercube. In step k corners whose numbers differ in bit k
// share the work on the range of the buffer that they have in common: each
// sends the other one half of it, and combines what it gets with the half that
// it keeps. In the end each corner has one part of the buffer, combined over
// all members.
//
// The distance between partners doubles from step to step, rather than halves,
// so that what is combined are always neighbouring ranges of members: the order
// of operands is kept.
//
// A pair that is folded into one corner begins in the same way: each of the two
// combines one half of the buffer, then the one that does not take part hands
// its half over and is out.
//
// Steps: log2 n, in which a corner sends B/2, B/4 … bytes: B(1-1/n) in all. With
// pairs two more, of B/2 bytes.
type halving struct {
	*program
	fold
	corner int
	in     bool       // takes part
	cut    cut        // into one part for each corner
	sum    nicrt.Span // holds results; where the whole buffer's first byte would be
	lo, hi []int      // parts in common with the partner of each step, at last this corner's own
}

// newHalving does the reduce-scatter. home gives memory for results to members
// whose output is not the place for them; it may be out itself. chosen is a
// member that takes part in any case, or -1.
func newHalving(p *program, chosen int) *halving {
	f := newFold(p.N, chosen)
	h := &halving{program: p, fold: f, corner: f.corner(p.Self), cut: cut{p.Count, p.Elem, f.power}}
	h.in = f.member(h.corner) == p.Self
	h.narrow()
	h.sum = h.home()
	at := p.own()
	if other, paired := f.partner(p.Self); paired {
		at = h.join(other, at)
	}
	if !h.in {
		return h
	}
	for k := range len(h.lo) - 1 {
		other := f.member(h.corner ^ 1<<k)
		lo, hi := h.rest(k)
		p.send(other, h.cut.of(at, lo, hi))
		h.combine(other, at, h.cut.at(h.lo[k+1]), h.cut.at(h.hi[k+1]))
		at = h.sum
	}
	return h
}

// narrow computes the ranges of all steps.
func (h *halving) narrow() {
	lo, hi := 0, h.power
	h.lo, h.hi = []int{lo}, []int{hi}
	for d := 1; d < h.power; d <<= 1 {
		if mid := (lo + hi) / 2; h.corner&d == 0 {
			hi = mid
		} else {
			lo = mid
		}
		h.lo, h.hi = append(h.lo, lo), append(h.hi, hi)
	}
}

// rest gives the parts that are the partner's after step k.
func (h *halving) rest(k int) (lo, hi int) {
	if h.lo[k] == h.lo[k+1] {
		return h.hi[k+1], h.hi[k]
	}
	return h.lo[k], h.lo[k+1]
}

// home gives a place for results. Without an output it is scratch memory, as
// much as the first step leaves to work on.
func (h *halving) home() nicrt.Span {
	p := h.program
	if p.s.Output > 0 || p.bytes() == 0 {
		return out(0, p.bytes())
	}
	from, to := 0, p.bytes()
	if _, paired := h.fold.partner(p.Self); paired {
		if !h.in {
			from, to = h.half()
		}
	} else if h.power > 1 {
		from, to = h.cut.at(h.lo[1]), h.cut.at(h.hi[1])
	}
	sp := p.scratch(to - from)
	return nicrt.Span{Space: sp.Space, Off: sp.Off - from, Len: p.bytes()}
}

// half gives the bytes that this member of a pair combines: the first member
// the first half.
func (h *halving) half() (from, to int) {
	mid := h.Count / 2 * h.Elem
	if h.Self&1 == 0 {
		return 0, mid
	}
	return mid, h.bytes()
}

// join folds a pair into one corner and tells where its sum is.
func (h *halving) join(other int, at nicrt.Span) nicrt.Span {
	from, to := h.half()
	rest := part(at, to, h.bytes()-to)
	result := part(h.sum, to, h.bytes()-to)
	if from > 0 {
		rest, result = part(at, 0, from), part(h.sum, 0, from)
	}
	h.send(other, rest)
	h.combine(other, at, from, to)
	if h.in {
		h.recv(other, result)
	} else {
		h.send(other, part(h.sum, from, to-from))
	}
	return h.sum
}

// combine receives bytes from to to-1 of the buffer and puts their combination
// with those at at into the sum.
func (h *halving) combine(other int, at nicrt.Span, from, to int) {
	h.recvReduce(other, part(h.sum, from, to-from), part(at, from, to-from), !h.Commutative && other < h.Self)
}
