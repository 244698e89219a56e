package unit

import (
	"testing"

	"outboard/tagmatch"
)

// A lockstep is two units run by one goroutine, with both locks held.
type lockstep struct {
	a, b    *rank
	send    Op
	recv    Op
	out, in []byte
}

var stepKey = tagmatch.Key{Ctx: 1, Source: 0, Tag: 3}

func newLockstep(t tester, w wire, n int) *lockstep {
	t.Helper()
	ranks := newRanks(t, w, 2, 0)
	exchange(t, ranks, 0, 1, 1, true)
	exchange(t, ranks, 1, 0, 1, true)
	for _, r := range ranks {
		r.nic.Lock()
		t.Cleanup(r.nic.Unlock) // before the NIC is closed
	}
	return &lockstep{a: ranks[0], b: ranks[1], out: make([]byte, n), in: make([]byte, n)}
}

// poll runs both until both operations are done.
func (l *lockstep) poll() {
	for l.send.Done.Load() == 0 || l.recv.Done.Load() == 0 {
		l.b.nic.Poll()
		l.a.nic.Poll()
	}
}

func (l *lockstep) expected() {
	_ = l.b.Recv(&l.recv, stepKey, l.in)
	l.a.Send(&l.send, 1, stepKey, l.out)
	l.poll()
}

func (l *lockstep) unexpected() {
	l.a.Send(&l.send, 1, stepKey, l.out)
	for range 2 {
		l.b.nic.Poll()
	}
	_ = l.b.Recv(&l.recv, stepKey, l.in)
	l.poll()
}

// try is expected by TrySend.
func (l *lockstep) try() {
	_ = l.b.Recv(&l.recv, stepKey, l.in)
	for !l.a.TrySend(1, stepKey, l.out) {
		l.a.nic.Poll()
		l.b.nic.Poll()
	}
	for l.recv.Done.Load() == 0 {
		l.b.nic.Poll()
	}
}

// crowded lets a number of messages wait for room, and for their receives.
func (l *lockstep) crowded(ops []Op) {
	for i := range ops {
		l.a.Send(&ops[i], 1, stepKey, l.out)
	}
	for i := range ops {
		for ops[i].Done.Load() == 0 {
			l.b.nic.Poll()
			l.a.nic.Poll()
		}
	}
	for range ops {
		for _, ok, _ := l.b.Probe(stepKey); !ok; _, ok, _ = l.b.Probe(stepKey) {
			l.b.nic.Poll()
		}
		_ = l.b.Recv(&l.recv, stepKey, l.in)
	}
}

// In steady state an eager message takes no memory, whichever way it goes.
func TestNoAllocation(t *testing.T) {
	for _, n := range []int{0, 8, 200, 1500} {
		for _, c := range []struct {
			name string
			step func(*lockstep)
		}{{"expected", (*lockstep).expected}, {"unexpected", (*lockstep).unexpected}, {"TrySend", (*lockstep).try}} {
			l := newLockstep(t, plain, n)
			for range 100 {
				c.step(l)
			}
			if got := testing.AllocsPerRun(200, func() { c.step(l) }); got != 0 {
				t.Errorf("%s of %d bytes: %v allocations", c.name, n, got)
			}
		}
	}
	l, ops := newLockstep(t, plain, 200), make([]Op, 100)
	for range 3 {
		l.crowded(ops)
	}
	if got := testing.AllocsPerRun(20, func() { l.crowded(ops) }); got != 0 {
		t.Errorf("%d messages that wait for room: %v allocations", len(ops), got)
	}
}

// What rendezvous allocates is the registration of the buffer, below the unit.
func TestRendezvousAllocatesNothingHere(t *testing.T) {
	l := newLockstep(t, plain, 4000)
	for range 100 {
		l.expected()
	}
	sends, queues, free := cap(l.a.sends.entries), cap(l.a.out.queues[1].items), cap(l.a.sends.free)
	for range 1000 {
		l.expected()
		l.unexpected()
	}
	if cap(l.a.sends.entries) != sends || cap(l.a.out.queues[1].items) != queues || cap(l.a.sends.free) != free {
		t.Errorf("%d sends, %d items, %d numbers: had %d, %d, %d", cap(l.a.sends.entries), cap(l.a.out.queues[1].items),
			cap(l.a.sends.free), sends, queues, free)
	}
}

func BenchmarkMessage(b *testing.B) {
	for _, c := range []struct {
		name string
		n    int
		step func(*lockstep)
	}{
		{"try/8", 8, (*lockstep).try},
		{"expected/8", 8, (*lockstep).expected},
		{"expected/1500", 1500, (*lockstep).expected},
		{"unexpected/8", 8, (*lockstep).unexpected},
		{"rendezvous/16384", 16384, (*lockstep).expected},
	} {
		b.Run(c.name, func(b *testing.B) {
			l := newLockstep(b, plain, c.n)
			b.ReportAllocs()
			for b.Loop() {
				c.step(l)
			}
		})
	}
}
