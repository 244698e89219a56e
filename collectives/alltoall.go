package collectives

import (
	"math/bits"

	"outboard/nicrt"
)

// alltoallLinear exchanges all blocks at once. Members begin with different
// partners, so that none is everybody's first.
//
// Steps: n-1, none of which waits for another. A member sends n-1 blocks. No
// scratch.
func alltoallLinear(p *program) {
	for d := 1; d < p.N; d++ {
		to, from := (p.Self+d)%p.N, (p.Self-d+p.N)%p.N
		p.send(to, p.outgoing(to))
		p.recv(from, p.block(from))
	}
	p.copy(p.block(p.Self), p.outgoing(p.Self))
}

// outgoing gives the block for a member.
func (p *program) outgoing(to int) nicrt.Span { return in(to*p.bytes(), p.bytes()) }

// alltoallPairwise exchanges long blocks with one partner after the other: in
// step d a member deals with the one whose number differs from its own by d, as
// exclusive or if n is a power of two, so that both have each other; else it
// sends to the one d after and receives from the one d before. Nobody is ever
// sent two blocks at a time.
//
// Steps: n-1, in which a member sends one block. No scratch.
func alltoallPairwise(p *program) {
	var before []int // the exchange before
	for d := 1; d < p.N; d++ {
		to, from := (p.Self+d)%p.N, (p.Self-d+p.N)%p.N
		if bits.OnesCount(uint(p.N)) == 1 {
			to, from = p.Self^d, p.Self^d
		}
		if p.bytes() == 0 {
			continue
		}
		send := p.add(nicrt.SchedOp{Kind: nicrt.Send, Peer: to, Src: p.outgoing(to)}, before...)
		recv := p.add(nicrt.SchedOp{Kind: nicrt.Recv, Peer: from, Dst: p.block(from)}, before...)
		before = []int{send, recv}
	}
	p.copy(p.block(p.Self), p.outgoing(p.Self))
}

// alltoallBruck sends few messages at the price of more bytes (Bruck et al.:
// Efficient algorithms for all-to-all communications, 1997). A block that has
// to go j members ahead makes its way in the hops of j's binary digits: in step
// k each member passes to the member 2^k after it, as one message, the blocks
// that have bit k in their distance, whoever they came from. A block is copied
// only into such messages; in between it stays where it arrived.
//
// Steps: ceil(log2 n). In step k a member sends one message of the blocks 0 < j <
// n with bit k set, about n/2 of them. Scratch: the blocks sent and received
// in all steps, about n log2 n.
func alltoallBruck(p *program) {
	at := make([]nicrt.Span, p.N) // of the blocks, by the distance they go in all
	for j := range at {
		at[j] = p.outgoing((p.Self + j) % p.N)
	}
	for d := 1; d < p.N; d <<= 1 {
		var moving []int
		for j := range at {
			if j&d != 0 {
				moving = append(moving, j)
			}
		}
		p.send((p.Self+d)%p.N, p.pack(at, moving))
		came := p.scratch(len(moving) * p.bytes())
		p.recv((p.Self-d+p.N)%p.N, came)
		for i, j := range moving {
			at[j] = part(came, i*p.bytes(), p.bytes())
		}
	}
	for j := range at {
		p.copy(p.block((p.Self-j+p.N)%p.N), at[j])
	}
}

// pack puts blocks side by side, unless they are already, and tells where.
func (p *program) pack(at []nicrt.Span, which []int) nicrt.Span {
	runs := []nicrt.Span{at[which[0]]}
	for _, j := range which[1:] {
		last := &runs[len(runs)-1]
		if at[j].Space == last.Space && at[j].Off == last.Off+last.Len {
			last.Len += at[j].Len
		} else {
			runs = append(runs, at[j])
		}
	}
	if len(runs) == 1 {
		return runs[0]
	}
	packed := p.scratch(len(which) * p.bytes())
	off := 0
	for _, r := range runs {
		p.copy(part(packed, off, r.Len), r)
		off += r.Len
	}
	return packed
}
