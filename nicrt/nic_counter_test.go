package nicrt

import (
	"errors"
	"sync"
	"testing"
	"time"
)

// counting is a resident program that counts each message on the counter that its tag names.
func counting() Program {
	return Program{Name: "counting", Resident: true, Header: func(t *Task) Verdict {
		t.Count(uint32(t.Header().Tag), 1)
		return Process
	}}
}

// TestTriggeredRing passes a token around a ring of NICs by triggered operations alone: each arrival is counted,
// the counter sends the token on and resets itself. Armed once, it goes around many times.
func TestTriggeredRing(t *testing.T) {
	overFabrics(t, func(t *testing.T, f testFabric) {
		const n, rounds = 3, 500
		nics := openMesh(t, f, n)
		var arrived, laps [n]Counter
		for i, nic := range nics {
			install(t, nic, 9, counting())
			locked(nic, func() {
				arrived[i], laps[i] = mustAlloc(t, nic), mustAlloc(t, nic)
				if arrived[i] != arrived[0] {
					t.Fatalf("counter %d on NIC %d, %d on NIC 0", arrived[i], i, arrived[0])
				}
				arm := func(op Triggered) {
					op.Counter, op.Threshold, op.Persistent = arrived[i], 1, true
					if err := nic.Arm(op); err != nil {
						t.Fatal(err)
					}
				}
				arm(Triggered{Kind: TriggerIncrement, Target: arrived[i], Value: Negative(1)})
				arm(Triggered{Kind: TriggerIncrement, Target: laps[i], Value: CounterValue{Success: 1}})
				if i > 0 {
					arm(Triggered{Kind: TriggerSend, Peer: (i + 1) % n, Header: Header{Program: 9, Tag: uint64(arrived[0])}})
				}
			})
		}
		// NIC 0 sends the token on for a number of rounds: one operation for each, at its own threshold.
		locked(nics[0], func() {
			for lap := range uint64(rounds - 1) {
				if err := nics[0].Arm(Triggered{Kind: TriggerSend, Counter: laps[0], Threshold: lap + 1, Peer: 1,
					Header: Header{Program: 9, Tag: uint64(arrived[0])}}); err != nil {
					t.Fatal(err)
				}
			}
		})
		var wg sync.WaitGroup
		for i, nic := range nics {
			var done Completion
			locked(nic, func() {
				if err := nic.AwaitCounter(laps[i], rounds, &done); err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() {
				if err := ends(t, nic, &done); err != nil {
					t.Error(err)
				}
			})
		}
		mustPost(t, nics[0], 1, Header{Program: 9, Tag: uint64(arrived[0])}, nil)
		wg.Wait()
		for i, nic := range nics {
			locked(nic, func() {
				if v, err := nic.ReadCounter(laps[i]); err != nil || v != (CounterValue{Success: rounds}) {
					t.Errorf("NIC %d counted %+v, %v", i, v, err)
				}
			})
		}
	})
}

func mustAlloc(t testing.TB, n *NIC) Counter {
	t.Helper()
	c, err := n.AllocCounter()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCounterArguments gives each call a counter, peer or payload that is not there.
func TestCounterArguments(t *testing.T) {
	n := openMesh(t, testFabrics[0], 2)[0]
	n.Lock()
	defer n.Unlock()
	c, freed := mustAlloc(t, n), mustAlloc(t, n)
	if err := n.FreeCounter(freed); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []Counter{0, freed, freed + 1, 1<<32 - 1} {
		_, errRead := n.ReadCounter(bad)
		_, errCancel := n.CancelTriggered(bad)
		for name, err := range map[string]error{
			"FreeCounter":  n.FreeCounter(bad),
			"ReadCounter":  errRead,
			"SetCounter":   n.SetCounter(bad, CounterValue{}),
			"Increment":    n.Increment(bad, CounterValue{}),
			"Cancel":       errCancel,
			"AwaitCounter": n.AwaitCounter(bad, 1, new(Completion)),
			"Arm":          n.Arm(Triggered{Counter: bad, Kind: TriggerIncrement, Target: c}),
			"Arm target":   n.Arm(Triggered{Counter: c, Kind: TriggerIncrement, Target: bad}),
		} {
			if e := new(CounterError); !errors.As(err, &e) || e.Counter != bad || !errors.Is(err, ErrCounter) {
				t.Errorf("%s of counter %d: %v", name, bad, err)
			}
		}
	}
	for name, op := range map[string]Triggered{
		"no peer 2":        {Kind: TriggerSend, Peer: 2},
		"no peer -1":       {Kind: TriggerSend, Peer: -1},
		"payload too long": {Kind: TriggerSend, Peer: 1, Payload: make([]byte, n.EagerMax()+1)},
		"no kind":          {},
		"no call":          {Kind: TriggerCall},
		"lengths":          {Kind: TriggerReduce, Dst: make([]byte, 8), Src: make([]byte, 9)},
	} {
		op.Counter = c
		if err := n.Arm(op); !errors.Is(err, ErrCounter) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestHandlerCountsNothing stops a program that names a counter that is not there, and nothing else.
func TestHandlerCountsNothing(t *testing.T) {
	n := openMesh(t, testFabrics[0], 1)[0]
	var c Counter
	locked(n, func() { c = mustAlloc(t, n) })
	bad, good := install(t, n, 9, counting()), install(t, n, 10, counting())
	mustPost(t, n, 0, Header{Program: 9, Tag: uint64(c) + 1}, nil)
	mustPost(t, n, 0, Header{Program: 10, Tag: uint64(c)}, nil)
	var done Completion
	locked(n, func() {
		if err := n.AwaitCounter(c, 1, &done); err != nil {
			t.Fatal(err)
		}
	})
	if err := ends(t, n, &done); err != nil {
		t.Error(err)
	}
	if e := new(CommandError); !errors.As(bad.Err(), &e) || !errors.Is(bad.Err(), ErrCounter) || good.Err() != nil {
		t.Errorf("faults %v and %v", bad.Err(), good.Err())
	}
}

// TestTriggeredSendToLostPeer counts what cannot be sent as a failure.
func TestTriggeredSendToLostPeer(t *testing.T) {
	overFabrics(t, func(t *testing.T, f testFabric) {
		nics := openMesh(t, f, 2)
		n := nics[0]
		install(t, nics[1], 9, counting())
		var go1, then Counter
		var ok, failed Completion
		locked(nics[1], func() { mustAlloc(t, nics[1]) })
		locked(n, func() {
			go1, then = mustAlloc(t, n), mustAlloc(t, n)
			if err := n.Arm(Triggered{Kind: TriggerSend, Counter: go1, Threshold: 1, Persistent: true, Then: then, Peer: 1,
				Header: Header{Program: 9, Tag: 1}}); err != nil {
				t.Fatal(err)
			}
			if err := n.Increment(go1, CounterValue{Success: 1}); err != nil {
				t.Fatal(err)
			}
			if err := n.AwaitCounter(then, 1, &ok); err != nil {
				t.Fatal(err)
			}
			if err := n.AwaitCounter(then, 2, &failed); err != nil {
				t.Fatal(err)
			}
		})
		if err := ends(t, n, &ok); err != nil {
			t.Fatal(err)
		}
		nics[1].Close()
		runUntil(t, nics[:1], "the loss of the peer", func() bool {
			n.Lock()
			defer n.Unlock()
			return n.PeerErr(1) != nil
		})
		locked(n, func() {
			for _, v := range []CounterValue{Negative(1), {Success: 1}} {
				if err := n.Increment(go1, v); err != nil {
					t.Fatal(err)
				}
			}
		})
		var f1 *CountedFailure
		if err := ends(t, n, &failed); !errors.As(err, &f1) || f1.Value != (CounterValue{Success: 1, Failure: 1}) {
			t.Errorf("the wait ended with %v, want one success and one failure", err)
		}
		if a := n.Account(); a.FailedTriggered != 1 || a.Triggered != 2 {
			t.Errorf("account: %d triggered, %d failed", a.Triggered, a.FailedTriggered)
		}
	})
}

// TestEndlessChainOnNIC has a counter release itself for ever: the NIC works on, polled by a host or not,
// until the chain is cancelled.
func TestEndlessChainOnNIC(t *testing.T) {
	overFabrics(t, func(t *testing.T, f testFabric) {
		nics := openMesh(t, f, 2)
		n := nics[0]
		in := install(t, n, 9, Program{Name: "bystander", Resident: true, Header: func(t *Task) Verdict { t.Notify(1); return Process }})
		var c Counter
		increments := func() uint64 { return n.Account().Increments }
		locked(n, func() {
			c = mustAlloc(t, n)
			up := Triggered{Counter: c, Threshold: 1, Persistent: true, Kind: TriggerIncrement, Target: c, Value: CounterValue{Success: 1}}
			down := up
			down.Value = Negative(1)
			for _, op := range []Triggered{down, up} {
				if err := n.Arm(op); err != nil {
					t.Fatal(err)
				}
			}
			if err := n.Increment(c, CounterValue{Success: 1}); err != nil {
				t.Fatal(err)
			}
		})
		for before, k := increments(), 0; k < 3; k++ { // nobody polls: the progress goroutine does
			for end := time.Now().Add(testPatience); increments() == before; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("the chain stands still")
				}
			}
		}
		mustPost(t, nics[1], 0, Header{Program: 9}, nil)
		event(t, n, in)
		locked(n, func() {
			if k, err := n.CancelTriggered(c); k != 2 || err != nil {
				t.Errorf("%d operations cancelled, %v", k, err)
			}
		})
		last := increments()
		for end := time.Now().Add(testPatience); ; {
			time.Sleep(2 * time.Millisecond)
			now := increments()
			if now == last {
				break
			}
			if last = now; time.Now().After(end) {
				t.Fatal("the chain goes on although it was cancelled")
			}
		}
	})
}

// TestFreedCounterEndsWaits covers a wait whose counter goes, and one whose NIC goes.
func TestFreedCounterEndsWaits(t *testing.T) {
	n := openMesh(t, testFabrics[0], 1)[0]
	var freed, left Completion
	locked(n, func() {
		c, d := mustAlloc(t, n), mustAlloc(t, n)
		if err := errors.Join(n.AwaitCounter(c, 1, &freed), n.AwaitCounter(d, 1, &left), n.FreeCounter(c)); err != nil {
			t.Fatal(err)
		}
	})
	if err := freed.Err(); !errors.Is(err, ErrCounter) {
		t.Errorf("wait for a freed counter: %v", err)
	}
	n.Close()
	if err := left.Err(); !errors.Is(err, ErrClosed) {
		t.Errorf("wait on a closed NIC: %v", err)
	}
}
