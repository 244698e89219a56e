package nicrt

import (
	"fmt"
	"strings"
	"testing"
)

// testMemory is NIC memory of a size, that knows who does not give back.
type testMemory struct{ free int }

func newMemoryForTest(n int) *testMemory { return &testMemory{n} }

func (m *testMemory) alloc(n int) ([]byte, error) {
	if n > m.free {
		return nil, fmt.Errorf("no room for %d bytes", n)
	}
	m.free -= n
	return make([]byte, n), nil
}

func (m *testMemory) release(b []byte) { m.free += cap(b) }

// TestScratchComesBack runs schedules with NIC memory for just one of them at a
// time.
func TestScratchComesBack(t *testing.T) {
	mem := newMemoryForTest(64 + 8)
	net := newTestNet(t, 2, 1, execConfig{eagerMax: 64, chunk: 8, memory: mem})
	net.nodes[1].exec.cfg.memory = newMemoryForTest(1 << 20)
	groups := net.makeGroup(t, 0, []int{0, 1})
	for range 3 {
		call := newCall(t, &collectives[6], 2, 32, 2, net.rng)
		call.start(t, groups[0], 0)
		if _, err := groups[0].start(call.comp[0], call.in[0], call.out[0], composeKernel, 1, new(Completion)); err == nil {
			t.Fatal("two runs have the same scratch memory")
		}
		call.start(t, groups[1], 1)
		net.drain(t)
		call.check(t)
	}
	if mem.free != 64 { // the buffer for reversed reductions stays
		t.Errorf("%d bytes are free at the end, want 64", mem.free)
	}
}

// TestNoMemoryToWorkIn runs out of NIC memory in the middle of a run.
func TestNoMemoryToWorkIn(t *testing.T) {
	for _, c := range []struct{ index, eager int }{{3, 0}, {3, 64}, {6, 64}} {
		coll := &collectives[c.index]
		t.Run(fmt.Sprintf("%s, eager %d", coll.name, c.eager), func(t *testing.T) {
			net := newTestNet(t, 3, 1, execConfig{eagerMax: c.eager, chunk: 64})
			groups := net.makeGroup(t, 0, []int{0, 1, 2})
			call := newCall(t, coll, 3, 16, 1, net.rng)
			for _, n := range net.nodes {
				n.exec.cfg.memory = newMemoryForTest(call.comp[n.self].schedule.Scratch)
			}
			for self, g := range groups {
				call.start(t, g, self)
			}
			net.drain(t)
			errs := call.settled(t, nil)
			if len(errs) == 0 || !strings.Contains(fmt.Sprint(errs), "no room for 64 bytes") {
				t.Errorf("the members end with %v", errs)
			}
			net.checkClean(t)
		})
	}
}

// TestPiecesAreShared lets many reductions wait for the one buffer that there is.
func TestPiecesAreShared(t *testing.T) {
	net := newTestNet(t, 6, 1, execConfig{eagerMax: 0, chunk: 8, pieces: 1})
	net.late = 1
	groups := net.makeGroup(t, 0, []int{0, 1, 2, 3, 4, 5})
	call := newCall(t, &collectives[5], 6, 40, 3, net.rng)
	for self, g := range groups {
		call.start(t, g, self)
	}
	starved := 0
	for net.step(t) {
		starved = max(starved, len(net.nodes[0].exec.starved))
	}
	call.check(t)
	if starved == 0 {
		t.Error("no reduction has waited for the buffer")
	}
	net.checkClean(t)
}
