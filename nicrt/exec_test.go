package nicrt

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// TestCollectivesVerify makes sure that what the other tests run is correct.
func TestCollectivesVerify(t *testing.T) {
	for _, c := range collectives {
		for n := 1; n <= 17; n++ {
			all := make([]*Schedule, n)
			for self := range all {
				all[self] = c.schedule(n, self, 52)
			}
			if err := Verify(all); err != nil {
				t.Errorf("%s with %d members: %v", c.name, n, err)
			}
		}
	}
}

// testCall is one collective call of a random program, made by all members.
type testCall struct {
	coll   *collective
	group  int // index of the group
	rounds int
	in     [][]byte // by member
	out    [][]byte
	want   [][]byte
	done   []Completion
	comp   []*Compiled
}

func newCall(t tester, c *collective, n, size, rounds int, rng *rand.Rand) *testCall {
	t.Helper()
	call := &testCall{coll: c, rounds: rounds, done: make([]Completion, n)}
	for self := range n {
		comp, err := Compile(c.schedule(n, self, size))
		if err != nil {
			t.Fatal(err)
		}
		in := make([]byte, comp.schedule.Input)
		for i := range in {
			in[i] = byte(rng.Uint32())
		}
		call.comp = append(call.comp, comp)
		call.in = append(call.in, in)
		call.out = append(call.out, make([]byte, comp.schedule.Output))
	}
	for self := range n {
		call.want = append(call.want, c.want(call.in, self))
	}
	return call
}

func (c *testCall) start(t tester, g *group, self int) {
	t.Helper()
	if _, err := g.start(c.comp[self], c.in[self], c.out[self], c.coll.kernel, c.rounds, &c.done[self]); err != nil {
		t.Fatal(err)
	}
}

func (c *testCall) check(t tester) {
	t.Helper()
	for self := range c.done {
		if !c.done[self].Done() {
			t.Errorf("%s: member %d is not done", c.coll.name, self)
		} else if err := c.done[self].Err(); err != nil {
			t.Errorf("%s: %v", c.coll.name, err)
		} else if !bytes.Equal(c.out[self], c.want[self]) {
			t.Errorf("%s: member %d has %x, want %x", c.coll.name, self, c.out[self], c.want[self])
		}
	}
}

// makeGroups makes a group on all nodes; members[m] is the node of member m.
func (net *testNet) makeGroup(t tester, id uint32, members []int) []*group {
	t.Helper()
	groups := make([]*group, len(members))
	for self, node := range members {
		g, err := net.nodes[node].exec.group(id, members, self)
		if err != nil {
			t.Fatal(err)
		}
		groups[self] = g
	}
	return groups
}

// TestRandomPrograms runs random sequences of collectives on two groups with
// different member orders, members far ahead of others, on a wire that refuses,
// delays and reorders between peers, and compares all results.
func TestRandomPrograms(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 17).Draw(rt, "members")
		seed := rapid.Uint64().Draw(rt, "seed")
		cfg := execConfig{
			eagerMax: rapid.SampledFrom([]int{0, 8, 16, 1 << 10}).Draw(rt, "eagerMax"),
			chunk:    rapid.SampledFrom([]int{4, 10, 64}).Draw(rt, "chunk"),
			depth:    rapid.IntRange(1, 3).Draw(rt, "depth"),
			pieces:   rapid.IntRange(1, 4).Draw(rt, "pieces"),
			window:   rapid.SampledFrom([]int{1, 2, 8}).Draw(rt, "window"),
			keepNIC:  1 << 10,
		}
		net := newTestNet(rt, n, seed, cfg)
		net.room = rapid.SampledFrom([]int{1, 3, 1 << 30}).Draw(rt, "room")
		net.refuse = rapid.SampledFrom([]float64{0, 0.3}).Draw(rt, "refuse")
		net.late = rapid.SampledFrom([]float64{0, 0.5, 1}).Draw(rt, "late")
		order := net.rng.Perm(n)
		members := [][]int{order, append([]int(nil), order...)}
		for i, j := 0, n-1; i < j; i, j = i+1, j-1 {
			members[1][i], members[1][j] = members[1][j], members[1][i]
		}
		groups := [][]*group{net.makeGroup(rt, 0, members[0]), net.makeGroup(rt, 5, members[1])}
		var calls []*testCall
		for range rapid.IntRange(1, 6).Draw(rt, "calls") {
			c := &collectives[rapid.IntRange(0, len(collectives)-1).Draw(rt, "collective")]
			size := mapLen * rapid.IntRange(0, 9).Draw(rt, "size")
			call := newCall(rt, c, n, size, rapid.SampledFrom([]int{1, 1, 3}).Draw(rt, "rounds"), net.rng)
			call.group = rapid.IntRange(0, 1).Draw(rt, "group")
			calls = append(calls, call)
		}
		// Each node makes the calls in order, at its own pace.
		at := make([]int, n)
		for left := n * len(calls); left > 0; {
			node := net.rng.IntN(n)
			if at[node] < len(calls) && net.rng.IntN(4) > 0 {
				call := calls[at[node]]
				self := indexOf(members[call.group], node)
				call.start(rt, groups[call.group][self], self)
				at[node]++
				left--
			}
			for range net.rng.IntN(8) {
				net.step(rt)
			}
		}
		net.drain(rt)
		for _, call := range calls {
			call.check(rt)
		}
		net.noErrs(rt)
		net.checkClean(rt)
	})
}

func indexOf(s []int, v int) int {
	for i, x := range s {
		if x == v {
			return i
		}
	}
	return -1
}

// TestOrderedPairs runs every collective after every other, eager and by
// rendezvous: no state of one may leak into the next.
func TestOrderedPairs(t *testing.T) {
	for _, eager := range []int{0, 16, 1 << 20} {
		for _, n := range []int{2, 3, 8, 13} {
			t.Run(fmt.Sprintf("eager %d, %d members", eager, n), func(t *testing.T) {
				net := newTestNet(t, n, 1, execConfig{eagerMax: eager, chunk: 64})
				net.late = 0.3
				members := net.rng.Perm(n)
				groups := net.makeGroup(t, 3, members)
				for i := range collectives {
					for j := range collectives {
						var calls []*testCall
						for _, c := range []*collective{&collectives[i], &collectives[j]} {
							call := newCall(t, c, n, 4*(5+3*i+j), 1, net.rng)
							for self, g := range groups {
								call.start(t, g, self)
							}
							calls = append(calls, call)
						}
						net.drain(t)
						calls[0].check(t)
						calls[1].check(t)
					}
				}
				net.noErrs(t)
				net.checkClean(t)
			})
		}
	}
}

// TestThousandRounds arms a schedule once and lets it run a thousand times by
// itself, after which its counters are where they began.
func TestThousandRounds(t *testing.T) {
	const rounds = 1000
	for _, c := range collectives {
		t.Run(c.name, func(t *testing.T) {
			net := newTestNet(t, 5, 2, execConfig{eagerMax: 8, chunk: 64, window: 4})
			net.refuse, net.late = 0.1, 0.1
			groups := net.makeGroup(t, 1, []int{4, 3, 2, 1, 0})
			call := newCall(t, &c, 5, 24, rounds, net.rng)
			after := newCall(t, &c, 5, 12, 1, net.rng)
			for self, g := range groups {
				call.start(t, g, self)
				after.start(t, g, self)
			}
			net.drain(t)
			call.check(t)
			after.check(t)
			for _, n := range net.nodes {
				if n.exec.stats.Runs != rounds+1 {
					t.Errorf("%d rounds were run, want %d", n.exec.stats.Runs, rounds+1)
				}
			}
			net.noErrs(t)
			net.checkClean(t)
		})
	}
}

// TestRunNumbersWrap runs across the end of the run numbers.
func TestRunNumbersWrap(t *testing.T) {
	net := newTestNet(t, 3, 1, execConfig{eagerMax: 8, chunk: 8, window: 4})
	net.late, net.refuse = 0.3, 0.1
	groups := net.makeGroup(t, 0, []int{0, 1, 2})
	for _, g := range groups {
		g.base, g.next = 1<<32-7, 1<<32-7
	}
	var calls []*testCall
	for i := range collectives {
		calls = append(calls, newCall(t, &collectives[i], 3, 20, 3, net.rng))
	}
	for self, g := range groups {
		for _, call := range calls {
			call.start(t, g, self)
		}
		for range 50 {
			net.step(t)
		}
	}
	net.drain(t)
	for _, call := range calls {
		call.check(t)
	}
	if groups[0].base != uint32(3*len(calls)-7) {
		t.Errorf("the window begins at %d", groups[0].base)
	}
	net.noErrs(t)
	net.checkClean(t)
}
