package fabrictest

import (
	"sync"
	"time"
)

// arm runs Arm and returns its ticket, slept runs Sleep and returns how long it took.
func (n *node) arm() uint64 {
	n.t.Helper()
	return n.must(command{Do: "arm"}).X
}

func (n *node) slept(ticket uint64, d time.Duration) time.Duration {
	n.t.Helper()
	return time.Duration(n.must(command{Do: "sleep", X: ticket, For: d}).X)
}

func testSleepTimeout(e *env) {
	if d := e.b.slept(e.b.arm(), 20*time.Millisecond); d < 15*time.Millisecond {
		e.Fatalf("slept %v of 20 ms", d)
	}
}

func testRingBeforeSleep(e *env) {
	ticket := e.b.arm()
	e.b.must(command{Do: "ring"})
	e.b.slept(ticket, 0) // would never return
	epA, _ := e.join()
	ticket = e.b.arm()
	e.a.sendAll(epA, packet{})
	e.b.slept(ticket, 0)
	e.b.receive(2, packet{})
	e.b.slept(ticket, 0)
	// The ticket of who was rung is void, although another has armed the port since.
	e.b.arm()
	e.b.slept(ticket, 0)
}

func testRingWakesAll(e *env) {
	var wg sync.WaitGroup
	for range 3 {
		ticket := e.b.arm()
		wg.Go(func() { e.b.slept(ticket, 0) })
	}
	time.Sleep(10 * time.Millisecond)
	e.b.must(command{Do: "ring"})
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
	var wg sync.WaitGroup
	for range 2 {
		ticket := e.b.arm()
		wg.Go(func() { e.b.slept(ticket, 0) })
	}
	time.Sleep(10 * time.Millisecond)
	e.b.closePort()
	wg.Wait()
	e.b.slept(e.b.arm(), 0)

	// A peer that sleeps hears of the end.
	a, b := e.make("a", Options{}), e.make("b", Options{})
	epA, epB := a.open(anyEP, 1), b.open(anyEP, 2)
	a.connect(epA, b, epB)
	b.connect(epB, a, epA)
	ticket := a.arm()
	wg.Go(func() { a.slept(ticket, 0) })
	time.Sleep(10 * time.Millisecond)
	b.closePort()
	wg.Wait()
}
