package collectives

import (
	"testing"

	"outboard/nicrt"
)

// No member gets through before all have entered: each one's last operations
// come, through messages and dependences, after a send of everybody.
func TestBarrierHoldsEverybody(t *testing.T) {
	for n := 1; n <= 66; n++ {
		all := planAll(t, Spec{Kind: Barrier, N: n}, nil)
		k := knowledge{x: machine{schedules: all}, heard: map[[2]int]map[int]bool{}}
		for m, s := range all {
			knows := map[int]bool{m: true}
			for i := range s.Ops {
				for who := range k.at(m, i) {
					knows[who] = true
				}
			}
			if len(knows) != n {
				t.Errorf("member %d of %d leaves when %d have entered", m, n, len(knows))
			}
		}
	}
}

// knowledge finds out of whom an operation has heard when it ends.
type knowledge struct {
	x     machine
	heard map[[2]int]map[int]bool // by member and operation
}

func (k *knowledge) at(member, op int) map[int]bool {
	key := [2]int{member, op}
	if set, ok := k.heard[key]; ok {
		return set
	}
	set := map[int]bool{member: true}
	o := &k.x.schedules[member].Ops[op]
	for _, a := range o.After {
		for who := range k.at(member, a) {
			set[who] = true
		}
	}
	if o.Kind == nicrt.Recv {
		for who := range k.at(o.Peer, k.x.sender(member, o)) {
			set[who] = true
		}
	}
	k.heard[key] = set
	return set
}
