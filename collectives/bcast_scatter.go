package collectives

import (
	"outboard/nicrt"
	"slices"
)

// Long buffers are broadcast in two phases, after van de Geijn (Barnett et al.:
// Interprocessor collective communication library, 1994): the buffer is cut into
// n parts, which are scattered along a binomial tree, and then every member
// gathers all parts. The root sends little more than one buffer instead of
// log2 n of them. Nodes of the tree are numbered from the root, and node v owns
// part v; a node that has passed parts on to its subtree still has them, so they
// are never sent to it again.

// spread is the state of such a broadcast at one member.
type spread struct {
	*program
	tree
	cut
	buffer nicrt.Span
	v      int // this member's node
}

// newSpread does the first phase, after which node v has the parts of its subtree.
//
// Steps: ceil(log2 n). Each node but the root receives its subtree's parts.
func newSpread(p *program) *spread {
	t := tree{p.Root, p.N, p.N}
	s := &spread{p, t, cut{p.Count, p.Elem, p.N}, p.block(0), t.node(p.Self)}
	if s.v > 0 {
		p.recv(t.member(t.parent(s.v)), s.parts(s.v, s.v+t.size(s.v)))
	}
	for _, child := range slices.Backward(t.children(s.v)) {
		p.send(t.member(child), s.parts(child, child+t.size(child)))
	}
	return s
}

func (s *spread) parts(lo, hi int) nicrt.Span { return s.cut.of(s.buffer, lo, hi) }

// bcastScatterRing gathers around a ring: in each step a member passes the part
// that it got last to the member after it.
//
// Steps: ceil(log2 n) + n-1; a part is B/n bytes. The member at node v receives
// one message of the size(v) parts of its subtree and n-size(v) messages of one
// part, together B bytes; the root receives nothing.
func bcastScatterRing(p *program) {
	s := newSpread(p)
	left, right := (s.v-1+p.N)%p.N, (s.v+1)%p.N
	has := func(v, part int) bool { return part >= v && part < v+s.size(v) }
	for step := range p.N - 1 {
		sent, got := (s.v-step+p.N)%p.N, (s.v-step-1+p.N)%p.N
		if !has(right, sent) {
			p.send(s.member(right), s.parts(sent, sent+1))
		}
		if !has(s.v, got) {
			p.recv(s.member(left), s.parts(got, got+1))
		}
	}
}

// bcastScatterDoubling gathers by recursive doubling: in step k nodes whose
// numbers differ in bit k exchange what their groups of 2^k nodes own. It needs
// n to be a power of two.
//
// Steps: 2 log2 n. The member at node v receives one message of the size(v) =
// 2^j parts of its subtree and then log2 n - j messages of 2^j, 2^(j+1) … parts,
// together B bytes; the root receives nothing.
func bcastScatterDoubling(p *program) {
	s := newSpread(p)
	for d := 1; d < p.N; d <<= 1 {
		other := s.v ^ d
		mine, theirs := s.v&^(d-1), other&^(d-1)
		if d >= s.size(other) {
			p.send(s.member(other), s.parts(mine, mine+d))
		}
		if d >= s.size(s.v) {
			p.recv(s.member(other), s.parts(theirs, theirs+d))
		}
	}
}
