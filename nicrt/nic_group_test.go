package nicrt

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// meshGroup makes a group of all NICs, whose members are in reverse order; groups[m] is on nics[len-1-m].
func meshGroup(t testing.TB, nics []*NIC, id uint32) []*Group {
	t.Helper()
	members, groups := make([]int, len(nics)), make([]*Group, len(nics))
	for m := range members {
		members[m] = len(nics) - 1 - m
	}
	for m, i := range members {
		locked(nics[i], func() {
			var err error
			if groups[m], err = nics[i].Group(id, members, m); err != nil {
				t.Fatal(err)
			}
		})
	}
	return groups
}

// startAll starts a call on all members.
func startAll(t testing.TB, nics []*NIC, groups []*Group, call *testCall) {
	t.Helper()
	for m, g := range groups {
		locked(nics[len(nics)-1-m], func() {
			if err := g.Repeat(call.comp[m], call.in[m], call.out[m], call.coll.kernel, call.rounds, &call.done[m]); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// waitAll waits for a call on a goroutine for each NIC.
func waitAll(t testing.TB, nics []*NIC, call *testCall) {
	t.Helper()
	var wg sync.WaitGroup
	for m := range call.done {
		n := nics[len(nics)-1-m]
		wg.Go(func() {
			if err := ends(t, n, &call.done[m]); err != nil {
				t.Errorf("NIC %d: %v", n.Self(), err)
			}
		})
	}
	wg.Wait()
}

// TestSchedulesOnNICs runs each collective on meshes of several sizes, with blocks that travel
// in one packet, that are read, and of odd lengths.
func TestSchedulesOnNICs(t *testing.T) {
	overFabrics(t, func(t *testing.T, f testFabric) {
		for n := 1; n <= 3; n++ {
			nics := openMesh(t, f, n)
			groups := meshGroup(t, nics, 5)
			rng := rand.New(rand.NewPCG(1, uint64(n)))
			for _, c := range collectives {
				for _, size := range []int{0, 4, 52, 100 * mapLen, 30_004, 300_004} {
					if size > 1000 && f.shared && raceDetector {
						continue
					}
					t.Run(fmt.Sprintf("%d/%s/%d", n, c.name, size), func(t *testing.T) {
						call := newCall(t, &c, n, size, 1, rng)
						startAll(t, nics, groups, call)
						waitAll(t, nics, call)
						call.check(t)
					})
				}
			}
			for _, nic := range nics {
				if a := nic.Account(); a.Failed+a.Faults+a.FailedRuns+a.Strays+a.Unknown != 0 {
					t.Errorf("NIC %d: account %+v", nic.Self(), a)
				}
			}
		}
	})
}

// TestRepeatOnNICs starts an Allreduce once and has it run 1,000 times.
func TestRepeatOnNICs(t *testing.T) {
	const rounds = 1000
	overFabrics(t, func(t *testing.T, f testFabric) {
		for n := 2; n <= 4; n++ {
			for _, name := range []string{"chain", "ring"} {
				t.Run(fmt.Sprintf("%s of %d", name, n), func(t *testing.T) {
					nics := openMesh(t, f, n)
					groups := meshGroup(t, nics, 5)
					call := newCall(t, collectiveCalled(name), n, 24, rounds, rand.New(rand.NewPCG(2, uint64(n))))
					startAll(t, nics, groups, call)
					waitAll(t, nics, call)
					call.check(t)
					for m, g := range groups {
						nic := nics[n-1-m]
						if a := nic.Account(); a.Runs != rounds || a.MemoryUsed > 512<<10 {
							t.Errorf("NIC %d: %d runs, %d bytes of NIC memory in use", nic.Self(), a.Runs, a.MemoryUsed)
						}
						if err := under(nic, g.Close); err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
	})
}

func collectiveCalled(name string) *collective {
	for i := range collectives {
		if collectives[i].name == name {
			return &collectives[i]
		}
	}
	panic("no collective " + name)
}

// TestScheduleWhileHostComputes starts a call on NICs that nobody polls: their own goroutines finish it.
func TestScheduleWhileHostComputes(t *testing.T) {
	overFabrics(t, func(t *testing.T, f testFabric) {
		for _, size := range []int{52, 100_000} {
			if size > 1000 && f.shared && raceDetector {
				continue
			}
			nics := openMesh(t, f, 3)
			groups := meshGroup(t, nics, 5)
			call := newCall(t, collectiveCalled("ring"), 3, size, 5, rand.New(rand.NewPCG(3, 0)))
			startAll(t, nics, groups, call)
			for m := range call.done {
				for end := time.Now().Add(testPatience); !call.done[m].Done(); time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						t.Fatalf("member %d is not done, and nobody polls", m)
					}
				}
			}
			call.check(t)
		}
	})
}

// TestTwoWaitersOnOneNIC lets one goroutine run the NIC while another sleeps, whose run it ends.
func TestTwoWaitersOnOneNIC(t *testing.T) {
	overFabrics(t, func(t *testing.T, f testFabric) {
		nics := openMesh(t, f, 2)
		first, second := meshGroup(t, nics, 5), meshGroup(t, nics, 6)
		rng := rand.New(rand.NewPCG(4, 0))
		for range 20 {
			a, b := newCall(t, collectiveCalled("chain"), 2, 52, 1, rng), newCall(t, collectiveCalled("chain"), 2, 52, 1, rng)
			var wg sync.WaitGroup
			for _, x := range []struct {
				groups []*Group
				call   *testCall
			}{{first, a}, {second, b}} {
				locked(nics[1], func() {
					if err := x.groups[0].Start(x.call.comp[0], x.call.in[0], x.call.out[0], x.call.coll.kernel, &x.call.done[0]); err != nil {
						t.Fatal(err)
					}
				})
				wg.Go(func() { ends(t, nics[1], &x.call.done[0]) })
			}
			time.Sleep(time.Millisecond) // both are asleep
			for _, x := range []struct {
				groups []*Group
				call   *testCall
			}{{second, b}, {first, a}} {
				locked(nics[0], func() {
					if err := x.groups[1].Start(x.call.comp[1], x.call.in[1], x.call.out[1], x.call.coll.kernel, &x.call.done[1]); err != nil {
						t.Fatal(err)
					}
				})
				ends(t, nics[0], &x.call.done[1])
			}
			wg.Wait()
			a.check(t)
			b.check(t)
		}
	})
}

// TestKernelPanicOnNIC fails a run on all members and leaves the NICs in order.
func TestKernelPanicOnNIC(t *testing.T) {
	nics := openMesh(t, testFabrics[0], 2)
	groups := meshGroup(t, nics, 5)
	call := newCall(t, collectiveCalled("chain"), 2, 52, 1, rand.New(rand.NewPCG(5, 0)))
	bad := *call.coll
	bad.kernel = func(_, _ []byte) { panic("broken operator") }
	good, call2 := call.coll, *call
	call2.coll = &bad
	startAll(t, nics, groups, &call2)
	for m := range call2.done {
		if err := ends(t, nics[1-m], &call2.done[m]); err == nil {
			t.Errorf("member %d: no error", m)
		}
	}
	after := newCall(t, good, 2, 52, 1, rand.New(rand.NewPCG(6, 0)))
	startAll(t, nics, groups, after)
	waitAll(t, nics, after)
	if !bytes.Equal(after.out[0], after.want[0]) {
		t.Error("wrong result after a failed run")
	}
}
