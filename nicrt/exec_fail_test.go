package nicrt

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// settled fails the test unless every completion has ended. It gives the errors.
func (c *testCall) settled(t tester, except map[int]bool) (errs []error) {
	t.Helper()
	for self := range c.done {
		if except[self] {
			continue
		}
		if !c.done[self].Done() {
			t.Errorf("%s: member %d waits for ever", c.coll.name, self)
			continue
		}
		if err := c.done[self].Err(); err != nil {
			var re *RunError
			if !errors.As(err, &re) || re.Self != self || re.Schedule == "" {
				t.Errorf("%s: member %d has the error %v, want a *RunError of its own", c.coll.name, self, err)
			}
			errs = append(errs, err)
		}
	}
	return errs
}

// atEveryStep runs a collective, with one that follows, and strikes after each
// possible number of steps; until the strike comes after the end.
func atEveryStep(t *testing.T, strike func(t *testing.T, net *testNet, groups []*group), check func(t *testing.T, net *testNet, calls []*testCall)) {
	for _, c := range collectives {
		t.Run(c.name, func(t *testing.T) {
			for steps := 0; ; steps++ {
				net := newTestNet(t, 4, uint64(steps), execConfig{eagerMax: 8, chunk: 8, window: 2, pieces: 2})
				net.late, net.refuse = 0.5, 0.1
				groups := net.makeGroup(t, 2, []int{0, 1, 2, 3})
				calls := []*testCall{
					newCall(t, &c, 4, 24, 2, net.rng),
					newCall(t, &collectives[0], 4, 0, 3, net.rng),
					newCall(t, &c, 4, 8, 1, net.rng),
				}
				for self, g := range groups {
					for _, call := range calls {
						call.start(t, g, self)
					}
				}
				moved := true
				for i := 0; i < steps && moved; i++ {
					moved = net.step(t)
				}
				if !moved {
					return
				}
				strike(t, net, groups)
				net.drain(t)
				check(t, net, calls)
				if t.Failed() {
					t.Fatalf("after %d steps", steps)
				}
			}
		})
	}
}

// lose makes a node dead: what it has sent is lost, and nothing reaches it.
func (net *testNet) lose(node int) {
	net.cut[node] = true
	for other := range net.nodes {
		net.links[node][other] = nil
		net.links[other][node] = nil
	}
	net.nodes[node].reads = nil
}

var errTestLoss = errors.New("cable pulled")

func TestPeerLossAtEveryStep(t *testing.T) {
	for _, told := range []string{"all are told", "one is told"} {
		t.Run(told, func(t *testing.T) {
			atEveryStep(t, func(t *testing.T, net *testNet, groups []*group) {
				net.lose(2)
				for node := range net.nodes {
					if node != 2 && (told == "all are told" || node == 0) {
						net.nodes[node].exec.failPeer(2, errTestLoss)
					}
				}
			}, func(t *testing.T, net *testNet, calls []*testCall) {
				dead := map[int]bool{2: true}
				for _, call := range calls {
					for _, err := range call.settled(t, dead) {
						if !errors.Is(err, errTestLoss) && !errors.Is(err, ErrAborted) && !errors.Is(err, errNoAccess) && !errors.Is(err, errDead) {
							t.Errorf("%v is not about the loss", err)
						}
					}
				}
				for node, n := range net.nodes {
					if node == 2 {
						continue
					}
					var se *StartError
					_, err := n.exec.groups[2].start(calls[0].comp[node], calls[0].in[node], calls[0].out[node], composeKernel, 1, new(Completion))
					if !errors.As(err, &se) {
						t.Errorf("node %d starts a run in a failed group: %v", node, err)
					}
				}
				net.nodes[2] = net.nodes[0] // the dead one holds what it held
				net.checkClean(t)
			})
		})
	}
}

// TestRunFailureAtEveryStep fails one member's run and expects that no other
// waits for it, and that the group goes on.
func TestRunFailureAtEveryStep(t *testing.T) {
	errCancel := errors.New("given up")
	atEveryStep(t, func(t *testing.T, net *testNet, groups []*group) {
		for _, r := range []*run{groups[1].ring[0].run, groups[1].ring[1].run} {
			if r != nil {
				ref := runRef{r, r.gen}
				net.nodes[1].exec.cancel(ref, errCancel)
				net.nodes[1].exec.cancel(ref, errCancel) // it has no effect on what uses the object next
				return
			}
		}
	}, func(t *testing.T, net *testNet, calls []*testCall) {
		for _, call := range calls {
			for _, err := range call.settled(t, nil) {
				if !errors.Is(err, errCancel) && !errors.Is(err, ErrAborted) && !errors.Is(err, errNoAccess) {
					t.Errorf("%v is not about the cancelled run", err)
				}
			}
		}
		after := newCall(t, &collectives[3], 4, 16, 2, net.rng)
		for self, n := range net.nodes {
			after.start(t, n.exec.groups[2], self)
		}
		net.drain(t)
		after.check(t)
		net.checkClean(t)
	})
}

// TestCauses checks what the members of a run learn about each cause of failure.
func TestCauses(t *testing.T) {
	errDown := errors.New("link down")
	pairOf := func(size int) *collective {
		return &collective{"pair", composeKernel,
			func(n, self, _ int) *Schedule { return pairSchedule(self, size, 4) },
			func(in [][]byte, _ int) []byte { return fold(composeKernel, in) }}
	}
	tests := []struct {
		name    string
		eager   bool // it can happen to eager messages too
		prepare func(net *testNet, call *testCall)
		want    string // of member 0
	}{
		{"kernel panics", true, func(_ *testNet, c *testCall) {
			c.coll.kernel = func(_, _ []byte) { panic("division by zero") }
		}, "reduction panicked: division by zero"},
		{"kernel panics with an error", true, func(_ *testNet, c *testCall) {
			c.coll.kernel = func(_, _ []byte) { panic(errDown) }
		}, "link down"},
		{"read fails", false, func(net *testNet, _ *testCall) { net.nodes[0].readErr = errDown }, "op 1, peer 1: read of 32 bytes: link down"},
		{"expose fails", false, func(net *testNet, _ *testCall) { net.nodes[0].exposeErr = errDown }, "op 0, peer 1: expose of 64 bytes: link down"},
		{"lengths differ", true, func(_ *testNet, c *testCall) {
			c.comp[1], _ = Compile(pairSchedule(1, 32, 4))
			c.in[1], c.out[1] = c.in[1][:32], c.out[1][:32]
		}, "a payload of 32 bytes, expected 64"},
		{"other schedule", false, func(_ *testNet, c *testCall) {
			c.comp[0], _ = Compile(&Schedule{Name: "idle", Peers: 2, Input: 64, Output: 64, Ops: []SchedOp{
				{Kind: Send, Peer: 1, Src: Span{Input, 0, 64}}}})
		}, "idle receives no slot 0 from member 1"},
	}
	for _, eager := range []int{0, 1 << 10} {
		for _, tt := range tests {
			if eager > 0 && !tt.eager {
				continue
			}
			t.Run(fmt.Sprintf("%s, eager %d", tt.name, eager), func(t *testing.T) {
				net := newTestNet(t, 2, 1, execConfig{eagerMax: eager, chunk: 32})
				groups := net.makeGroup(t, 0, []int{0, 1})
				call := newCall(t, pairOf(64), 2, 0, 1, net.rng)
				tt.prepare(net, call)
				call.start(t, groups[0], 0)
				call.coll.kernel = composeKernel
				call.start(t, groups[1], 1)
				net.drain(t)
				call.settled(t, nil)
				err := call.done[0].Err()
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("member 0 has the error %v, want %q", err, tt.want)
				}
				if tt.name == "kernel panics with an error" && !errors.Is(err, errDown) {
					t.Errorf("%v hides its cause", err)
				}
				net.nodes[0].readErr, net.nodes[0].exposeErr = nil, nil
				next := newCall(t, pairOf(64), 2, 0, 1, net.rng)
				next.start(t, groups[0], 0)
				next.start(t, groups[1], 1)
				net.drain(t)
				next.check(t)
				net.checkClean(t)
			})
		}
	}
}

// TestAbortBeforeStart fails a run whose other members have not started it yet:
// it must fail when they do, in whichever round the failure came, and the runs
// around it must not.
func TestAbortBeforeStart(t *testing.T) {
	for _, failing := range []int{0, 1, 2} {
		t.Run(fmt.Sprintf("run %d", failing), func(t *testing.T) {
			net := newTestNet(t, 3, 5, execConfig{eagerMax: 8, chunk: 8, window: 2})
			groups := net.makeGroup(t, 0, []int{0, 1, 2})
			var calls []*testCall
			for i := range 4 {
				calls = append(calls, newCall(t, &collectives[3], 3, 16, 1+i, net.rng))
			}
			for i, call := range calls {
				ref, err := groups[1].start(call.comp[1], call.in[1], call.out[1], composeKernel, call.rounds, &call.done[1])
				if err != nil {
					t.Fatal(err)
				}
				if i == failing {
					net.nodes[1].exec.cancel(ref, errTestLoss)
					if !call.done[1].Done() || !errors.Is(call.done[1].Err(), errTestLoss) {
						t.Fatalf("the run goes on after it was cancelled: %v", call.done[1].Err())
					}
				}
			}
			net.drain(t)
			for _, self := range []int{0, 2} {
				for _, call := range calls {
					call.start(t, groups[self], self)
				}
			}
			net.drain(t)
			for i, call := range calls {
				if i != failing {
					call.check(t)
				} else if errs := call.settled(t, nil); len(errs) != 3 {
					t.Errorf("the run failed with %v, want an error at each member", errs)
				}
			}
			net.checkClean(t)
		})
	}
}

// TestKernelPanicsOnKeptData panics on a message that had to be kept, and in a
// local reduction.
func TestKernelPanicsOnKeptData(t *testing.T) {
	for _, index := range []int{3, 6} {
		net := newTestNet(t, 2, 1, execConfig{eagerMax: 64})
		groups := net.makeGroup(t, 0, []int{0, 1})
		call := newCall(t, &collectives[index], 2, 16, 1, net.rng)
		call.start(t, groups[0], 0)
		net.drain(t)
		if _, err := groups[1].start(call.comp[1], call.in[1], call.out[1], func(_, _ []byte) { panic("odd") }, 1, &call.done[1]); err != nil {
			t.Fatal(err)
		}
		net.drain(t)
		var ke *KernelError
		call.settled(t, nil)
		if !errors.As(call.done[1].Err(), &ke) || ke.Value != "odd" || len(ke.Stack) == 0 {
			t.Errorf("%s: the panic is reported as %v", call.coll.name, call.done[1].Err())
		}
		net.checkClean(t)
	}
}
