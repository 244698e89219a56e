package collectives

// reduceHalving reduces long buffers as Rabenseifner does: a reduce-scatter by
// recursive halving, then the parts are gathered at the root along the same
// hypercube, in the reverse order of steps. The corners that have not handed
// their parts over yet agree with the root's corner in the bits of the steps
// that are done.
//
// Steps: 2 log2 n, with pairs (see fold) two more. A corner sends at most
// 2B(1-1/n) bytes. Members other than the root need up to B/2 bytes of scratch,
// those that stand for a pair B.
func reduceHalving(p *program) {
	h := newHalving(p, p.Root)
	if !h.in {
		return
	}
	root := h.fold.corner(p.Root)
	for k := len(h.lo) - 2; k >= 0; k-- {
		d := 1 << k
		other := h.member(h.corner ^ d)
		if (h.corner^root)&d != 0 {
			p.send(other, h.cut.of(h.sum, h.lo[k+1], h.hi[k+1]))
			return
		}
		lo, hi := h.rest(k)
		p.recv(other, h.cut.of(h.sum, lo, hi))
	}
}
