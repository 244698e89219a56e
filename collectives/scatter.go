package collectives

import (
	"slices"

	"outboard/nicrt"
)

// scatterBinomial hands blocks down a binomial tree, the gather's upside down: a
// member gets the blocks of its subtree, sends each child those of the child's,
// the largest subtree first, and keeps the first one.
//
// Steps: ceil(log2 n). The member at node v receives its subtree's size(v) blocks
// in one message; in two if it is a child of the root and they lie at both ends
// of the root's buffer. Members between the root and the leaves need scratch
// for the blocks of their subtree.
func scatterBinomial(p *program) {
	t := tree{p.Root, p.N, p.N}
	v := t.node(p.Self)
	if v == 0 {
		for _, child := range slices.Backward(t.children(0)) {
			for _, piece := range t.pieces(child) {
				p.send(t.member(child), p.source(p.blocksAt(t, piece)))
			}
		}
		p.takeOwn()
		return
	}
	have := p.block(0)
	if t.size(v) > 1 {
		have = p.scratch(t.size(v) * p.bytes())
	}
	p.down(t, v, have)
	for _, child := range slices.Backward(t.children(v)) {
		p.send(t.member(child), p.subtree(have, t, v, child))
	}
	p.copy(p.block(0), part(have, 0, p.bytes()))
}

// down receives the blocks of a subtree from the parent of its root.
func (p *program) down(t tree, v int, have nicrt.Span) {
	if t.parent(v) != 0 {
		p.recv(t.member(t.parent(v)), have)
		return
	}
	for _, piece := range t.pieces(v) {
		p.recv(t.member(0), part(have, (piece.first-v)*p.bytes(), piece.n*p.bytes()))
	}
}

// source gives the place in the root's buffer of blocks; in place they lie in
// the output.
func (p *program) source(blocks nicrt.Span) nicrt.Span {
	if !p.InPlace {
		blocks.Space = nicrt.Input
	}
	return blocks
}

// takeOwn gives the root its own block.
func (p *program) takeOwn() {
	if !p.InPlace {
		p.copy(p.block(0), p.source(p.block(p.Self)))
	}
}

// scatterLinear lets the root send every member its block. Nothing is moved
// twice.
//
// Steps: n-1, all at the root, which sends one block to each other member.
func scatterLinear(p *program) {
	if p.Self != p.Root {
		p.recv(p.Root, p.block(0))
		return
	}
	for d := 1; d < p.N; d++ {
		to := (p.Root + d) % p.N
		p.send(to, p.source(p.block(to)))
	}
	p.takeOwn()
}
