package nicrt

import (
	"errors"
	"fmt"
	"math/rand/v2"
)

// tester is what helpers need of a test, a benchmark or a property.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// testNet connects executors by queues, one for each ordered pair, and decides
// by a seeded generator what happens next: which message arrives, what the wire
// refuses, which reads are late.
type testNet struct {
	rng    *rand.Rand
	nodes  []*testNode
	links  [][][]testPacket // by sender and receiver
	room   int              // packets that a link holds
	refuse float64          // share of sends refused although there is room
	late   float64          // share of reads that end later
	cut    map[int]bool     // peers that are dead
	sent   int              // packets that were sent
}

type testPacket struct {
	hdr     Header
	payload []byte
}

type lateRead struct {
	peer  int
	dst   []byte
	addr  uint64
	key   uint32
	token uint64
}

// testNode is one NIC: an executor and its wire.
type testNode struct {
	net       *testNet
	self      int
	exec      *exec
	exposed   map[uint32]testRegion
	lastKey   uint32
	reads     []lateRead
	errs      []error // that deliver returned
	exposeErr error   // to be returned by expose
	readErr   error   // to be returned by read
}

type testRegion struct {
	peer int
	addr uint64
	b    []byte
}

var _ wire = (*testNode)(nil)

func newTestNet(t tester, n int, seed uint64, cfg execConfig) *testNet {
	t.Helper()
	net := &testNet{rng: rand.New(rand.NewPCG(seed, 0)), room: 1 << 30, cut: map[int]bool{}}
	for i := range n {
		node := &testNode{net: net, self: i, exposed: map[uint32]testRegion{}}
		cfg.wire = node
		cfg.program = 7
		var err error
		if node.exec, err = newExec(cfg); err != nil {
			t.Fatal(err)
		}
		net.nodes = append(net.nodes, node)
		net.links = append(net.links, make([][]testPacket, n))
	}
	return net
}

func (n *testNode) send(peer int, h *Header, payload []byte) bool {
	if n.net.cut[n.self] || n.net.cut[peer] {
		return true // lost on the way
	}
	link := &n.net.links[n.self][peer]
	if len(*link) >= n.net.room || n.net.refuse > 0 && n.net.rng.Float64() < n.net.refuse {
		return false
	}
	n.net.sent++
	*link = append(*link, testPacket{*h, append([]byte(nil), payload...)})
	return true
}

func (n *testNode) expose(peer int, b []byte) (uint64, uint32, error) {
	if n.exposeErr != nil {
		return 0, 0, n.exposeErr
	}
	n.lastKey++
	addr := uint64(n.lastKey) << 32
	n.exposed[n.lastKey] = testRegion{peer, addr, b}
	return addr, n.lastKey, nil
}

func (n *testNode) conceal(key uint32) {
	if _, ok := n.exposed[key]; !ok {
		panic(fmt.Sprintf("conceal of key %d, which is not exposed", key))
	}
	delete(n.exposed, key)
}

func (n *testNode) read(peer int, dst []byte, addr uint64, key uint32, token uint64) (bool, error) {
	if n.readErr != nil {
		return false, n.readErr
	}
	if n.net.late > 0 && n.net.rng.Float64() < n.net.late {
		n.reads = append(n.reads, lateRead{peer: peer, dst: dst, addr: addr, key: key, token: token})
		return false, nil
	}
	return true, n.fetch(peer, dst, addr, key)
}

var (
	errNoAccess = errors.New("remote access error")
	errDead     = errors.New("peer does not answer")
)

func (n *testNode) fetch(peer int, dst []byte, addr uint64, key uint32) error {
	if n.net.cut[peer] {
		return errDead
	}
	reg, ok := n.net.nodes[peer].exposed[key]
	if !ok || reg.peer != n.self || addr < reg.addr || addr+uint64(len(dst)) > reg.addr+uint64(len(reg.b)) {
		return errNoAccess
	}
	copy(dst, reg.b[addr-reg.addr:])
	return nil
}

// step does one thing that is possible and reports whether there was one that
// changes anything.
func (net *testNet) step(t tester) bool {
	type action struct{ kind, a, b int }
	var all []action
	for a := range net.nodes {
		for b := range net.nodes {
			if len(net.links[a][b]) > 0 {
				all = append(all, action{0, a, b})
			}
		}
		for i := range net.nodes[a].reads {
			all = append(all, action{1, a, i})
		}
		if net.nodes[a].exec.busy() {
			all = append(all, action{2, a, 0})
		}
	}
	net.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, act := range all {
		switch act.kind {
		case 0:
			link := &net.links[act.a][act.b]
			p := (*link)[0]
			payload := append([]byte(nil), p.payload...)
			taken, err := net.nodes[act.b].exec.deliver(act.a, &p.hdr, payload)
			clear(payload) // the executor must have copied it
			if err != nil {
				net.nodes[act.b].errs = append(net.nodes[act.b].errs, err)
			}
			if taken {
				*link = (*link)[1:]
				return true
			}
		case 1:
			n := net.nodes[act.a]
			r := n.reads[act.b]
			n.reads = append(n.reads[:act.b], n.reads[act.b+1:]...)
			if err := n.exec.readDone(r.token, n.fetch(r.peer, r.dst, r.addr, r.key)); err != nil {
				t.Fatal(err)
			}
			return true
		case 2:
			n := net.nodes[act.a]
			before := net.sent
			n.exec.kick()
			if net.sent != before || net.refuse > 0 {
				return true
			}
		}
	}
	return false
}

// drain runs until nothing moves.
func (net *testNet) drain(t tester) {
	t.Helper()
	for i := 0; net.step(t); i++ {
		if i > 5_000_000 {
			t.Fatal("the network does not come to rest")
		}
	}
}

// checkClean fails the test if an executor holds on to anything.
func (net *testNet) checkClean(t tester) {
	t.Helper()
	for i, n := range net.nodes {
		e := n.exec
		if len(n.exposed) != 0 || e.stats.KeptBytes != 0 || e.busy() || len(e.starved) != 0 ||
			len(e.reads.free) != len(e.reads.all) || len(e.reads.buffers) != e.reads.made {
			t.Errorf("node %d holds %d exposures, %d kept bytes, %d stalls, %d controls, %d starved, reads %d of %d free, buffers %d of %d",
				i, len(n.exposed), e.stats.KeptBytes, len(e.stalled), len(e.control), len(e.starved),
				len(e.reads.free), len(e.reads.all), len(e.reads.buffers), e.reads.made)
		}
		for _, g := range e.groups {
			if g != nil && g.active != 0 {
				t.Errorf("node %d group %d has %d runs", i, g.id, g.active)
			}
		}
		for _, r := range e.idle {
			for op := range r.state {
				if r.state[op].count != 0 && r.state[op].phase == opDone {
					t.Errorf("node %d: counter of op %d is %d after its run", i, op, r.state[op].count)
				}
			}
		}
	}
}

// noErrs fails the test if a message was of no use to its receiver.
func (net *testNet) noErrs(t tester) {
	t.Helper()
	for i, n := range net.nodes {
		for _, err := range n.errs {
			t.Errorf("node %d: %v", i, err)
		}
	}
}
