package fabrictest

import (
	"maps"
	"slices"

	"pgregory.net/rapid"

	"outboard/verbs/fabric"
)

// A lane is what a Conn is in the model: a queue.
type lane struct {
	from, to   *node
	ep         int    // of from
	cookie     uint32 // of to
	sent, seen int
	queue      []event
}

// testModel runs random programs of sends, polls and refusals on a fabric and on queues.
func testModel(e *env) {
	runs := 0
	rapid.Check(e, func(t *rapid.T) {
		if runs++; runs > 30 { // the number of runs is rapid's, the time is ours
			return
		}
		lanes := e.lanes(rapid.SampledFrom([]int{1, 3, 20}).Draw(t, "conns"))
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			l := rapid.SampledFrom(lanes).Draw(t, "lane")
			if rapid.Bool().Draw(t, "send") {
				e.modelSend(t, l)
			} else {
				e.modelPoll(t, l.to, lanes)
			}
		}
		for _, n := range []*node{e.a, e.b} {
			for e.modelWaiting(n, lanes) > 0 {
				e.modelDrain(t, n, lanes)
			}
		}
		for _, l := range lanes {
			l.from.closeConn(l.ep)
		}
		e.a.poll(rule{})
		e.b.poll(rule{})
	})
}

func (e *env) lanes(n int) (ls []*lane) {
	for i := range n {
		epA, epB := e.joinAs(uint32(2*i), uint32(2*i+1))
		ls = append(ls, &lane{from: e.a, to: e.b, ep: epA, cookie: uint32(2*i + 1)},
			&lane{from: e.b, to: e.a, ep: epB, cookie: uint32(2 * i)})
	}
	return ls
}

func (e *env) modelSend(t *rapid.T, l *lane) {
	size := rapid.OneOf(rapid.IntRange(0, 130), rapid.IntRange(0, l.from.attr.MTU)).Draw(t, "len")
	ps := make([]packet, rapid.IntRange(1, 40).Draw(t, "packets"))
	for i := range ps {
		ps[i] = packet{
			Header: fabric.Header{PSN: uint32(l.sent + i), Flags: rapid.SampledFrom([]uint8{0, 1, fabric.AckNow}).Draw(t, "flags")},
			Seed:   uint32(l.sent + i), Len: size, Cut: size / 3,
		}
	}
	n := l.from.send(l.ep, ps...)
	if len(l.queue) == 0 && n == 0 {
		t.Fatalf("no room for %d bytes in an empty lane", size)
	}
	for _, p := range ps[:n] {
		l.queue = append(l.queue, p.arrival(l.cookie))
	}
	l.sent += n
	if sent, acked := l.from.counts(l.ep); sent != l.sent || acked > l.seen {
		t.Fatalf("sent %d, acked %d; want %d, at most %d", sent, acked, l.sent, l.seen)
	}
}

func (e *env) modelPoll(t *rapid.T, n *node, lanes []*lane) {
	refuse := rapid.SliceOfN(rapid.Uint32Range(0, 40), 0, 5).Draw(t, "refuse")
	e.modelTake(t, n, lanes, rule{Budget: rapid.IntRange(1, 50).Draw(t, "budget"), Refuse: refuse})
}

func (e *env) modelWaiting(n *node, lanes []*lane) (packets int) {
	for _, l := range lanes {
		if l.to == n {
			packets += len(l.queue)
		}
	}
	return packets
}

func (e *env) modelDrain(t *rapid.T, n *node, lanes []*lane) {
	e.modelTake(t, n, lanes, rule{Packets: e.modelWaiting(n, lanes)})
}

// modelTake polls once and checks that what comes is at the head of its queue.
func (e *env) modelTake(t *rapid.T, n *node, lanes []*lane, r rule) {
	by := map[uint32]*lane{}
	for _, l := range lanes {
		if l.to == n {
			by[l.cookie] = l
		}
	}
	out := n.poll(r)
	for _, ev := range out.Events {
		l := by[ev.Cookie]
		if l == nil || len(l.queue) == 0 || !same(ev, l.queue[0]) || slices.Contains(r.Refuse, ev.Cookie) {
			t.Fatalf("%+v came, want the head of one of %v", ev, slices.Sorted(maps.Keys(by)))
		}
		l.queue = l.queue[1:]
		l.seen++
	}
	if r.Packets == 0 && out.N < r.Budget {
		for cookie, l := range by {
			if len(l.queue) > 0 && !slices.Contains(r.Refuse, cookie) {
				t.Fatalf("%d packets wait at %d, but poll returned %d of %d", len(l.queue), cookie, out.N, r.Budget)
			}
		}
	}
}
