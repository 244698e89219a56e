package nicrt

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The model: what must happen to each message follows from its plan, whatever
// the order in which packets come and handlers return.

type plannedMessage struct {
	program  int
	peer     int32
	msg      uint64
	header   Verdict
	payloads []Verdict // one for each packet
	sizes    []int

	next      int // packet to deliver
	headers   [2]int
	seen      [][2]int // payload handlers begun and returned, by packet
	endings   [2]int   // completion handlers begun and returned
	lost      bool     // its peer is down
	cancelled bool     // its program is stopped
}

func (p *plannedMessage) packet() packet {
	off := 0
	for _, n := range p.sizes[:p.next] {
		off += n
	}
	last := p.next == len(p.sizes)-1
	return packet{peer: p.peer, msg: p.msg, first: p.next == 0, last: last, offset: uint64(off),
		hdr: Header{Program: uint8(p.program), Tag: p.msg}, payload: make([]byte, p.sizes[p.next])}
}

// index returns the number of the packet at byte off; empty packets do not
// exist in a plan, so that there is one.
func (p *plannedMessage) index(off uint64) int {
	for i, n := range p.sizes {
		if off == 0 {
			return i
		}
		off -= uint64(n)
	}
	return -1
}

type modelRun struct {
	*rapid.T
	machine  *machine
	runner   *modelRunner
	programs []*Installed // nil: stopped
	wants    []Program
	messages []*plannedMessage
	active   []*plannedMessage // with packets to come
}

// modelRunner holds tasks and checks each as it is given.
type modelRunner struct {
	of   *modelRun
	held []*Task
}

func (r *modelRunner) run(t *Task) {
	r.held = append(r.held, t)
	r.of.began(t)
}

func (r *modelRun) find(t *Task) *plannedMessage { return r.messages[t.packet.hdr.Tag] }

// began checks that the handler of t may begin.
func (r *modelRun) began(t *Task) {
	p := r.find(t)
	if p.cancelled {
		r.Fatalf("%v handler of message %d after its program was stopped", t.kind, p.msg)
	}
	want := r.wants[p.program]
	headerDone := want.Header == nil || p.headers[1] == 1
	switch t.kind {
	case HeaderHandler:
		if p.headers[0]++; p.headers[0] > 1 || !t.First() {
			r.Fatalf("message %d: header handler %d, first packet %v", p.msg, p.headers[0], t.First())
		}
	case PayloadHandler:
		i := p.index(t.Offset())
		if p.seen[i][0]++; !headerDone || p.seen[i][0] > 1 || p.endings[0] > 0 || p.header != Process {
			r.Fatalf("message %d packet %d: payload handler %d, header done %v, completions %d, verdict %v",
				p.msg, i, p.seen[i][0], headerDone, p.endings[0], p.header)
		}
	case CompletionHandler:
		p.endings[0]++
		r.checkCompletion(t, p, headerDone)
	}
}

func (r *modelRun) checkCompletion(t *Task, p *plannedMessage, headerDone bool) {
	if !headerDone || p.endings[0] > 1 {
		r.Fatalf("message %d: completion %d, header done %v", p.msg, p.endings[0], headerDone)
	}
	for i, s := range p.seen {
		if s[0] != s[1] {
			r.Fatalf("message %d: completion while packet %d is with its handler", p.msg, i)
		}
	}
	whole := p.next == len(p.sizes)
	if t.Last() != whole || !whole && !p.lost {
		r.Fatalf("message %d: completion after %d of %d packets, lost %v, sees the last one: %v", p.msg, p.next, len(p.sizes), p.lost, t.Last())
	}
	failed, dropped, total := p.outcome(r.wants[p.program])
	// Without a payload handler, what came before the loss of the peer was
	// processed, unless the header handler was not through yet.
	early := p.lost && r.wants[p.program].Payload == nil && p.header == Process
	if t.Failed() != failed || t.Dropped() != dropped && !(early && t.Dropped() < dropped) || t.Total() != total {
		r.Fatalf("message %d: completion told failed %v, dropped %d of %d; want %v, %d of %d",
			p.msg, t.Failed(), t.Dropped(), t.Total(), failed, dropped, total)
	}
}

// outcome says what the completion handler must be told, given which payload
// handlers ran. A handler runs for each packet unless the message failed.
func (p *plannedMessage) outcome(want Program) (failed bool, dropped, total uint64) {
	failed = p.lost && p.next < len(p.sizes) || want.Header != nil && p.header == Fail
	for i, s := range p.seen {
		failed = failed || s[1] == 1 && p.payloads[i] == Fail
	}
	for i, n := range p.sizes[:p.next] {
		total += uint64(n)
		ran := p.seen[i][1] == 1
		switch {
		case ran && (p.payloads[i] == Drop || p.payloads[i] == Fail),
			!ran && (failed || p.header == Drop || p.header == Proceed):
			dropped += uint64(n)
		}
	}
	return failed, dropped, total
}

// returned notes that the handler of t has returned.
func (r *modelRun) returned(t *Task) {
	p := r.find(t)
	switch t.kind {
	case HeaderHandler:
		p.headers[1]++
	case PayloadHandler:
		p.seen[p.index(t.packet.offset)][1]++
	case CompletionHandler:
		p.endings[1]++
	}
}

func (r *modelRun) checkBounds() {
	m := r.machine
	held := 0
	for i := range m.clusters {
		c := &m.clusters[i]
		if c.n > len(c.queue) || c.load < 0 {
			r.Fatalf("cluster %d: %d queued, load %d", i, c.n, c.load)
		}
		if c.n > 0 && c.idle != 0 {
			r.Fatalf("cluster %d: HPUs idle (%b) with %d handlers queued", i, c.idle, c.n)
		}
	}
	for i := range m.cells.cells {
		if m.cells.cells[i].refs > 0 {
			held++
		}
	}
	if held+len(m.cells.free) != len(m.cells.cells) || m.packets != nil && m.packets.used > m.packets.size() {
		r.Fatalf("%d cells held and %d free of %d", held, len(m.cells.free), len(m.cells.cells))
	}
	if len(r.runner.held) > len(m.hpus) {
		r.Fatalf("%d handlers on %d HPUs", len(r.runner.held), len(m.hpus))
	}
}

// TestMachineAgainstModel drives a small machine with random traces.
func TestMachineAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := newModelRun(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"begin":   r.begin,
			"deliver": r.deliver,
			"finish":  r.finish,
			"finish2": r.finish,
			"stop":    r.stop,
			"down":    r.down,
			"":        func(*rapid.T) { r.checkBounds() },
		})
		r.drain()
	})
}

func newModelRun(rt *rapid.T) *modelRun {
	m, _ := newTestMachine(machineConfig{clusters: 2, hpus: 2, queue: 2, packets: 6, packetMemory: 8 * memoryGrain})
	r := &modelRun{T: rt, machine: m}
	r.runner = &modelRunner{of: r}
	m.runner = r.runner
	header := func(t *Task) Verdict { return r.find(t).header }
	payload := func(t *Task) Verdict { p := r.find(t); return p.payloads[p.index(t.Offset())] }
	completion := func(*Task) {}
	r.wants = []Program{
		{Header: header, Payload: payload, Completion: completion},
		{Header: header, Completion: completion},
		{Payload: payload, Completion: completion},
		{Header: header, Payload: payload},
	}
	for i := range r.wants {
		r.wants[i].Name = fmt.Sprint("program ", i)
		in, err := m.install(uint8(i), r.wants[i])
		if err != nil {
			rt.Fatal(err)
		}
		r.programs = append(r.programs, in)
	}
	return r
}

func (r *modelRun) begin(t *rapid.T) {
	verdicts := rapid.SampledFrom([]Verdict{Process, Process, Process, Proceed, Drop, Fail})
	p := &plannedMessage{program: rapid.IntRange(0, len(r.programs)-1).Draw(t, "program"),
		peer: rapid.Int32Range(0, 2).Draw(t, "peer"), msg: uint64(len(r.messages))}
	p.sizes = rapid.SliceOfN(rapid.IntRange(1, 3*memoryGrain), 1, 5).Draw(t, "sizes")
	p.payloads = rapid.SliceOfN(verdicts, len(p.sizes), len(p.sizes)).Draw(t, "payload verdicts")
	p.seen = make([][2]int, len(p.sizes))
	if r.wants[p.program].Header != nil {
		p.header = verdicts.Draw(t, "header verdict")
	}
	p.cancelled = r.programs[p.program] == nil
	r.messages = append(r.messages, p)
	r.active = append(r.active, p)
}

func (r *modelRun) deliver(t *rapid.T) {
	if len(r.active) == 0 {
		t.Skip("nothing to deliver")
	}
	r.deliverOne(rapid.IntRange(0, len(r.active)-1).Draw(t, "message"))
}

// deliverOne offers the next packet of active message i.
func (r *modelRun) deliverOne(i int) bool {
	p := r.active[i]
	if p.lost {
		r.active = slices.Delete(r.active, i, i+1)
		return true
	}
	pk := p.packet()
	p.next++ // handlers may run within deliver
	if !r.machine.deliver(&pk) {
		p.next--
		return false
	}
	if p.next == len(p.sizes) {
		r.active = slices.Delete(r.active, i, i+1)
	}
	return true
}

func (r *modelRun) finish(t *rapid.T) {
	if len(r.runner.held) == 0 {
		t.Skip("no handler runs")
	}
	r.finishOne(rapid.IntRange(0, len(r.runner.held)-1).Draw(t, "task"))
}

func (r *modelRun) finishOne(i int) {
	t := r.runner.held[i]
	r.runner.held = slices.Delete(r.runner.held, i, i+1)
	t.execute()
	r.returned(t)
	r.machine.done(t, 0)
}

func (r *modelRun) stop(t *rapid.T) {
	i := rapid.IntRange(0, 8*len(r.programs)).Draw(t, "program")
	if i >= len(r.programs) || r.programs[i] == nil {
		t.Skip("not now")
	}
	for _, p := range r.messages {
		p.cancelled = p.cancelled || p.program == i
	}
	in := r.programs[i]
	r.programs[i] = nil
	in.Stop()
}

func (r *modelRun) down(t *rapid.T) {
	peer := rapid.Int32Range(0, 11).Draw(t, "peer")
	for _, p := range r.messages {
		p.lost = p.lost || p.peer == peer && p.next < len(p.sizes)
	}
	r.machine.peerDown(peer)
}

// drain brings every message to its end and checks that it was reached.
func (r *modelRun) drain() {
	for len(r.active)+len(r.runner.held) > 0 {
		moved := false
		for i := len(r.active) - 1; i >= 0; i-- {
			moved = r.deliverOne(i) || moved
		}
		for len(r.runner.held) > 0 {
			r.finishOne(0)
			moved = true
		}
		if !moved {
			r.Fatalf("stuck with %d messages", len(r.active))
		}
		r.checkBounds()
	}
	for _, p := range r.messages {
		want := 1
		if p.cancelled || r.wants[p.program].Completion == nil || p.lost && p.headers[1] == 0 && r.wants[p.program].Header != nil || p.lost && p.next == 0 {
			want = 0
		}
		if p.endings[1] != want && !p.cancelled {
			r.Fatalf("message %d of program %d ended %d times, want %d", p.msg, p.program, p.endings[1], want)
		}
	}
	for _, in := range r.programs {
		if in != nil {
			in.Stop()
		}
	}
	if r.machine.memory.used != 0 || len(r.machine.leaving) != 0 {
		r.Fatalf("%d bytes of NIC memory in use at the end, %d programs leaving", r.machine.memory.used, len(r.machine.leaving))
	}
	if n := len(r.machine.flows.free); n != MaxMessages-1 {
		r.Fatalf("%d flows free at the end", n)
	}
}

// TestFlowTableAgainstMap opens and closes messages at random, with keys that
// collide.
func TestFlowTableAgainstMap(t *testing.T) {
	type key struct {
		peer int32
		msg  uint64
	}
	rapid.Check(t, func(t *rapid.T) {
		m, _ := newTestMachine(machineConfig{})
		table := &m.flows
		in := &Installed{}
		want := map[key]int32{}
		// Numbers with the same home make clusters that deletion must mend.
		var msgs []uint64
		for msg := uint64(0); len(msgs) < 40; msg++ {
			if h := table.home(0, msg); h < 3 || h > len(table.index)-3 {
				msgs = append(msgs, msg)
			}
		}
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			k := key{0, rapid.SampledFrom(msgs).Draw(t, "message")}
			if f, ok := want[k]; ok {
				table.close(f)
				delete(want, k)
			} else {
				want[k] = table.open(in, &packet{peer: k.peer, msg: k.msg})
			}
			for _, msg := range msgs {
				f, ok := want[key{0, msg}]
				if !ok {
					f = noFlow
				}
				if got := table.find(0, msg); got != f {
					t.Fatalf("message %d at flow %d, want %d", msg, got, f)
				}
			}
		}
	})
}
