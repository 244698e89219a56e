package collectives

// allgatherDoubling is recursive doubling: in step k members whose numbers
// differ in bit k exchange the blocks of their groups of 2^k members. It needs n
// to be a power of two.
//
// Steps: log2 n, of b, 2b, 4b … bytes for blocks of b bytes: a member sends
// (n-1)b bytes. No scratch.
func allgatherDoubling(p *program) {
	b := p.bytes()
	mine := p.own()
	for d := 1; d < p.N; d <<= 1 {
		other := p.Self ^ d
		p.send(other, mine)
		if d == 1 {
			p.keepOwn()
		}
		p.recv(other, out(other&^(d-1)*b, d*b))
		mine = out(p.Self&^(2*d-1)*b, 2*d*b)
	}
}

// allgatherRing sends every block around a ring: in each step a member passes
// the block that it got last to the member after it. All messages are between
// neighbours and all bytes land where they belong.
//
// Steps: n-1, in which a member sends one block. No scratch.
func allgatherRing(p *program) {
	left, right := (p.Self-1+p.N)%p.N, (p.Self+1)%p.N
	mine := p.own()
	for s := range p.N - 1 {
		got := (p.Self - s - 1 + p.N) % p.N
		p.send(right, mine)
		p.recv(left, p.block(got))
		mine = p.block(got)
	}
	p.keepOwn()
}

// allgatherBruck doubles what a member has in each step for any n (Bruck et al.:
// Efficient algorithms for all-to-all communications, 1997). A member collects
// blocks in the order in which their owners follow it around the group: while
// it has those of d members, itself first, it gets the next d from the member d
// after it and sends its own d to the member d before it. At last it turns them
// into the order of members.
//
// Steps: ceil(log2 n), of b, 2b, 4b … bytes, the last one of what is missing: a
// member sends (n-1)b bytes. Scratch for n blocks, which are all copied once.
func allgatherBruck(p *program) {
	b := p.bytes()
	blocks := p.scratch(p.N * b)
	mine := p.own()
	for d := 1; d < p.N; d <<= 1 {
		n := min(d, p.N-d)
		if d > 1 {
			mine = part(blocks, 0, n*b)
		}
		p.send((p.Self-d+p.N)%p.N, mine)
		if d == 1 {
			p.copy(part(blocks, 0, b), mine)
		}
		p.recv((p.Self+d)%p.N, part(blocks, d*b, n*b))
	}
	turn := p.N - p.Self // blocks before it are of this member and those after
	p.copy(out(p.Self*b, turn*b), part(blocks, 0, turn*b))
	p.copy(out(0, p.Self*b), part(blocks, turn*b, p.Self*b))
}
