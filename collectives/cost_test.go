package collectives

import (
	"math/bits"
	"testing"

	"outboard/nicrt"
)

// cost is what an algorithm's comment promises for a whole group: steps, and
// messages and bytes of all members together.
type cost struct{ steps, messages, bytes int }

// measure counts the messages of schedules and plays them in steps: a message
// goes when both ends may begin it, neither has had one in this step, and it is
// the first that its sender may send. All else takes no time.
func measure(all []*nicrt.Schedule) (total cost, sent []cost) {
	x := machine{schedules: all}
	sent = make([]cost, len(all))
	for m, s := range all {
		x.done = append(x.done, make([]bool, len(s.Ops)))
		for i := range s.Ops {
			if o := &s.Ops[i]; o.Kind == nicrt.Send {
				sent[m].messages++
				sent[m].bytes += o.Src.Len
			}
		}
		total.messages += sent[m].messages
		total.bytes += sent[m].bytes
	}
	for settle(&x); step(&x); settle(&x) {
		total.steps++
	}
	return total, sent
}

// step moves what messages it can and reports whether there was any.
func step(x *machine) bool {
	type end struct{ member, op int }
	var ended []end
	sends, receives := make([]bool, len(x.done)), make([]bool, len(x.done))
	for m, s := range x.schedules {
		for i := range s.Ops {
			o := &s.Ops[i]
			if o.Kind != nicrt.Recv && o.Kind != nicrt.RecvReduce || x.done[m][i] || receives[m] || sends[o.Peer] {
				continue
			}
			if from := x.sender(m, o); x.ready(m, i) && x.ready(o.Peer, from) && !x.overtakes(o.Peer, from) {
				receives[m], sends[o.Peer] = true, true
				ended = append(ended, end{m, i}, end{o.Peer, from})
			}
		}
	}
	for _, e := range ended {
		x.done[e.member][e.op] = true
	}
	return len(ended) > 0
}

// overtakes reports whether a send comes before this one that is ready as well.
func (x *machine) overtakes(member, send int) bool {
	for i := range send {
		if x.schedules[member].Ops[i].Kind == nicrt.Send && !x.done[member][i] && x.ready(member, i) {
			return true
		}
	}
	return false
}

// settle ends all operations without messages that may run.
func settle(x *machine) {
	for m, s := range x.schedules {
		for i := range s.Ops {
			if k := s.Ops[i].Kind; (k == nicrt.Copy || k == nicrt.Reduce) && x.ready(m, i) {
				x.done[m][i] = true
			}
		}
	}
}

// promised gives the cost of an algorithm for n members and a buffer or block of
// b bytes, root 0.
func promised(k Kind, name string, n, b int) cost {
	log := bits.Len(uint(n - 1))            // ceil(log2 n)
	power := 1 << (bits.Len(uint(n)) - 1)   // the largest one up to n
	corner := bits.Len(uint(power)) - 1     // log2 of it
	pairs, some := n-power, min(1, n-power) // folded pairs, and whether there are any
	sizes, inner, distances := 0, 0, 0      // of all subtrees; messages of scatter-doubling; Bruck's moves
	for v := 1; v < n; v++ {
		size := tree{0, n, n}.size(v)
		sizes += size
		inner += log - bits.Len(uint(size)) + 1
		distances += bits.OnesCount(uint(v))
	}
	switch k.String() + "/" + name {
	case "barrier/dissemination":
		return cost{log, n * log, 0}
	case "bcast/binomial", "reduce/binomial":
		return cost{log, n - 1, (n - 1) * b}
	case "bcast/scatter-ring":
		return cost{log + n - 1, n - 1 + n*n - n - sizes, (n - 1) * b}
	case "bcast/scatter-doubling":
		return cost{2 * log, n - 1 + inner, (n - 1) * b}
	case "gather/linear", "scatter/linear":
		return cost{n - 1, n - 1, (n - 1) * b}
	case "gather/binomial", "scatter/binomial":
		return cost{log, n - 1, sizes * b}
	case "allgather/ring", "alltoall/linear", "alltoall/pairwise", "allreduce/direct":
		return cost{n - 1, n * (n - 1), n * (n - 1) * b}
	case "allgather/bruck", "allgather/doubling":
		return cost{log, n * log, n * (n - 1) * b}
	case "alltoall/bruck":
		return cost{log, n * log, n * distances * b}
	case "allreduce/doubling":
		return cost{corner + 2*some, power*corner + 2*pairs, (power*corner + 2*pairs) * b}
	case "allreduce/halving":
		return cost{2*corner + 3*some, 2*power*corner + 4*pairs, 2*b*(power-1) + pairs*(3*b/2+b)}
	case "allreduce/ring":
		return cost{2 * (n - 1), 2 * n * (n - 1), 2 * (n - 1) * b}
	case "reduce/halving":
		return cost{2*corner + 2*some, power*corner + power - 1 + 3*pairs, b*(power-1) + b*corner/2 + pairs*3*b/2}
	}
	return cost{}
}

// symmetric lists the algorithms in which all members of a power of two send as
// much as each other.
var symmetric = map[string]bool{
	"dissemination": true, "doubling": true, "ring": true, "bruck": true, "linear": true,
	"pairwise": true, "direct": true, "halving": true,
}

func TestCosts(t *testing.T) {
	for n := 2; n <= 17; n++ {
		each(n, []int{0}, func(s Spec) {
			s.Count, s.Elem = 2*12252240, 8 // all numbers up to 17 divide it
			all := planAll(t, s, nil)
			got, sent := measure(all)
			want := promised(s.Kind, s.Algorithm, n, s.bytes())
			if s.Algorithm == "direct" {
				// Its receives are in order but its messages are not. It is meant for
				// those that are kept until their turn comes, all at once.
				got.steps = want.steps
				for i := range n - 1 {
					if o := all[n-1].Ops[i]; o.Kind != nicrt.Send || len(o.After) > 0 {
						t.Errorf("%s among %d: op %d waits before it sends: %v", s.Algorithm, n, i, &o)
					}
				}
			}
			if got.steps > want.steps || got.messages != want.messages || got.bytes != want.bytes {
				t.Errorf("%v/%s among %d: %+v, promised %+v", s.Kind, s.Algorithm, n, got, want)
			}
			if got.steps < want.steps && s.Algorithm != "scatter-ring" {
				t.Errorf("%v/%s among %d: %d steps, and %d promised", s.Kind, s.Algorithm, n, got.steps, want.steps)
			}
			if bits.OnesCount(uint(n)) > 1 || s.Kind.rooted() || !symmetric[s.Algorithm] {
				return
			}
			for m := range sent {
				if sent[m] != sent[0] {
					t.Errorf("%v/%s among %d: members 0 and %d send %+v and %+v", s.Kind, s.Algorithm, n, m, sent[0], sent[m])
				}
			}
		})
	}
}

// A Reduce whose operator does not commute takes at most one step more,
// whichever the root, and no further message.
func TestOrderedReduceCost(t *testing.T) {
	for n := 2; n <= 17; n++ {
		for root := range n {
			s := Spec{Kind: Reduce, N: n, Root: root, Count: 1, Elem: 8, Algorithm: "binomial"}
			got, _ := measure(planAll(t, s, nil))
			if most := bits.Len(uint(n-1)) + 1; got.steps > most || got.messages != n-1 {
				t.Errorf("root %d of %d: %+v, promised %d steps and %d messages", root, n, got, most, n-1)
			}
		}
	}
}

// The smallest collectives have no operation to spare.
func TestSmallest(t *testing.T) {
	tests := []struct {
		name         string
		spec         Spec
		ops, scratch int
	}{
		{"allreduce of 1", Spec{Kind: Allreduce, N: 1}, 1, 0},
		{"allreduce of 1 in place", Spec{Kind: Allreduce, N: 1, InPlace: true}, 0, 0},
		{"allreduce of 2", Spec{Kind: Allreduce, N: 2}, 2, 0},
		{"allreduce of 2 in place", Spec{Kind: Allreduce, N: 2, InPlace: true}, 3, 8},
		{"allreduce of 3", Spec{Kind: Allreduce, N: 3}, 4, 0},
		{"allreduce of 4", Spec{Kind: Allreduce, N: 4, Algorithm: "doubling"}, 4, 8},
		{"allreduce of 4 in place", Spec{Kind: Allreduce, N: 4, InPlace: true, Algorithm: "doubling"}, 4, 8},
		{"allreduce of 8", Spec{Kind: Allreduce, N: 8, Algorithm: "doubling"}, 6, 8},
		{"allreduce of 4 in one round", Spec{Kind: Allreduce, N: 4}, 6, 0},
		{"bcast of 1", Spec{Kind: Bcast, N: 1}, 0, 0},
		{"bcast of 2", Spec{Kind: Bcast, N: 2}, 1, 0},
		{"reduce of 2", Spec{Kind: Reduce, N: 2}, 1, 0},
		{"barrier of 1", Spec{Kind: Barrier, N: 1}, 0, 0},
		{"barrier of 2", Spec{Kind: Barrier, N: 2}, 2, 0},
		{"allgather of 2", Spec{Kind: Allgather, N: 2}, 3, 0},
		{"alltoall of 2", Spec{Kind: Alltoall, N: 2}, 3, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.spec.Count, tt.spec.Elem, tt.spec.Commutative = 1, 8, true
			s := planAll(t, tt.spec, nil)[0]
			if len(s.Ops) != tt.ops || s.Scratch != tt.scratch {
				t.Errorf("%d operations and %d bytes of scratch, want %d and %d\n%v", len(s.Ops), s.Scratch, tt.ops, tt.scratch, s)
			}
		})
	}
}
