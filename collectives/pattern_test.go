package collectives

import "testing"

// Every node's subtree is the range from it on, and its children's subtrees
// cover the rest of it without overlap.
func TestTree(t *testing.T) {
	for n := 1; n <= 70; n++ {
		for _, first := range []int{0, 1 % n, n / 2, n - 1} {
			tr := tree{first, n, n}
			for v := range n {
				if got := tr.node(tr.member(v)); got != v {
					t.Fatalf("%+v: member %d is node %d, want %d", tr, tr.member(v), got, v)
				}
				next := v + 1
				for _, child := range tr.children(v) {
					if tr.parent(child) != v || child != next {
						t.Fatalf("%+v: node %d has child %d, whose parent is %d; next is %d", tr, v, child, tr.parent(child), next)
					}
					next += tr.size(child)
				}
				if next != v+tr.size(v) {
					t.Fatalf("%+v: node %d and its subtrees end at %d, want %d", tr, v, next, v+tr.size(v))
				}
			}
		}
	}
}

// The pieces of a subtree have ascending members and are the subtree.
func TestTreePieces(t *testing.T) {
	for n := 2; n <= 33; n++ {
		for first := range n {
			tr := tree{first, n, n}
			for v := 1; v < n; v++ {
				at := v
				for _, piece := range tr.pieces(v) {
					if piece.first != at || piece.n < 1 {
						t.Fatalf("%+v: node %d has the piece %+v, want one from %d", tr, v, piece, at)
					}
					at += piece.n
					if m := tr.member(piece.first); m+piece.n > n {
						t.Fatalf("%+v: the piece %+v of node %d goes past member %d", tr, piece, v, n-1)
					}
				}
				if at != v+tr.size(v) {
					t.Fatalf("%+v: the pieces of node %d end at %d, want %d", tr, v, at, v+tr.size(v))
				}
			}
		}
	}
}

// Corners and members go with each other, in ascending order, and a chosen
// member has its corner.
func TestFold(t *testing.T) {
	for n := 1; n <= 70; n++ {
		for chosen := -1; chosen < n; chosen++ {
			f := newFold(n, chosen)
			if f.power > n || 2*f.power <= n || f.power&(f.power-1) != 0 {
				t.Fatalf("%d members make %d corners", n, f.power)
			}
			for c := range f.power {
				m := f.member(c)
				if m < 0 || m >= n || f.corner(m) != c {
					t.Fatalf("%+v: corner %d is member %d, which is at corner %d", f, c, m, f.corner(m))
				}
				if other, paired := f.partner(m); paired && f.corner(other) != c {
					t.Fatalf("%+v: member %d's partner %d is at corner %d", f, m, other, f.corner(other))
				}
			}
			for m := 1; m < n; m++ {
				if f.corner(m) < f.corner(m-1) {
					t.Fatalf("%+v: members %d and %d are at corners %d and %d", f, m-1, m, f.corner(m-1), f.corner(m))
				}
			}
			if chosen >= 0 && f.member(f.corner(chosen)) != chosen {
				t.Fatalf("%+v: the chosen member does not take part", f)
			}
		}
	}
}

// Parts cover the buffer without overlap and differ by one element at most.
func TestCut(t *testing.T) {
	for count := range 40 {
		for parts := 1; parts <= 17; parts++ {
			c := cut{count, 8, parts}
			if c.at(0) != 0 || c.at(parts) != count*8 {
				t.Fatalf("%+v: from %d to %d", c, c.at(0), c.at(parts))
			}
			for i := range parts {
				if n := c.of(out(0, count*8), i, i+1).Len / 8; n != count/parts && n != count/parts+1 {
					t.Fatalf("%+v: part %d has %d elements", c, i, n)
				}
			}
		}
	}
}
