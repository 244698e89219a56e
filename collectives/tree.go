package collectives

import "math/bits"

// tree is the binomial tree over n members of a group. Its nodes are numbered
// from 0, the root; node v is member first+v, counted around the group.
// The parent of v is v without its lowest bit; the subtree of v are the nodes
// from v to below v plus that bit. With eight nodes:
//
//	0 ─┬─ 4 ─┬─ 6 ─── 7
//	   │     └─ 5
//	   ├─ 2 ─── 3
//	   └─ 1
type tree struct {
	first, n, group int
}

func (t tree) member(v int) int { return (t.first + v) % t.group }

// node gives the node of a member, which is not below n if it is not in the tree.
func (t tree) node(member int) int { return (member - t.first + t.group) % t.group }

// parent gives the parent of a node other than the root.
func (t tree) parent(v int) int { return v & (v - 1) }

// size gives the number of nodes of the subtree of v, itself included.
func (t tree) size(v int) int {
	if v == 0 {
		return t.n
	}
	return min(v&-v, t.n-v)
}

// children gives the children of v, those with the smallest subtrees first.
func (t tree) children(v int) []int {
	below := 1 << bits.Len(uint(t.n-1)) // the bit that the root has not
	if v > 0 {
		below = v & -v
	}
	var list []int
	for mask := 1; mask < below && v+mask < t.n; mask <<= 1 {
		list = append(list, v+mask)
	}
	return list
}
