package faulty_test

import (
	"testing"
	"time"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/faulty"
	"outboard/verbs/fabric/inproc"
)

// What is due stays held while there is no room, and nobody is kept awake by it.
func TestHeldWhileFull(t *testing.T) {
	for name, tt := range map[string]struct {
		inject faulty.Injector
		want   []uint32
	}{
		"delay":     {faulty.OnIndex(0, faulty.Delay.By(ms)), []uint32{0}},
		"reorder":   {faulty.OnIndex(7, faulty.Reorder), []uint32{7}},
		"duplicate": {faulty.OnIndex(7, faulty.Duplicate), []uint32{7}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 1, faulty.Options{Inject: tt.inject, DelayBy: ms}, inproc.Options{Slots: 8})
			for id := range uint32(9) {
				if !r.try(0, id) && id < 8 {
					t.Fatalf("packet %d was not taken", id)
				}
			}
			r.clock.advance(2 * ms)
			r.port.Poll(&r.back, 1)
			if held := r.port.Stats().Held; held != 1 {
				t.Fatalf("%d packets held, want 1", held)
			}
			ticket, start := r.port.Arm(), time.Now()
			r.port.Poll(&r.back, 1)
			r.port.Sleep(ticket, 20*ms)
			if d := time.Since(start); d < 15*ms {
				t.Errorf("slept %v of 20 ms", d)
			}
			for r.far.Poll(&r.in, 16) > 0 {
			}
			r.in.got = nil
			r.want(tt.want...)
			r.want()
		})
	}
}

// Who sleeps because there is no room is woken when there is.
func TestRoomWakes(t *testing.T) {
	r := newRig(t, 1, faulty.Options{Inject: faulty.OnIndex(0, faulty.Delay.By(ms))}, inproc.Options{Slots: 8})
	r.send(0, 1, 2, 3, 4, 5, 6, 7, 8)
	r.clock.advance(ms)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for r.port.Stats().Held > 0 {
			ticket := r.port.Arm()
			r.port.Poll(&r.back, 1)
			if r.port.Stats().Held > 0 {
				r.port.Sleep(ticket, 0)
			}
		}
	}()
	time.Sleep(5 * ms)
	for r.far.Poll(&r.in, 16) > 0 {
	}
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("not woken")
	}
	r.in.got = nil
	r.want(0)
}

func TestHeldBound(t *testing.T) {
	r := newRig(t, 2, faulty.Options{Inject: faulty.Every(1, faulty.Delay.By(ms))}, inproc.Options{})
	for id := range uint32(66) {
		r.send(id)
	}
	r.want(64, 65)
	if !r.try(1, 100) {
		t.Fatal("not taken")
	}
	r.want()
	r.wantStats(faulty.Stats{Sent: 67, Delayed: 65, Held: 65})
	r.clock.advance(ms)
	if n := len(r.receive()) + len(r.receive()); n != 65 { // the ring is for 64
		t.Fatalf("%d packets came, want 65", n)
	}
}

// Nobody needs to send again or to know when: who sleeps and polls gets all out in time.
func TestSleepIsShortened(t *testing.T) {
	const late = 20 * ms
	for name, inject := range map[string]faulty.Injector{
		"delay":   faulty.OnIndex(0, faulty.Delay.By(late)),
		"reorder": faulty.OnIndex(0, faulty.Reorder.By(late)),
		"copy":    faulty.OnIndex(0, faulty.Duplicate.By(late)),
	} {
		for limit, d := range map[string]time.Duration{"no limit": 0, "long": time.Hour} {
			t.Run(name+"/"+limit, func(t *testing.T) {
				r := newRig(t, 1, faulty.Options{Inject: inject, Clock: time.Now}, inproc.Options{})
				start := time.Now()
				r.send(0)
				for r.port.Stats().Held > 0 {
					ticket := r.port.Arm()
					r.port.Poll(&r.back, 1)
					if r.port.Stats().Held > 0 {
						r.port.Sleep(ticket, d)
					}
				}
				if took := time.Since(start); took < late || took > 50*late {
					t.Errorf("out after %v, want %v", took, late)
				}
			})
		}
	}
	t.Run("not prolonged", func(t *testing.T) {
		r := newRig(t, 1, faulty.Options{Inject: faulty.OnIndex(0, faulty.Delay.By(time.Hour))}, inproc.Options{})
		r.send(0)
		start := time.Now()
		r.port.Sleep(r.port.Arm(), 5*ms)
		if took := time.Since(start); took < 4*ms || took > 5*time.Second {
			t.Errorf("slept %v of 5 ms", took)
		}
	})
}

// sleep arms the port, sleeps for d, and checks that this took long or not.
func (r *rig) sleep(d time.Duration, long bool) {
	r.t.Helper()
	const limit = 10 * time.Second // of a sleep that should have ended at once
	timer := time.AfterFunc(limit, r.port.Ring)
	defer timer.Stop()
	ticket, start := r.port.Arm(), time.Now()
	r.port.Sleep(ticket, d)
	if took := time.Since(start); long != (took >= d*3/4 && d > 0) || took >= limit {
		r.t.Errorf("slept %v of %v", took, d)
	}
}

func TestSleepOverdue(t *testing.T) {
	r := newRig(t, 1, faulty.Options{
		Inject: faulty.Any(faulty.OnIndex(0, faulty.Delay.By(ms)), faulty.OnIndex(1, faulty.Delay.By(2*ms))),
	}, inproc.Options{Slots: 8})
	r.sleep(20*ms, true)
	r.send(0, 1)
	r.clock.advance(ms)
	r.sleep(0, false)
	r.sleep(time.Hour, false)
	// Once there was no room and now there is: the next one is waited for again.
	r.send(2, 3, 4, 5, 6, 7, 8, 9)
	r.port.Poll(&r.back, 1)
	r.sleep(20*ms, true)
	r.take()
	r.port.Poll(&r.back, 1)
	r.wantStats(faulty.Stats{Sent: 10, Delayed: 2, Held: 1})
	r.sleep(time.Hour, false)
}

// A packet that is held rings for those who sleep, and for nobody else.
func TestHoldRingsNobodyAwake(t *testing.T) {
	r := newRig(t, 1, faulty.Options{Inject: faulty.OnIndex(0, faulty.Delay.By(time.Hour))}, inproc.Options{})
	r.sleep(ms, true)
	ticket, start := r.port.Arm(), time.Now()
	r.send(0)
	r.port.Sleep(ticket, 20*ms)
	if took := time.Since(start); took < 15*ms {
		t.Errorf("slept %v of 20 ms", took)
	}
}

// Who is already asleep when a packet is held gets up to be in time for it.
func TestHoldWakesSleeper(t *testing.T) {
	r := newRig(t, 1, faulty.Options{Inject: faulty.OnIndex(0, faulty.Delay.By(5*ms)), Clock: time.Now}, inproc.Options{})
	done := make(chan struct{})
	ticket := r.port.Arm()
	go func() {
		defer close(done)
		r.port.Sleep(ticket, 0)
		r.port.Sleep(r.port.Arm(), 0)
	}()
	time.Sleep(10 * ms)
	r.send(0)
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("slept on")
	}
	r.want(0)
}

func TestCloseLosesHeld(t *testing.T) {
	r := newRig(t, 2, faulty.Options{Inject: faulty.Every(1, faulty.Delay.By(ms))}, inproc.Options{})
	r.send(0, 1)
	if !r.try(1, 2) {
		t.Fatal("not taken")
	}
	r.conns[0].Close()
	r.wantStats(faulty.Stats{Sent: 3, Delayed: 3, Dropped: 2, Held: 1})
	r.clock.advance(ms)
	r.want(2)
	r.try(1, 3)
	r.port.Close()
	r.clock.advance(ms)
	r.want()
	r.wantStats(faulty.Stats{Sent: 4, Delayed: 4, Dropped: 3})
	r.port.Sleep(r.port.Arm(), 0) // returns, for the port is closed
}

func TestPassingAllocatesNothing(t *testing.T) {
	r := newRig(t, 1, faulty.Options{
		Inject: faulty.Any(faulty.OnIndex(1<<60, faulty.Drop), faulty.ForEndpoint(7, faulty.Every(1, faulty.Drop))),
		Drop:   1e-18, Corrupt: 1e-18, CutAfter: 1 << 60,
		Only: func(h *fabric.Header, p []byte) bool { return h.Op == 1 && len(p) > 0 },
	}, inproc.Options{})
	var n counter
	h := &fabric.Header{Op: 1}
	a, b := make([]byte, 16), make([]byte, 2000)
	pass := func() {
		if !r.conns[0].Send(h, a, b) || r.far.Poll(&n, 1) != 1 || r.port.Poll(&n, 1) != 0 {
			t.Fatal("a packet was lost")
		}
	}
	pass()
	if allocs := testing.AllocsPerRun(200, pass); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	if n != 202 {
		t.Errorf("%d packets came, want 202", n)
	}
}

// Held packets reuse the memory of earlier ones.
func TestHoldingAllocatesNothing(t *testing.T) {
	r := newRig(t, 1, faulty.Options{Corrupt: 0.3, Delay: 0.5, Reorder: 1}, inproc.Options{})
	var n counter
	h, b := &fabric.Header{}, make([]byte, 500)
	round := func() {
		for range 20 {
			r.conns[0].Send(h, b, b)
		}
		r.clock.advance(ms)
		for r.port.Poll(&n, 1); r.far.Poll(&n, 16) > 0; {
		}
	}
	round()
	if allocs := testing.AllocsPerRun(100, round); allocs > 0.5 {
		t.Errorf("%v allocations", allocs)
	}
	if n != 102*20 {
		t.Errorf("%d packets came, want %d", n, 102*20)
	}
}

// A counter is a Receiver that counts.
type counter int

func (c *counter) Packet(uint32, *fabric.Header, []byte) bool { *c++; return true }
func (c *counter) Knock(int)                                  {}
func (c *counter) Down(uint32, error)                         {}
