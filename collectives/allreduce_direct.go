package collectives

// allreduceDirect is for a handful of members and few bytes: every member sends
// its buffer to every other one and combines all of them itself, beginning with
// member 0, so that all get the same bits. No message waits
// for another: among three members all is done in the time of one, where
// recursive doubling takes three in a row.
//
// Steps: n-1, in each of which a member sends B bytes. In place it takes B bytes
// of scratch.
func allreduceDirect(p *program) {
	own, sum := p.own(), p.block(0)
	if p.InPlace {
		own = p.scratch(p.bytes())
		p.copy(own, sum)
	}
	for d := 1; d < p.N; d++ {
		p.send((p.Self+d)%p.N, own)
	}
	first := 0
	switch p.Self {
	case 0:
		p.recvReduce(1, sum, own, false)
		first = 2
	case 1:
		p.recvReduce(0, sum, own, true)
		first = 2
	default:
		p.recv(0, sum)
		first = 1
	}
	for m := first; m < p.N; m++ {
		if m == p.Self {
			p.reduce(sum, own)
		} else {
			p.recvReduce(m, sum, sum, false)
		}
	}
}
