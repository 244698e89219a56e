package fabrictest

import (
	"maps"
	"math/rand/v2"
	"slices"

	"outboard/verbs/fabric"
)

func testKnock(e *env) {
	epA := e.a.open(anyEP, 1)
	e.a.connect(epA, e.b, 5)
	ps := numbered(4, 60, 400)
	e.a.sendAll(epA, ps...)
	r := e.b.poll(rule{Events: 1})
	if r.Events[0].Kind != "knock" || r.Events[0].EP != 5 {
		e.Fatalf("events %+v, want a knock at 5", r.Events)
	}
	e.b.open(5, 7)
	e.b.receive(7, ps...)
	e.b.connect(5, e.a, epA)
	e.b.sendAll(5, ps...)
	e.a.receive(1, ps...)
	e.b.quiet()
}

func testKnockAccept(e *env) {
	ps := numbered(4, 60, 400)
	for ep := range 40 { // from scanning into telling
		epA := e.a.open(anyEP, 1)
		e.a.connect(epA, e.b, ep)
		e.a.sendAll(epA, ps...)
		r := e.b.poll(rule{Accept: true, Packets: len(ps), Events: 1})
		if r.Events[0].Kind != "knock" || r.Events[0].EP != ep {
			e.Fatalf("events %+v, want a knock at %d", r.Events, ep)
		}
		e.b.compare(r.Events[1:], 1000+uint32(ep), ps)
	}
}

func testEarly(e *env) {
	epA := e.a.open(3, 1)
	e.a.connect(epA, e.b, 4)
	ps := numbered(4, 60, 400)
	e.a.sendAll(epA, ps...)
	epB := e.b.open(4, 2)
	e.b.connect(epB, e.a, epA)
	e.b.sendAll(epB, ps...)
	e.b.receive(2, ps...)
	e.a.receive(1, ps...)
}

func testEarlyClose(e *env) {
	epA := e.a.open(anyEP, 1)
	e.a.connect(epA, e.b, 4)
	ps := numbered(4, 60, 400)
	e.a.sendAll(epA, ps...)
	e.a.closeConn(epA)
	e.b.open(4, 2)
	r := e.b.poll(rule{Packets: len(ps), Events: 1})
	e.b.compare(r.Events[:len(ps)], 2, ps)
	e.b.compareDown(r.Events[len(ps):], 2, fabric.ErrPeerClosed)
	e.b.quiet()
	// Who leaves without having sent leaves no trace.
	epA = e.a.open(anyEP, 1)
	e.a.connect(epA, e.b, 6)
	e.a.closeConn(epA)
	epA = e.a.open(anyEP, 1)
	e.a.connect(epA, e.b, 6)
}

// many joins n pairs of endpoints; the cookie of both sides is the position in eps.
func (e *env) many(n int) (epsA, epsB []int) {
	e.Helper()
	for i := range n {
		a, b := e.joinAs(uint32(i), uint32(i))
		epsA, epsB = append(epsA, a), append(epsB, b)
	}
	return epsA, epsB
}

// deliver sends random packets on random Conns and checks that each Conn gets its own.
func (e *env) deliver(eps []int, rounds int) {
	e.Helper()
	for range rounds {
		want := map[uint32][]event{}
		total := 0
		for range 60 {
			i := rand.IntN(len(eps))
			p := packet{Header: fabric.Header{Imm: rand.Uint32()}, Seed: rand.Uint32N(9999), Len: rand.IntN(300)}
			if e.a.send(eps[i], p) == 1 {
				want[uint32(i)] = append(want[uint32(i)], p.arrival(uint32(i)))
				total++
			}
		}
		got := map[uint32][]event{}
		for _, ev := range e.b.poll(rule{Packets: total, Budget: 1 + rand.IntN(30)}).Events {
			got[ev.Cookie] = append(got[ev.Cookie], ev)
		}
		if !maps.EqualFunc(got, want, func(a, b []event) bool { return slices.EqualFunc(a, b, same) }) {
			e.Fatalf("got %+v, want %+v", got, want)
		}
	}
}

func testMany(e *env) {
	const n = 70
	epsA, epsB := e.many(n)
	e.deliver(epsA, 20)
	for i := 5; i < n; i++ {
		e.a.closeConn(epsA[i])
		e.b.closeConn(epsB[i])
		if i%10 == 0 {
			e.deliver(epsA[:5], 2)
		}
	}
	e.deliver(epsA[:5], 5)
	e.a.poll(rule{})
	e.b.poll(rule{})
	more, _ := e.many(n)
	e.deliver(append(epsA[:5:5], more[5:]...), 10)
}

func testManyRefuse(e *env) {
	epsA, _ := e.many(40)
	ps := numbered(5, 50, 300)
	for _, i := range []int{7, 33} {
		e.a.sendAll(epsA[i], ps...)
	}
	r := e.b.poll(rule{Packets: len(ps), Refuse: []uint32{7}})
	e.b.compare(r.Events, 33, ps)
	for range 3 {
		if r := e.b.poll(rule{Refuse: []uint32{7}}); r.Refused != 1 || len(r.Events) > 0 {
			e.Fatalf("refused %d, events %+v", r.Refused, r.Events)
		}
	}
	e.b.receive(7, ps...)
	e.b.quiet()
}

func testErrors(e *env) {
	e.a.wantErr(fabric.ErrNoEndpoint, command{Do: "open", EP: e.a.attr.Endpoints})
	e.a.wantErr(fabric.ErrNoEndpoint, command{Do: "open", EP: -2})
	ep := e.a.open(9, 1)
	e.a.wantErr(fabric.ErrInUse, command{Do: "open", EP: 9})
	e.a.wantErr(fabric.ErrNoEndpoint, command{Do: "connect", EP: ep, Addr: e.b.addr, PeerEP: e.b.attr.Endpoints})
	e.a.wantErr(fabric.ErrNoEndpoint, command{Do: "connect", EP: ep, Addr: e.b.addr, PeerEP: -1 - e.b.attr.Endpoints})
	last := e.b.open(e.b.attr.Endpoints-1, 2)
	e.a.connect(ep, e.b, -1)
	e.b.connect(last, e.a, ep)
	e.a.wantErr(fabric.ErrInUse, command{Do: "connect", EP: ep, Addr: e.b.addr, PeerEP: 2})
	if r := e.a.do(command{Do: "new", Options: Options{Endpoints: 1 << 20}}); r.Err.Text == "" {
		e.Fatal("a port with a million endpoints")
	}
	if r := e.a.do(command{Do: "new", Options: Options{Endpoints: -1}}); r.Err.Text == "" {
		e.Fatal("a port with -1 endpoints")
	}
	if r := e.a.do(command{Do: "new", Options: Options{Reserved: 1 << 20}}); r.Err.Text == "" {
		e.Fatal("a port with a million reserved endpoints")
	}
}

func testBadAddress(e *env) {
	ep := e.a.open(anyEP, 1)
	for _, addr := range []string{
		"", ":", "x", "tcp:1:2", e.b.addr + "0", " " + e.b.addr, e.b.addr + " ", e.b.addr[1:], "é", "\x00",
		e.b.addr + ":", string(make([]byte, 1<<12)),
	} {
		_, err := e.a.try(command{Do: "connect", EP: ep, Addr: addr})
		if f, ok := err.(failure); !ok || !f.Is(fabric.ErrAddress) && !f.Is(fabric.ErrUnreachable) {
			e.Fatalf("connect to %q: %v", addr, err)
		}
	}
	gone := e.make("b", Options{})
	gone.closePort()
	e.a.wantErr(fabric.ErrUnreachable, command{Do: "connect", EP: ep, Addr: gone.addr})
	// The endpoint is as good as new.
	e.b = e.make("b", Options{})
	e.a.connect(ep, e.b, 0)
}

func testExhaustion(e *env) {
	e.b.closePort()
	e.b = e.make("b", Options{Reserved: 4, Endpoints: 30})
	if e.b.attr.Endpoints != 30 {
		e.Fatalf("attr %+v", e.b.attr)
	}
	seen := map[int]bool{}
	for range 26 {
		ep := e.b.open(anyEP, 1)
		if ep < 4 || ep >= 30 || seen[ep] {
			e.Fatalf("endpoint %d, seen %v", ep, seen)
		}
		seen[ep] = true
	}
	e.b.wantErr(fabric.ErrNoEndpoint, command{Do: "open", EP: anyEP})
	e.b.closeConn(11)
	if ep := e.b.open(anyEP, 1); ep != 11 {
		e.Fatalf("endpoint %d, want the free one, 11", ep)
	}
	for ep := range 4 {
		e.b.open(ep, 1)
	}
}

func testInUse(e *env) {
	ep1, ep2 := e.a.open(anyEP, 1), e.a.open(anyEP, 2)
	e.a.connect(ep1, e.b, 3)
	e.a.wantErr(fabric.ErrInUse, command{Do: "connect", EP: ep2, Addr: e.b.addr, PeerEP: 3})
	// Any avoids an endpoint at which somebody waits.
	e.a.connect(ep2, e.b, 8)
	if ep := e.b.open(anyEP, 1); ep == 8 {
		e.Fatal("Any took an endpoint that a peer is connected with")
	}
}
