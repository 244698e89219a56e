package collectives

import "slices"

// bcastBinomial passes the buffer down a binomial tree: a member receives it
// from its parent and sends it on to its children, the one with the largest
// subtree first, so that the number of members that have it doubles in each
// step.
//
// Steps: ceil(log2 n), of B bytes. All members but the root receive one message
// of B bytes.
func bcastBinomial(p *program) {
	t := tree{p.Root, p.N, p.N}
	v := t.node(p.Self)
	buffer := p.block(0)
	if v > 0 {
		p.recv(t.member(t.parent(v)), buffer)
	}
	for _, child := range slices.Backward(t.children(v)) {
		p.send(t.member(child), buffer)
	}
}
