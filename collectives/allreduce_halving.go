package collectives

// allreduceHalving is Rabenseifner's algorithm for long buffers: a
// reduce-scatter by recursive halving, after which every corner of the
// hypercube has one part of the result, then an allgather by recursive doubling
// along the same edges in the reverse order of steps. Between two members it
// means that each combines one half, straight out of the other's buffer, and
// fetches the other half of the result.
//
// Each part is combined by one member, so all get the same bits.
//
// Steps: 2 log2 n. A member sends 2B(1-1/n) bytes in 2 log2 n messages. If n is
// not a power of two, pairs (see fold) add two steps of B/2 bytes before and one
// of B bytes after. No scratch.
func allreduceHalving(p *program) {
	h := newHalving(p, -1)
	partner, paired := h.partner(p.Self)
	if !h.in {
		p.recv(partner, h.sum)
		return
	}
	for k := len(h.lo) - 2; k >= 0; k-- {
		other := h.member(h.corner ^ 1<<k)
		p.send(other, h.cut.of(h.sum, h.lo[k+1], h.hi[k+1]))
		lo, hi := h.rest(k)
		p.recv(other, h.cut.of(h.sum, lo, hi))
	}
	if paired {
		p.send(partner, h.sum)
	}
}
