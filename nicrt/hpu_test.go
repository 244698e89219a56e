package nicrt

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// virtualHPUs is a runner in virtual time: each handler takes as long as cost
// says.
type virtualHPUs struct {
	machine *machine
	now     time.Duration
	cost    func(*Task) time.Duration
	running []virtualTask
	order   []string // handlers as they were started
}

type virtualTask struct {
	task *Task
	end  time.Duration
	took time.Duration
}

func (v *virtualHPUs) run(t *Task) {
	took := v.cost(t)
	v.running = append(v.running, virtualTask{t, v.now + took, took})
	v.order = append(v.order, fmt.Sprintf("%v%d@%d", t.kind.String()[:1], t.Message(), t.Cluster()))
}

// step ends the handler that is through first; false: none runs.
func (v *virtualHPUs) step() bool {
	if len(v.running) == 0 {
		return false
	}
	first := 0
	for i, r := range v.running {
		if r.end < v.running[first].end {
			first = i
		}
	}
	r := v.running[first]
	v.running = slices.Delete(v.running, first, first+1)
	v.now = r.end
	r.task.execute()
	v.machine.done(r.task, r.took)
	return true
}

func newVirtual(c machineConfig, cost func(*Task) time.Duration) (*machine, *virtualHPUs) {
	m, _ := newTestMachine(c)
	v := &virtualHPUs{machine: m, cost: cost}
	m.runner = v
	return m, v
}

// TestThroughput offers packets faster than they can be handled: the rate must
// be that of all HPUs together.
func TestThroughput(t *testing.T) {
	const cost = 100 * time.Nanosecond
	for _, c := range []struct {
		name              string
		clusters, hpus    int
		messages, packets int
	}{
		{"defaults, many messages", 4, 8, 200, 32},
		{"defaults, one message", 4, 8, 1, 6400},
		{"one HPU", 1, 1, 20, 16},
		{"three clusters of five", 3, 5, 60, 40},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, v := newVirtual(machineConfig{clusters: c.clusters, hpus: c.hpus}, func(*Task) time.Duration { return cost })
			in := mustInstall(t, m, 1, Program{Payload: func(*Task) Verdict { return Process }})
			for n := range c.packets {
				for i := range c.messages {
					p := packet{msg: uint64(i), hdr: Header{Program: 1}, first: n == 0, last: n == c.packets-1, offset: uint64(n), payload: []byte{1}}
					for !m.deliver(&p) {
						if !v.step() {
							t.Fatal("refused by an idle machine")
						}
					}
				}
			}
			for v.step() {
			}
			handlers := c.messages * c.packets
			if got := in.Account().Payloads; got != uint64(handlers) {
				t.Fatalf("%d handlers ran, want %d", got, handlers)
			}
			ideal := time.Duration((handlers+c.clusters*c.hpus-1)/(c.clusters*c.hpus)) * cost
			if v.now < ideal || v.now > ideal+ideal/20+cost {
				t.Errorf("%d handlers of %v took %v, want HPUs/handler time: %v", handlers, cost, v.now, ideal)
			}
			if got := in.Account().HandlerTime; got != time.Duration(handlers)*cost {
				t.Errorf("account says %v in handlers, want %v", got, time.Duration(handlers)*cost)
			}
			checkIdle(t, m)
		})
	}
}

// TestPlacement fills the home cluster and sees the least loaded one help out.
func TestPlacement(t *testing.T) {
	m, v := newVirtual(machineConfig{clusters: 4, hpus: 1, queue: 2}, func(*Task) time.Duration { return time.Microsecond })
	mustInstall(t, m, 1, Program{Payload: func(*Task) Verdict { return Process }})
	where := func() (n [4]int) {
		for i := range m.clusters {
			n[i] = m.clusters[i].load
		}
		return n
	}
	one := func(msg uint64) { deliverAll(t, m, message(1, 0, msg, "x", 1)) }
	for _, step := range []struct {
		msg  uint64
		want [4]int
	}{
		{2, [4]int{0, 0, 1, 0}}, {6, [4]int{0, 0, 2, 0}}, {10, [4]int{0, 0, 3, 0}}, // at home: one runs, two wait
		{14, [4]int{1, 0, 3, 0}}, {18, [4]int{1, 1, 3, 0}}, {22, [4]int{1, 1, 3, 1}}, // home is full
		{3, [4]int{1, 1, 3, 2}}, {26, [4]int{2, 1, 3, 2}}, {30, [4]int{2, 2, 3, 2}},
		{0, [4]int{3, 2, 3, 2}}, {1, [4]int{3, 3, 3, 2}}, {7, [4]int{3, 3, 3, 3}},
		{34, [4]int{3, 3, 3, 3}}, // no room anywhere: the message waits
	} {
		if one(step.msg); where() != step.want {
			t.Fatalf("message %d: loads %v, want %v", step.msg, where(), step.want)
		}
	}
	for v.step() {
	}
	if n := len(v.order); n != 13 {
		t.Errorf("%d handlers ran, want 13", n)
	}
	checkIdle(t, m)
}

// TestRoundRobin gives three messages many packets at once: they must take
// turns.
func TestRoundRobin(t *testing.T) {
	m, v := newVirtual(machineConfig{clusters: 1, hpus: 1, queue: 1}, func(*Task) time.Duration { return time.Microsecond })
	mustInstall(t, m, 1, Program{Payload: func(*Task) Verdict { return Process }})
	for msg := range uint64(3) {
		deliverAll(t, m, message(1, 0, msg, "abcd", 4))
	}
	for v.step() {
	}
	// Two of message 0 are under way before the others are there.
	want := "[p0@0 p0@0 p1@0 p2@0 p0@0 p1@0 p2@0 p0@0 p1@0 p2@0 p1@0 p2@0]"
	if got := fmt.Sprint(v.order); got != want {
		t.Errorf("handlers in order\n%s\nwant\n%s", got, want)
	}
}

func TestReadySetTakesTurns(t *testing.T) {
	var s readySet
	if s.next() != noFlow {
		t.Fatal("an empty set gave a flow")
	}
	for _, f := range []int32{0, 1, 63, 64, 200, 255} {
		s.set(f, true)
	}
	var got []int32
	for range 13 {
		got = append(got, s.next())
	}
	if want := "[0 1 63 64 200 255 0 1 63 64 200 255 0]"; fmt.Sprint(got) != want {
		t.Errorf("turns %v, want %s", got, want)
	}
	s = readySet{turn: 65}
	s.set(64, true)
	if f := s.next(); f != 64 {
		t.Errorf("only flow 64 is ready, got %d", f)
	}
}

// TestSharedScratch sees that each HPU keeps its own scratchpad between
// handlers and that a slot tells messages in flight apart.
func TestSharedScratch(t *testing.T) {
	m, v := newVirtual(machineConfig{clusters: 2, hpus: 2}, func(*Task) time.Duration { return time.Microsecond })
	in := mustInstall(t, m, 1, Program{Scratch: 1, Payload: func(tk *Task) Verdict {
		tk.Scratch()[0]++
		return Process
	}})
	for msg := range uint64(8) {
		deliverAll(t, m, message(1, 0, msg, "abcd", 4))
	}
	slots := map[int]uint64{}
	for _, r := range v.running {
		if msg, ok := slots[r.task.Slot()]; ok && msg != r.task.Message() {
			t.Errorf("messages %d and %d share slot %d", msg, r.task.Message(), r.task.Slot())
		}
		slots[r.task.Slot()] = r.task.Message()
	}
	if len(slots) != 2 {
		t.Errorf("%d slots for the 2 messages that have the HPUs", len(slots))
	}
	for v.step() {
	}
	sum := 0
	for hpu := range 4 {
		n := int(in.scratch[hpu*in.stride])
		if n == 0 {
			t.Errorf("HPU %d ran nothing", hpu)
		}
		sum += n
	}
	if sum != 32 {
		t.Errorf("scratchpads count %d packets, want 32", sum)
	}
}
