package nicrt

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"outboard/verbs/fabric"
)

// countingWire is a port that counts how often its NIC looks at it.
type countingWire struct {
	fabric.Port
	polls atomic.Int64
}

func (p *countingWire) Poll(rx fabric.Receiver, budget int) int {
	p.polls.Add(1)
	return p.Port.Poll(rx, budget)
}

// openCounting opens a NIC alone on a wire that counts.
func openCounting(t *testing.T, f testFabric) (*NIC, *countingWire) {
	t.Helper()
	port, err := f.open()(1)
	if err != nil {
		t.Fatal(err)
	}
	wire := &countingWire{Port: port}
	n, err := Open(Config{Port: wire, Peers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n, wire
}

// quiet waits until a NIC is polled at most a few times in 20 ms.
func (p *countingWire) quiet(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(testPatience); ; {
		before := p.polls.Load()
		time.Sleep(20 * time.Millisecond)
		n := p.polls.Load() - before
		if n <= 8 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d polls in 20 ms of a NIC that has nothing to do", n)
		}
	}
}

// onHostOrAlone runs a test with a goroutine asleep in a wait, and with nobody but the progress goroutine.
func onHostOrAlone(t *testing.T, test func(t *testing.T, n *NIC, wire *countingWire)) {
	overFabrics(t, func(t *testing.T, f testFabric) {
		t.Run("host waits", func(t *testing.T) {
			n, wire := openCounting(t, f)
			var wg sync.WaitGroup
			defer wg.Wait()
			var over atomic.Uint32
			wg.Go(func() {
				if err := n.Wait(nil, &over); err != nil {
					t.Error(err)
				}
			})
			defer locked(n, func() { n.rouse() })
			defer over.Store(1)
			test(t, n, wire)
		})
		t.Run("host computes", func(t *testing.T) {
			n, wire := openCounting(t, f)
			test(t, n, wire)
		})
	})
}

// TestIdleNICSleeps has an isolated program do its work: when it is done the NIC sleeps.
func TestIdleNICSleeps(t *testing.T) {
	onHostOrAlone(t, func(t *testing.T, n *NIC, wire *countingWire) {
		in := install(t, n, 9, Program{Name: "worker", Completion: func(t *Task) { t.Notify(1) }})
		wire.quiet(t)
		for range 3 {
			mustPost(t, n, 0, Header{Program: 9}, nil)
			for end := time.Now().Add(testPatience); in.Events().Len() == 0; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("no event, and nobody polls")
				}
			}
			in.Events().Poll()
			wire.quiet(t)
		}
		locked(n, func() {
			if n.workers.running != 0 {
				t.Errorf("%d handlers are said to run", n.workers.running)
			}
		})
	})
}

// TestBudgetOverrunWhileAsleep finds a handler that is stuck although nothing wakes the NIC.
func TestBudgetOverrunWhileAsleep(t *testing.T) {
	const budget = 60 * time.Millisecond
	onHostOrAlone(t, func(t *testing.T, n *NIC, wire *countingWire) {
		gate := make(chan struct{})
		in := install(t, n, 9, Program{Name: "stuck", Budget: budget, Memory: 64, Header: func(*Task) Verdict { <-gate; return Process }})
		mustPost(t, n, 0, Header{Program: 9}, nil)
		start := time.Now()
		wire.quiet(t) // while the handler is stuck
		for in.Err() == nil {
			if time.Since(start) > testPatience {
				t.Fatal("the overrun was never found")
			}
			time.Sleep(time.Millisecond)
		}
		var overrun *BudgetError
		if !errors.As(in.Err(), &overrun) || overrun.Took < budget {
			t.Errorf("fault %v, want a budget of %v overrun", in.Err(), budget)
		}
		wire.quiet(t) // with the handler still stuck
		in.Stop()
		close(gate)
		for end := time.Now().Add(testPatience); n.Account().MemoryUsed != 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d bytes of NIC memory in use after the handler returned", n.Account().MemoryUsed)
			}
		}
		wire.quiet(t)
	})
}
