package fabrictest

import (
	"sync"
	"time"
)

// slept runs Sleep and returns how long it took.
func (n *node) slept(d time.Duration) time.Duration {
	n.t.Helper()
	return time.Duration(n.must(command{Do: "sleep", For: d}).X)
}

func testSleepTimeout(e *env) {
	e.b.must(command{Do: "arm"})
	if d := e.b.slept(20 * time.Millisecond); d < 15*time.Millisecond {
		e.Fatalf("slept %v of 20 ms", d)
	}
}

func testRingBeforeSleep(e *env) {
	for _, do := range []string{"ring", "disarm"} {
		e.b.must(command{Do: "arm"})
		e.b.must(command{Do: do})
		e.b.slept(0) // would never return
	}
	epA, _ := e.join()
	e.b.must(command{Do: "arm"})
	e.a.sendAll(epA, packet{})
	e.b.slept(0)
	e.b.receive(2, packet{})
	e.b.slept(0) // the ring has disarmed
}

func testRingWakesAll(e *env) {
	e.b.must(command{Do: "arm"})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { e.b.slept(0) })
	}
	time.Sleep(10 * time.Millisecond)
	e.b.must(command{Do: "ring"})
	wg.Wait()
	// Who sleeps through a Disarm is woken by the next ring.
	epA, _ := e.join()
	e.b.must(command{Do: "arm"})
	wg.Go(func() { e.b.slept(0) })
	time.Sleep(10 * time.Millisecond)
	e.b.must(command{Do: "disarm"})
	e.b.must(command{Do: "arm"})
	e.a.sendAll(epA, packet{})
	wg.Wait()
}

// bounce plays ping-pong with the peer, sleeping whenever there is nothing to do. No sleep has a limit:
// a lost wake-up hangs.
func (n *node) bounce(ep, rounds int, serve bool) error {
	_, err := n.try(command{Do: "bounce", EP: ep, N: rounds, X: map[bool]uint64{true: 1}[serve]})
	return err
}

func testNoLostWakeUp(e *env) {
	epA, epB := e.join()
	errs := make(chan error, 2)
	const rounds = 3000
	go func() { errs <- e.a.bounce(epA, rounds, true) }()
	go func() { errs <- e.b.bounce(epB, rounds, false) }()
	for range 2 {
		select {
		case err := <-errs:
			if err != nil {
				e.Fatal(err)
			}
		case <-time.After(30 * time.Second):
			e.Fatal("a wake-up was lost")
		}
	}
}

func testCreditWakes(e *env) {
	epA, _ := e.join()
	ps := numbered(600, 37, 1500)
	done := make(chan error, 1)
	go func() {
		_, err := e.a.try(command{Do: "flood", EP: epA, Packets: ps, For: -1})
		done <- err
	}()
	time.Sleep(20 * time.Millisecond)
	e.b.receive(2, ps...)
	if err := <-done; err != nil {
		e.Fatal(err)
	}
}

func testCloseWakes(e *env) {
	e.b.must(command{Do: "arm"})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { e.b.slept(0) })
	}
	time.Sleep(10 * time.Millisecond)
	e.b.closePort()
	wg.Wait()
	e.b.must(command{Do: "arm"})
	e.b.slept(0)

	// A peer that sleeps hears of the end.
	a, b := e.make("a", Options{}), e.make("b", Options{})
	epA, epB := a.open(anyEP, 1), b.open(anyEP, 2)
	a.connect(epA, b, epB)
	b.connect(epB, a, epA)
	a.must(command{Do: "arm"})
	wg.Go(func() { a.slept(0) })
	time.Sleep(10 * time.Millisecond)
	b.closePort()
	wg.Wait()
}
