package fabrictest

import (
	"sync"
	"time"

	"outboard/verbs/fabric"
)

func testDownOnConnClose(e *env) {
	epA, epB := e.join()
	ps := numbered(10, 40, 300)
	e.a.sendAll(epA, ps...)
	e.a.closeConn(epA)
	r := e.b.poll(rule{Packets: len(ps), Events: 1})
	e.b.compare(r.Events[:len(ps)], 2, ps)
	e.b.compareDown(r.Events[len(ps):], 2, fabric.ErrPeerClosed)
	e.b.quiet()
	if n := e.b.send(epB, packet{}); n != 0 {
		e.Fatal("sent on a Conn that is down")
	}
	e.b.closeConn(epB)
	e.b.quiet()
}

func testDownOnPortClose(e *env) {
	const n = 24 // more than are scanned
	epsA, epsB := e.many(n)
	ps := numbered(4, 40, 300)
	for _, ep := range epsA {
		e.a.sendAll(ep, ps...)
	}
	e.a.closePort()
	r := e.b.poll(rule{Packets: n * len(ps), Events: n})
	left, downs := map[uint32]int{}, map[uint32]int{}
	for _, ev := range r.Events {
		switch {
		case ev.Kind == "packet" && downs[ev.Cookie] == 0:
			left[ev.Cookie]++
		case ev.Kind == "down" && left[ev.Cookie] == len(ps) && ev.Err.Is(fabric.ErrPeerClosed):
			downs[ev.Cookie]++
		default:
			e.Fatalf("event %+v after %d packets and %d downs", ev, left[ev.Cookie], downs[ev.Cookie])
		}
	}
	for cookie := range uint32(n) {
		if downs[cookie] != 1 {
			e.Fatalf("%d downs of %d", downs[cookie], cookie)
		}
	}
	e.b.quiet()
	if n := e.b.send(epsB[0], packet{}); n != 0 {
		e.Fatal("sent on a Conn that is down")
	}
}

// A peer that never connected back goes away: its port, or its endpoint only.
func testDownHalfConnected(e *env) {
	for _, whole := range []bool{false, true} {
		epA := e.a.open(anyEP, 1)
		epB := e.b.open(anyEP, 2)
		e.a.connect(epA, e.b, epB)
		e.a.sendAll(epA, packet{})
		e.b.receive(2, packet{})
		if whole {
			e.b.closePort()
		} else {
			e.b.closeConn(epB)
		}
		e.a.wantDown(1, fabric.ErrPeerClosed)
		e.a.quiet()
		e.a.closeConn(epA)
	}
}

func testDownAfterRefused(e *env) {
	epA, _ := e.join()
	e.a.sendAll(epA, packet{Seed: 1, Len: 50})
	e.a.closeConn(epA)
	for range 5 {
		if r := e.b.poll(rule{Refuse: []uint32{2}}); len(r.Events) > 0 {
			e.Fatalf("%+v came before the packet was taken", r.Events[0])
		}
	}
	r := e.b.poll(rule{Packets: 1, Events: 1})
	e.b.compare(r.Events[:1], 2, []packet{{Seed: 1, Len: 50}})
	e.b.compareDown(r.Events[1:], 2, fabric.ErrPeerClosed)
}

func testDoubleClose(e *env) {
	epA, epB := e.join()
	e.a.closeConn(epA)
	e.a.closeConn(epA)
	e.b.wantDown(2, fabric.ErrPeerClosed)
	e.b.closeConn(epB)
	e.b.closeConn(epB)
	e.a.closePort()
	e.a.closePort()
}

func testAfterClose(e *env) {
	epA, _ := e.join()
	shut := e.a.open(anyEP, 3)
	e.a.closeConn(shut)
	e.a.wantErr(fabric.ErrClosed, command{Do: "connect", EP: shut, Addr: e.b.addr, PeerEP: 1})
	if n := e.a.send(shut, packet{}); n != 0 {
		e.Fatal("sent on a closed Conn")
	}
	e.a.closePort()
	e.a.wantErr(fabric.ErrClosed, command{Do: "open", EP: anyEP})
	e.a.wantErr(fabric.ErrClosed, command{Do: "connect", EP: epA, Addr: e.b.addr, PeerEP: 1})
	e.a.wantErr(fabric.ErrClosed, command{Do: "alloc", N: 100})
	e.a.wantErr(fabric.ErrClosed, command{Do: "withdraw", Region: fabric.Region{Key: 256}})
	if n := e.a.send(epA, packet{}); n != 0 {
		e.Fatal("sent on a closed port")
	}
	e.a.quiet()
	e.a.counts(epA)
	e.a.must(command{Do: "grant", EP: epA})
	e.a.must(command{Do: "peergrant", EP: epA})
	for _, do := range []string{"arm", "sleep", "ring"} {
		e.a.must(command{Do: do})
	}
	e.a.closeConn(epA)
}

func testReuse(e *env) {
	ps := numbered(3, 40, 300)
	for i := range 50 {
		first := e.a
		if i%2 == 1 {
			first = e.b
		}
		epA, epB := e.a.open(3, 1), e.b.open(4, 2)
		e.a.connect(epA, e.b, epB)
		e.b.connect(epB, e.a, epA)
		e.a.sendAll(epA, ps...)
		e.b.sendAll(epB, ps...)
		e.a.receive(1, ps...)
		if i%3 > 0 { // else b's packets stay unread
			e.b.receive(2, ps...)
		}
		if first == e.a {
			e.a.closeConn(epA)
			e.b.closeConn(epB)
		} else {
			e.b.closeConn(epB)
			e.a.closeConn(epA)
		}
	}
}

// An endpoint whose peer has not yet heard that it was closed can't be opened again, and
// can once the peer has.
func testReuseLate(e *env) {
	epA := e.a.open(3, 1)
	e.b.open(4, 2)
	e.a.connect(epA, e.b, 4)
	e.b.connect(4, e.a, epA)
	e.a.sendAll(epA, packet{})
	e.b.closeConn(4)
	e.b.wantErr(fabric.ErrInUse, command{Do: "open", EP: 4})
	e.a.wantDown(1, fabric.ErrPeerClosed)
	e.b.open(4, 3)
	e.a.closeConn(epA)
	epA = e.a.open(3, 1)
	e.a.connect(epA, e.b, 4)
	e.a.sendAll(epA, packet{Len: 5})
	e.b.receive(3, packet{Len: 5})
}

func testLoopback(e *env) {
	ep := e.a.open(anyEP, 1)
	e.a.connect(ep, e.a, ep)
	ps := numbered(10, 40, 300)
	e.a.sendAll(ep, ps...)
	e.a.receive(1, ps...)
	e.a.closeConn(ep)
	e.a.quiet()
	one, two := e.a.open(anyEP, 1), e.a.open(anyEP, 2)
	e.a.connect(one, e.a, two)
	e.a.connect(two, e.a, one)
	e.a.sendAll(one, ps...)
	e.a.receive(2, ps...)
	e.a.closeConn(one)
	e.a.wantDown(2, fabric.ErrPeerClosed)
}

func testGrant(e *env) {
	epA, epB := e.a.open(anyEP, 1), e.b.open(anyEP, 2)
	check := func(want fabric.Grant) {
		e.Helper()
		if got := e.a.must(command{Do: "peergrant", EP: epA}).Grant; got != want {
			e.Fatalf("grant %+v, want %+v", got, want)
		}
	}
	check(fabric.Grant{})
	early := fabric.Grant{PD: 1<<32 - 1, Access: 1<<32 - 1}
	e.b.must(command{Do: "grant", EP: epB, Grant: early})
	e.a.connect(epA, e.b, epB)
	check(early)
	for i := range uint32(50) {
		g := fabric.Grant{Ready: i%2 == 0, PD: i << 20, Access: i * 77}
		e.b.must(command{Do: "grant", EP: epB, Grant: g})
		check(g)
	}
	e.b.must(command{Do: "grant", EP: epB, Grant: fabric.Grant{Ready: true}})
	e.b.closeConn(epB)
	check(fabric.Grant{})
	e.a.wantDown(1, fabric.ErrPeerClosed)
	check(fabric.Grant{})
}

// Close while another goroutine polls and sends must not disturb it.
func testCloseBesidePoll(e *env) {
	for range 10 {
		a, b := e.make("a", Options{}), e.make("b", Options{})
		epA, epB := a.open(anyEP, 1), b.open(anyEP, 2)
		a.connect(epA, b, epB)
		b.connect(epB, a, epA)
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for _, side := range []struct {
			n  *node
			ep int
		}{{a, epA}, {b, epB}} {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					side.n.send(side.ep, numbered(20, 100, 2000)...)
					side.n.poll(rule{})
				}
			})
		}
		time.Sleep(time.Millisecond)
		a.closePort()
		b.closePort()
		close(stop)
		wg.Wait()
	}
}

// A peer that never leaves a region delays Close, but not for ever, and can do no harm afterwards.
func testCloseBesideHolder(e *env) {
	ep, _ := e.joinDirect()
	for _, plain := range []bool{false, true} {
		_, g := e.expose(0x100, 4096, plain)
		if _, ok := e.enter(ep, g.Key); !ok {
			e.Fatal("enter: no")
		}
		if plain {
			break
		}
		e.leave(ep)
		e.b.must(command{Do: "withdraw", Region: g})
	}
	e.b.closePort()
	e.wantDownWhileHolding(ep)
}

func (e *env) wantDownWhileHolding(ep int) {
	e.Helper()
	e.a.wantDown(1, fabric.ErrPeerClosed)
	e.leave(ep)
	if _, ok := e.enter(ep, 0x100); ok {
		e.Fatal("entered a region of a closed port")
	}
}
