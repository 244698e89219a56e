package collectives

import "outboard/nicrt"

// reduceBinomial combines along a binomial tree, the broadcast's upside down. A
// member combines its own buffer with those of its children, the one with the
// smallest subtree first, and sends the result to its parent. A subtree is a
// range of members that follow each other, and children come in ascending
// order, so every result is that of a range in order.
//
// If the operator commutes, the tree begins at the root and goes around the
// group. If not, there are two: one over the root and the members after it, and
// one over the members before it, whose result the root puts in front.
//
// Steps: ceil(log2 n), or 1 more if the operator does not commute, of B bytes.
// All members but the root send one message of B bytes. Members that are
// neither leaf nor root need B bytes of scratch.
func reduceBinomial(p *program) {
	if p.Commutative {
		reduceTree(p, tree{p.Root, p.N, p.N})
		return
	}
	if p.Self < p.Root {
		if at := reduceTree(p, tree{0, p.Root, p.N}); p.Self == 0 {
			p.send(p.Root, at)
		}
		return
	}
	at := reduceTree(p, tree{p.Root, p.N - p.Root, p.N})
	if p.Self == p.Root && p.Root > 0 {
		p.recvReduce(0, out(0, p.bytes()), at, true)
	}
}

// reduceTree combines the buffers of a tree's members and tells its root where
// the result is: in the caller's buffers if the tree is all of one member.
func reduceTree(p *program, t tree) nicrt.Span {
	v := t.node(p.Self)
	at := p.own()
	children := t.children(v)
	if len(children) > 0 {
		sum := out(0, p.bytes())
		if p.Self != p.Root {
			sum = p.scratch(p.bytes())
		}
		for _, child := range children {
			p.recvReduce(t.member(child), sum, at, false)
			at = sum
		}
	}
	if v > 0 {
		p.send(t.member(t.parent(v)), at)
	}
	return at
}
