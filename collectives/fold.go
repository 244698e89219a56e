package collectives

import "math/bits"

// fold makes the largest power of two out of a group of any size, for the
// algorithms in which members are the corners of a hypercube. With n = power +
// extra, the first 2*extra members form neighbouring pairs, of which one takes
// part for both; the others take part for themselves. Each corner thus stands
// for a range of members, and the ranges ascend with the corners, so that
// operators which don't commute see their operands in order.
//
//	n = 6:  members 0 1 | 2 3 | 4 | 5        corners 0 1 2 3
type fold struct {
	power, extra int
	// chosen is a member that is to take part whatever happens, or -1.
	chosen int
}

func newFold(n, chosen int) fold {
	power := 1 << (bits.Len(uint(n)) - 1)
	return fold{power, n - power, chosen}
}

// member gives the member at a corner.
func (f fold) member(corner int) int {
	if corner >= f.extra {
		return corner + f.extra
	}
	if f.chosen == 2*corner {
		return f.chosen
	}
	return 2*corner + 1
}

// corner gives the corner that a member is at or has its partner at.
func (f fold) corner(member int) int {
	if member >= 2*f.extra {
		return member - f.extra
	}
	return member / 2
}

// partner gives the other member of a pair.
func (f fold) partner(member int) (other int, paired bool) {
	return member ^ 1, member < 2*f.extra
}
