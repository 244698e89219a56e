package collectives

import "outboard/nicrt"

// gatherBinomial collects blocks up a binomial tree: a member puts its own block
// and those of its children's subtrees side by side and sends them to its
// parent as one message. Few messages reach the root, but blocks travel up to
// log2 n times.
//
// Steps: ceil(log2 n). The member at node v sends its subtree's size(v) blocks
// in one message; in two if it is a child of the root and they lie at both ends
// of the root's buffer. Members between the leaves and the root need scratch
// for the blocks of their subtree.
func gatherBinomial(p *program) {
	t := tree{p.Root, p.N, p.N}
	v := t.node(p.Self)
	if v == 0 {
		p.keepOwn()
		for _, child := range t.children(0) {
			for _, piece := range t.pieces(child) {
				p.recv(t.member(child), p.blocksAt(t, piece))
			}
		}
		return
	}
	have := p.own()
	if t.size(v) > 1 {
		have = p.scratch(t.size(v) * p.bytes())
		p.copy(part(have, 0, p.bytes()), p.own())
		for _, child := range t.children(v) {
			p.recv(t.member(child), p.subtree(have, t, v, child))
		}
	}
	p.up(t, v, have)
}

// up sends the blocks of a subtree to the parent of its root.
func (p *program) up(t tree, v int, have nicrt.Span) {
	if t.parent(v) != 0 {
		p.send(t.member(t.parent(v)), have)
		return
	}
	for _, piece := range t.pieces(v) {
		p.send(t.member(0), part(have, (piece.first-v)*p.bytes(), piece.n*p.bytes()))
	}
}

// keepOwn puts the member's own block into its place in the output.
func (p *program) keepOwn() {
	p.copy(p.block(p.Self), p.own())
}

// subtree gives the blocks of a child's subtree among those of the node above.
func (p *program) subtree(blocks nicrt.Span, t tree, v, child int) nicrt.Span {
	return part(blocks, (child-v)*p.bytes(), t.size(child)*p.bytes())
}

// nodes is a range of nodes of a tree.
type nodes struct{ first, n int }

// pieces cuts the nodes of a subtree where their members begin again at 0: one
// or two ranges, of which each has blocks that lie side by side at the root.
func (t tree) pieces(v int) []nodes {
	whole := nodes{v, t.size(v)}
	turn := t.group - t.first // the node of member 0
	if v < turn && turn < v+whole.n {
		return []nodes{{v, turn - v}, {turn, v + whole.n - turn}}
	}
	return []nodes{whole}
}

// blocksAt gives a piece's blocks in a buffer of all members' blocks.
func (p *program) blocksAt(t tree, piece nodes) nicrt.Span {
	return out(t.member(piece.first)*p.bytes(), piece.n*p.bytes())
}

// gatherLinear lets every member send its block straight to the root, which
// takes them in any order. Nothing is moved twice.
//
// Steps: n-1, all at the root. All other members send one block.
func gatherLinear(p *program) {
	if p.Self != p.Root {
		p.send(p.Root, p.own())
		return
	}
	for d := 1; d < p.N; d++ {
		from := (p.Root + d) % p.N
		p.recv(from, p.block(from))
	}
	p.keepOwn()
}
