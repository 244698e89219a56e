package collectives

// allreduceRing cuts the buffer into n parts and sends them around a ring twice.
// On the first round a part collects the contributions of all members: in step
// s a member passes part self-s on to the member after it and combines part
// self-s-1 with its own. Then the member after which a part set out has it
// complete, and on the second round all get it. (Patarasuk and Yuan: Bandwidth
// optimal all-reduce algorithms, 2009.)
//
// A part's operands come in the order of the ring, beginning anywhere, so the
// operator must commute; all members get the same bits.
//
// Steps: 2(n-1), in each of which a member sends B/n bytes to the same
// neighbour: 2B(1-1/n) in all, for any n. No scratch.
func allreduceRing(p *program) {
	c := cut{p.Count, p.Elem, p.N}
	left, right := (p.Self-1+p.N)%p.N, (p.Self+1)%p.N
	mine, sum := p.own(), p.block(0)
	at := mine
	for s := range p.N - 1 {
		sent, got := (p.Self-s+p.N)%p.N, (p.Self-s-1+p.N)%p.N
		p.send(right, c.of(at, sent, sent+1))
		p.recvReduce(left, c.of(sum, got, got+1), c.of(mine, got, got+1), false)
		at = sum
	}
	for s := range p.N - 1 {
		sent, got := (p.Self-s+1+p.N)%p.N, (p.Self-s+p.N)%p.N
		p.send(right, c.of(sum, sent, sent+1))
		p.recv(left, c.of(sum, got, got+1))
	}
}
