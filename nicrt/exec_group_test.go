package nicrt

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestGroupErrors(t *testing.T) {
	net := newTestNet(t, 1, 1, execConfig{eagerMax: 64})
	e := net.nodes[0].exec
	if _, err := e.group(1, []int{0, 1}, 0); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		id    uint32
		peers []int
		self  int
		want  string
	}{
		{"id in use", 1, []int{0}, 0, "in use"},
		{"id too large", maxGroups, []int{0}, 0, "too large"},
		{"no members", 2, nil, 0, "0 members"},
		{"too many members", 2, make([]int, maxMembers+1), 0, "65537 members"},
		{"self below", 2, []int{0}, -1, "self is -1"},
		{"self above", 2, []int{0}, 1, "self is 1"},
		{"peer below", 2, []int{0, -1}, 0, "peer -1"},
		{"peer above", 2, []int{0, 1 << 31}, 0, "peer 2147483648"},
	}
	for _, tt := range tests {
		if _, err := e.group(tt.id, tt.peers, tt.self); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestStartErrors(t *testing.T) {
	net := newTestNet(t, 2, 1, execConfig{eagerMax: 64, chunk: 8, memory: newMemoryForTest(128)})
	e := net.nodes[0].exec
	g, err := e.group(0, []int{0, 1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	compile := func(s *Schedule) *Compiled {
		c, err := Compile(s)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	pair := compile(pairSchedule(0, 8, 8))
	big := compile(&Schedule{Name: "big", Peers: 2, Scratch: 1 << 10})
	var done, pending Completion
	if _, err := g.start(pair, make([]byte, 8), make([]byte, 8), addKernel, 1, &pending); err != nil {
		t.Fatal(err)
	}
	in, out := make([]byte, 8), make([]byte, 8)
	tests := []struct {
		name   string
		c      *Compiled
		in     []byte
		out    []byte
		kernel func(dst, src []byte)
		rounds int
		done   *Completion
		want   string
	}{
		{"no schedule", nil, in, out, addKernel, 1, &done, "nil"},
		{"no completion", pair, in, out, addKernel, 1, nil, "nil"},
		{"other member", compile(pairSchedule(1, 8, 8)), in, out, addKernel, 1, &done, "member 1 of 2, and this is member 0 of 2"},
		{"input too short", pair, in[:7], out, addKernel, 1, &done, "input of 7 bytes, expected 8"},
		{"input missing", pair, nil, out, addKernel, 1, &done, "input of 0 bytes"},
		{"output too long", pair, in, make([]byte, 9), addKernel, 1, &done, "output of 9 bytes, expected 8"},
		{"no kernel", pair, in, out, nil, 1, &done, "no kernel"},
		{"no rounds", pair, in, out, addKernel, 0, &done, "0 rounds"},
		{"negative rounds", pair, in, out, addKernel, -1, &done, "-1 rounds"},
		{"pending completion", pair, in, out, addKernel, 1, &pending, "pending"},
		{"large elements", compile(pairSchedule(0, 64, 64)), make([]byte, 64), make([]byte, 64), addKernel, 1, &done, "elements of 64 bytes"},
		{"no scratch", big, nil, nil, nil, 1, &done, "scratch memory: no room for 1024 bytes"},
	}
	for _, tt := range tests {
		before := g.next
		_, err := g.start(tt.c, tt.in, tt.out, tt.kernel, tt.rounds, tt.done)
		var se *StartError
		if !errors.As(err, &se) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want a *StartError with %q", tt.name, err, tt.want)
		}
		if g.next != before || done.Done() || done.pending {
			t.Errorf("%s: something has happened all the same", tt.name)
		}
	}
	if err := g.close(); !errors.Is(err, ErrBusy) {
		t.Errorf("close with a run in progress: %v", err)
	}
}

// TestPeerFarAhead lets the root of a broadcast make a thousand calls before
// the others make one. With little memory the messages stay on the wire.
func TestPeerFarAhead(t *testing.T) {
	for _, keep := range []int{1 << 10, 1 << 20} {
		t.Run(fmt.Sprintf("keep %d bytes", keep), func(t *testing.T) {
			const n, calls = 3, 1000
			net := newTestNet(t, n, 1, execConfig{eagerMax: 64, keepMax: keep, window: 8, keepNIC: 512})
			groups := net.makeGroup(t, 0, []int{0, 1, 2})
			var all []*testCall
			for range calls {
				all = append(all, newCall(t, &collectives[1], n, 12, 1, net.rng))
			}
			for self, g := range groups {
				for _, call := range all {
					call.start(t, g, self)
				}
				net.drain(t)
			}
			for _, call := range all {
				call.check(t)
			}
			st := net.nodes[1].exec.stats
			if refused := st.Refused > 0; refused != (keep == 1<<10) || st.Kept == 0 || st.KeptPeak > keep {
				t.Errorf("keeping at most %d bytes: %+v", keep, st)
			}
			net.noErrs(t)
			net.checkClean(t)
		})
	}
}

// TestMessagesBeforeTheirGroup makes the group late at some members, and uses
// an id a second time.
func TestMessagesBeforeTheirGroup(t *testing.T) {
	net := newTestNet(t, 3, 1, execConfig{eagerMax: 8, chunk: 8})
	members := []int{2, 0, 1}
	for range 2 {
		for i := range collectives {
			call := newCall(t, &collectives[i], 3, 24, 2, net.rng)
			groups := make([]*group, 3)
			for self, node := range members {
				g, err := net.nodes[node].exec.group(uint32(i), members, self)
				if err != nil {
					t.Fatal(err)
				}
				groups[self] = g
				call.start(t, g, self)
				net.drain(t)
			}
			call.check(t)
			for _, g := range groups {
				if err := g.close(); err != nil {
					t.Error(err)
				}
				if err := g.close(); err != nil {
					t.Errorf("second close: %v", err)
				}
				if _, err := g.start(call.comp[0], nil, nil, nil, 1, new(Completion)); !errors.Is(err, ErrGroupClosed) {
					t.Errorf("start in a closed group: %v", err)
				}
			}
		}
	}
	net.noErrs(t)
	net.checkClean(t)
}

// TestGroupFailsBeforeItIsMade makes a group after another member has given it
// up, and one with a peer that is lost.
func TestGroupFailsBeforeItIsMade(t *testing.T) {
	net := newTestNet(t, 2, 1, execConfig{})
	first, err := net.nodes[0].exec.group(0, []int{0, 1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	net.nodes[0].exec.failGroup(first, errTestLoss)
	net.drain(t)
	second, err := net.nodes[1].exec.group(0, []int{0, 1}, 1)
	if err != nil || !errors.Is(second.err, ErrAborted) {
		t.Errorf("the group is %v, %v", second.err, err)
	}
	net.nodes[1].exec.failPeer(0, errTestLoss)
	third, err := net.nodes[1].exec.group(1, []int{0, 1}, 1)
	if err != nil || !errors.Is(third.err, errTestLoss) {
		t.Errorf("the group with a lost peer is %v, %v", third.err, err)
	}
	net.checkClean(t)
}

// TestNotifyStartsTheNext lets the end of each run start the next one.
func TestNotifyStartsTheNext(t *testing.T) {
	const runs = 100
	net := newTestNet(t, 4, 1, execConfig{eagerMax: 8, chunk: 8, window: 1})
	net.late, net.refuse = 0.3, 0.1
	groups := net.makeGroup(t, 0, []int{0, 1, 2, 3})
	call := newCall(t, &collectives[4], 4, 36, 1, net.rng)
	count := make([]int, 4)
	for self, g := range groups {
		call.done[self].Notify = func(c *Completion) {
			if count[self]++; count[self] < runs && c.Err() == nil {
				call.start(t, g, self)
			}
		}
		call.start(t, g, self)
	}
	net.drain(t)
	call.check(t)
	for self, n := range count {
		if n != runs {
			t.Errorf("member %d has made %d runs, want %d", self, n, runs)
		}
	}
	net.checkClean(t)
}

// chattyNode is a wire that reports other things while it is called.
type chattyNode struct {
	*testNode
	inside func()
}

func (n chattyNode) send(peer int, h *Header, payload []byte) bool {
	n.inside()
	return n.testNode.send(peer, h, payload)
}

func (n chattyNode) read(peer int, dst []byte, addr uint64, key uint32, token uint64) (bool, error) {
	n.inside()
	return n.testNode.read(peer, dst, addr, key, token)
}

// TestReportsDuringCalls ends reads while the executor begins others, and loses
// a peer while it sends.
func TestReportsDuringCalls(t *testing.T) {
	net := newTestNet(t, 3, 1, execConfig{eagerMax: 0, chunk: 4, depth: 3, pieces: 3})
	net.late = 0.7
	for _, n := range net.nodes {
		n.exec.wire = chattyNode{n, func() {
			for len(n.reads) > 0 && net.rng.IntN(2) == 0 {
				r := n.reads[0]
				n.reads = n.reads[1:]
				if err := n.exec.readDone(r.token, n.fetch(r.peer, r.dst, r.addr, r.key)); err != nil {
					t.Error(err)
				}
			}
			if taken, err := n.exec.deliver(0, &Header{Op: msgEager}, nil); taken || err != nil {
				t.Errorf("a message during a call: %v, %v", taken, err)
			}
		}}
	}
	groups := net.makeGroup(t, 0, []int{0, 1, 2})
	for range 20 {
		for i := range collectives {
			call := newCall(t, &collectives[i], 3, 48, 2, net.rng)
			for self, g := range groups {
				call.start(t, g, self)
			}
			net.drain(t)
			call.check(t)
		}
	}
	net.checkClean(t)
	n := net.nodes[0]
	n.exec.wire = chattyNode{n, func() { n.exec.failPeer(1, errTestLoss) }}
	call := newCall(t, &collectives[2], 3, 48, 2, net.rng)
	for self, g := range groups {
		call.start(t, g, self)
	}
	net.lose(1)
	net.drain(t)
	if errs := call.settled(t, map[int]bool{1: true}); len(errs) != 2 || !errors.Is(call.done[0].Err(), errTestLoss) {
		t.Errorf("the members end with %v", errs)
	}
}

func TestReadDoneErrors(t *testing.T) {
	net := newTestNet(t, 2, 1, execConfig{eagerMax: 0})
	net.late = 1
	groups := net.makeGroup(t, 0, []int{0, 1})
	call := newCall(t, &collectives[1], 2, 8, 1, net.rng)
	for self, g := range groups {
		call.start(t, g, self)
	}
	e := net.nodes[1].exec
	for len(net.nodes[1].reads) == 0 && net.step(t) {
	}
	token := net.nodes[1].reads[0].token
	for _, bad := range []uint64{token + 1, token + 1<<32, 1<<64 - 1} {
		if err := e.readDone(bad, nil); err == nil {
			t.Errorf("token %#x is taken for a read under way", bad)
		}
	}
	net.drain(t)
	call.check(t)
	if err := e.readDone(token, nil); err == nil {
		t.Error("a read ends twice")
	}
}

// TestWaiting looks at a run that cannot go on.
func TestWaiting(t *testing.T) {
	net := newTestNet(t, 2, 1, execConfig{eagerMax: 4, window: 1})
	groups := net.makeGroup(t, 3, []int{0, 1})
	call := newCall(t, &collectives[2], 2, 8, 1, net.rng)
	call.start(t, groups[0], 0)
	if _, err := groups[0].start(call.comp[0], call.in[0], call.out[0], nil, 1, new(Completion)); err != nil {
		t.Fatal(err)
	}
	net.drain(t)
	var got []string
	for _, w := range net.nodes[0].exec.waiting(nil) {
		got = append(got, w.String())
	}
	want := []string{
		"alltoall, member 0 of group 3, run 0, op 1 waits for its payload to be read by member 1",
		"alltoall, member 0 of group 3, run 0, op 2 waits for a message from member 1",
		"alltoall, member 0 of group 3, run 1 waits for older runs of the group",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestExecConfigErrors(t *testing.T) {
	w := &testNode{}
	for name, cfg := range map[string]execConfig{
		"no wire":          {},
		"negative eager":   {wire: w, eagerMax: -1},
		"negative chunk":   {wire: w, chunk: -1},
		"negative keep":    {wire: w, keepMax: -1},
		"window of three":  {wire: w, window: 3},
		"negative window":  {wire: w, window: -2},
		"window too large": {wire: w, window: 1 << 21},
	} {
		if _, err := newExec(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
