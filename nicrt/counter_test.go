package nicrt

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// counterNet joins counter units by queues. A message that arrives is handed to
// the receiver's handler, as a program on the NIC would get it.
type counterNet struct {
	rng     *rand.Rand
	units   []*counterUnit
	links   [][][]testPacket
	refuse  float64
	dead    map[int]bool
	receive func(at, from int, h Header, payload []byte)
}

type counterPort struct {
	net  *counterNet
	self int
}

func (p counterPort) send(peer int, h *Header, payload []byte) bool {
	if p.net.rng.Float64() < p.net.refuse {
		return false
	}
	p.net.links[p.self][peer] = append(p.net.links[p.self][peer], testPacket{*h, bytes.Clone(payload)})
	return true
}

func (p counterPort) peerErr(peer int) error {
	if p.net.dead[peer] {
		return errors.New("dead")
	}
	return nil
}

func newCounterNet(n int, seed uint64) *counterNet {
	net := &counterNet{rng: rand.New(rand.NewPCG(seed, 1)), dead: map[int]bool{}}
	for i := range n {
		net.units = append(net.units, newCounterUnit(counterConfig{wire: counterPort{net, i}}))
		net.links = append(net.links, make([][]testPacket, n))
	}
	return net
}

// drain delivers messages in random order between pairs until nothing moves.
func (net *counterNet) drain() {
	n := len(net.units)
	for {
		moved := false
		for _, k := range net.rng.Perm(n * n) {
			from, to := k/n, k%n
			if link := &net.links[from][to]; len(*link) > 0 {
				p := (*link)[0]
				*link = (*link)[1:]
				net.receive(to, from, p.hdr, p.payload)
				moved = true
			}
			if net.units[from].busy() {
				net.units[from].kick()
				moved = true
			}
		}
		if !moved {
			return
		}
	}
}

func mustCounter(t tester, u *counterUnit) Counter {
	t.Helper()
	c, err := u.alloc()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustArm(t tester, u *counterUnit, op Triggered) {
	t.Helper()
	if err := u.arm(op); err != nil {
		t.Fatal(err)
	}
}

func mustIncrement(t tester, u *counterUnit, c Counter, by CounterValue) {
	t.Helper()
	if err := u.increment(c, by); err != nil {
		t.Fatal(err)
	}
}

// TestTriggerRules checks the rules one by one: each step arms an operation or
// changes the counter, and expects what runs, in order.
func TestTriggerRules(t *testing.T) {
	type step struct {
		do   func(*triggerLog)
		want string
	}
	arm := func(name string, threshold uint64, want string) step {
		return step{func(l *triggerLog) { l.arm(name, threshold, false) }, want}
	}
	persist := func(name string, threshold uint64, want string) step {
		return step{func(l *triggerLog) { l.arm(name, threshold, true) }, want}
	}
	add := func(v CounterValue, want string) step {
		return step{func(l *triggerLog) { mustIncrement(l.t, l.u, l.c, v) }, want}
	}
	inc := func(n uint64, want string) step { return add(CounterValue{Success: n}, want) }
	set := func(v CounterValue, want string) step {
		return step{func(l *triggerLog) {
			if err := l.u.set(l.c, v); err != nil {
				l.t.Fatal(err)
			}
		}, want}
	}
	cancel := func(n int, want string) step {
		return step{func(l *triggerLog) {
			if got, err := l.u.cancelTriggered(l.c); got != n || err != nil {
				l.t.Errorf("cancelled %d, %v; want %d", got, err, n)
			}
		}, want}
	}
	tests := []struct {
		name  string
		steps []step
	}{
		{"reaches", []step{arm("a", 2, ""), inc(1, ""), inc(1, "a"), inc(1, "")}},
		{"exceeds", []step{arm("a", 2, ""), inc(9, "a")}},
		{"reached before it is armed", []step{inc(5, ""), arm("a", 5, "a"), inc(1, "")}},
		{"exceeded before it is armed", []step{inc(5, ""), arm("a", 4, "a")}},
		{"zero runs at once", []step{arm("a", 0, "a")}},
		{"order of threshold", []step{arm("a", 3, ""), arm("b", 1, ""), arm("c", 2, ""), inc(3, "bca")}},
		{"order of issue", []step{arm("a", 1, ""), arm("b", 1, ""), arm("c", 1, ""), inc(1, "abc")}},
		{"only what is due", []step{arm("a", 1, ""), arm("b", 2, ""), arm("c", 3, ""), inc(2, "ab"), inc(1, "c")}},
		{"failures count", []step{arm("a", 2, ""), add(CounterValue{Failure: 1}, ""), inc(1, "a")}},
		{"set", []step{arm("a", 7, ""), set(CounterValue{Success: 6}, ""), set(CounterValue{Success: 3, Failure: 4}, "a")}},
		{"taken away in time", []step{arm("a", 3, ""), inc(2, ""), add(Negative(2), ""), inc(2, ""), inc(1, "a")}},
		{"cancelled", []step{arm("a", 1, ""), persist("b", 2, ""), cancel(2, ""), inc(3, ""), arm("c", 1, "c")}},
		{"persistent, at each rise", []step{persist("a", 2, ""), inc(2, "a"), inc(1, ""), add(Negative(3), ""), inc(1, ""),
			inc(4, "a"), set(CounterValue{}, ""), inc(2, "a")}},
		{"persistent, reached before", []step{inc(2, ""), persist("a", 1, "a"), inc(1, ""), add(Negative(3), ""), inc(1, "a")}},
		{"modulo 2^64", []step{add(Negative(1), ""), arm("a", 1<<63, "a"), inc(1, ""), arm("b", 1, ""), inc(1, "b")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := newCounterUnit(counterConfig{})
			l := &triggerLog{t: t, u: u, c: mustCounter(t, u)}
			for i, s := range tt.steps {
				l.ran = ""
				if s.do(l); l.ran != s.want {
					t.Errorf("step %d ran %q, want %q", i, l.ran, s.want)
				}
			}
		})
	}
}

// triggerLog arms operations on one counter that write down that they ran.
type triggerLog struct {
	t   tester
	u   *counterUnit
	c   Counter
	ran string
}

func (l *triggerLog) arm(name string, threshold uint64, persistent bool) {
	mustArm(l.t, l.u, Triggered{Counter: l.c, Threshold: threshold, Persistent: persistent, Kind: TriggerCall,
		Call: func() error { l.ran += name; return nil }})
}

// TestTriggerKinds checks what each kind does, and that its end is counted.
func TestTriggerKinds(t *testing.T) {
	net := newCounterNet(2, 1)
	var got []string
	net.receive = func(at, from int, h Header, payload []byte) {
		got = append(got, fmt.Sprintf("%d<-%d tag %d %s", at, from, h.Tag, payload))
	}
	u := net.units[0]
	c, target, then := mustCounter(t, u), mustCounter(t, u), mustCounter(t, u)
	word, sum, dup := []byte("ab"), []byte{1, 0}, make([]byte, 2)
	for _, op := range []Triggered{
		{Kind: TriggerSend, Peer: 1, Header: Header{Tag: 7}, Payload: word},
		{Kind: TriggerReduce, Dst: word, Src: []byte("xy")},
		{Kind: TriggerReduce, Dst: sum, Src: []byte{2, 0}, Kernel: addKernel},
		{Kind: TriggerIncrement, Target: target, Value: CounterValue{Success: 5, Failure: 1}},
		{Kind: TriggerIncrement, Target: target, Value: Negative(2)},
		{Kind: TriggerReduce, Dst: dup, Src: sum},
		{Kind: TriggerReduce, Dst: sum, Src: dup, Kernel: func(_, _ []byte) { panic("bad kernel") }},
		{Kind: TriggerCall, Call: func() error { return errors.New("no") }},
		{Kind: TriggerCall, Call: func() error { panic("no") }},
	} {
		op.Counter, op.Threshold, op.Then = c, 1, then
		mustArm(t, u, op)
	}
	net.refuse = 1 // the payload is taken all the same before it is overwritten
	mustIncrement(t, u, c, CounterValue{Success: 1})
	if len(got) != 0 || !u.busy() {
		t.Fatalf("received %q over a wire that refuses", got)
	}
	net.refuse = 0
	net.drain()
	if want := []string{"1<-0 tag 7 ab"}; !slices.Equal(got, want) {
		t.Errorf("received %q, want %q", got, want)
	}
	if string(word) != "xy" || sum[0] != 3 || dup[0] != 3 {
		t.Errorf("memory is %q, %v, %v", word, sum, dup)
	}
	if v, _ := u.get(target); v != (CounterValue{Success: 3, Failure: 1}) {
		t.Errorf("target is %v", v)
	}
	if v, _ := u.get(then); v != (CounterValue{Success: 6, Failure: 3}) {
		t.Errorf("ends are counted as %v, want 6 successes and 3 failures", v)
	}
	if u.stats.Failed != 3 || u.armed != 0 {
		t.Errorf("stats %+v, %d armed", u.stats, u.armed)
	}
	net.dead[1] = true
	mustArm(t, u, Triggered{Counter: c, Threshold: 1, Kind: TriggerSend, Peer: 1, Then: then})
	if v, _ := u.get(then); v.Failure != 4 {
		t.Errorf("a send to a lost peer is not a failure: %v", v)
	}
}

func TestCounterErrors(t *testing.T) {
	u := newCounterUnit(counterConfig{counters: 2, armed: 1})
	c := mustCounter(t, u)
	gone := mustCounter(t, u)
	if _, err := u.alloc(); !errors.Is(err, ErrCounter) || !strings.Contains(err.Error(), "all 2 counters") {
		t.Errorf("third counter: %v", err)
	}
	if err := u.release(gone); err != nil {
		t.Fatal(err)
	}
	call := func() error { return nil }
	var done, pending Completion
	if err := u.wait(c, 1, &pending); err != nil {
		t.Fatal(err)
	}
	get := func(c Counter) error { _, err := u.get(c); return err }
	cancel := func(c Counter) error { _, err := u.cancelTriggered(c); return err }
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"get of none", get(0), "counter 0: there is no such"},
		{"get of a freed one", get(gone), "no such"},
		{"get of an unknown one", get(1 << 31), "no such"},
		{"set", u.set(gone, CounterValue{}), "no such"},
		{"increment", u.increment(gone, CounterValue{}), "no such"},
		{"release", u.release(gone), "no such"},
		{"cancel", cancel(gone), "no such"},
		{"wait", u.wait(gone, 1, &done), "no such"},
		{"wait without completion", u.wait(c, 1, nil), "without a completion"},
		{"wait with a pending one", u.wait(c, 1, &pending), "pending"},
		{"arm on none", u.arm(Triggered{Kind: TriggerCall, Call: call}), "no such"},
		{"no kind", u.arm(Triggered{Counter: c}), "unknown triggered operation none"},
		{"unknown kind", u.arm(Triggered{Counter: c, Kind: 99}), "trigger(99)"},
		{"call of nothing", u.arm(Triggered{Counter: c, Kind: TriggerCall}), "call of nothing"},
		{"negative peer", u.arm(Triggered{Counter: c, Kind: TriggerSend, Peer: -1}), "peer -1"},
		{"no wire", u.arm(Triggered{Counter: c, Kind: TriggerSend}), "without a wire"},
		{"unequal lengths", u.arm(Triggered{Counter: c, Kind: TriggerReduce, Dst: make([]byte, 2)}), "0 bytes into 2"},
		{"unknown target", u.arm(Triggered{Counter: c, Kind: TriggerIncrement, Target: gone}), "no such"},
		{"unknown then", u.arm(Triggered{Counter: c, Kind: TriggerCall, Call: call, Then: gone}), "no such"},
	}
	for _, tt := range tests {
		if !errors.Is(tt.err, ErrCounter) || !strings.Contains(fmt.Sprint(tt.err), tt.want) {
			t.Errorf("%s: got %v, want an ErrCounter with %q", tt.name, tt.err, tt.want)
		}
	}
	mustArm(t, u, Triggered{Counter: c, Threshold: 9, Kind: TriggerCall, Call: call})
	if err := u.arm(Triggered{Counter: c, Threshold: 9, Kind: TriggerCall, Call: call}); !errors.Is(err, ErrCounter) {
		t.Errorf("second operation of one: %v", err)
	}
	if err := u.release(c); err != nil || !pending.Done() || !errors.Is(pending.Err(), ErrCounter) {
		t.Errorf("release gives %v, the wait %v", err, pending.Err())
	}
	if u.armed != 0 {
		t.Errorf("%d operations are armed on no counter", u.armed)
	}
}

func TestCounterWait(t *testing.T) {
	u := newCounterUnit(counterConfig{})
	c := mustCounter(t, u)
	var now, later, never Completion
	for i, w := range []*Completion{&now, &later, &never} {
		if err := u.wait(c, uint64(i), w); err != nil {
			t.Fatal(err)
		}
	}
	if !now.Done() || later.Done() {
		t.Error("a wait for 0 is not over, or one for 1 is")
	}
	again := 0
	later.Notify = func(w *Completion) {
		if again++; again < 3 {
			if err := u.wait(c, 1, w); err != nil {
				t.Error(err)
			}
		}
	}
	mustIncrement(t, u, c, CounterValue{Success: 1})
	if !later.Done() || later.Err() != nil || again != 3 || never.Done() {
		t.Errorf("after one success: %v, %v, %d calls, %v", later.Done(), later.Err(), again, never.Done())
	}
	mustIncrement(t, u, c, CounterValue{Failure: 2})
	var failure *CountedFailure
	if !never.Done() || !errors.As(never.Err(), &failure) || failure.Value != (CounterValue{Success: 1, Failure: 2}) || !strings.Contains(failure.Error(), "2 failures") {
		t.Errorf("a failure ends the wait with %v", never.Err())
	}
}

// TestEndlessChain makes sure that operations that release each other for ever
// do not keep the NIC from its other work.
func TestEndlessChain(t *testing.T) {
	u := newCounterUnit(counterConfig{burst: 10})
	c := mustCounter(t, u)
	calls := 0
	mustArm(t, u, Triggered{Counter: c, Threshold: 1, Persistent: true, Kind: TriggerCall, Call: func() error { calls++; return nil }})
	mustArm(t, u, Triggered{Counter: c, Threshold: 1, Persistent: true, Kind: TriggerIncrement, Target: c, Value: Negative(1)})
	mustArm(t, u, Triggered{Counter: c, Threshold: 1, Persistent: true, Kind: TriggerIncrement, Target: c, Value: CounterValue{Success: 1}})
	mustIncrement(t, u, c, CounterValue{Success: 1})
	for range 9 {
		if !u.busy() {
			t.Fatal("the chain has ended")
		}
		u.kick()
	}
	if calls < 30 || calls > 34 {
		t.Errorf("%d calls in ten bursts of ten operations, a third of which are calls", calls)
	}
	if n, err := u.cancelTriggered(c); n != 3 || err != nil {
		t.Errorf("cancelled %d, %v", n, err)
	}
	u.kick()
	if u.busy() {
		t.Error("the chain goes on after it was cancelled")
	}
}
