package fabrictest

import (
	"slices"

	"outboard/verbs/fabric"
)

const anyEP = fabric.Any

// numbered returns n packets with different headers and, from step to step, longer payloads.
func numbered(n, step, mtu int) []packet {
	ps := make([]packet, n)
	for i := range ps {
		size := i * step % (mtu + 1)
		ps[i] = packet{
			Header: fabric.Header{
				Op: uint8(i), Flags: uint8(i) &^ fabric.AckNow, Aux: uint16(i * 3), Imm: uint32(i * 5),
				Key: uint32(i * 7), PSN: uint32(i), Addr: uint64(i) << 33,
			},
			Seed: uint32(i), Len: size, Cut: i % (size + 1),
		}
	}
	return ps
}

func testAttr(e *env) {
	at := e.a.attr
	if at.Name == "" || at.Inline < 32 || at.MTU < at.Inline || at.Endpoints < 64 || at.Regions < 256 {
		e.Fatalf("attr %+v", at)
	}
	if !at.Ordered || !at.Reliable {
		e.Fatalf("attr %+v: the suite is for ordered and reliable fabrics", at)
	}
	for _, c := range e.a.addr {
		if c <= ' ' || c > '~' {
			e.Fatalf("address %q has %q", e.a.addr, c)
		}
	}
	if len(e.a.addr) > 200 || e.a.addr == e.b.addr {
		e.Fatalf("addresses %q, %q", e.a.addr, e.b.addr)
	}
}

func testOrder(e *env) {
	epA, epB := e.join()
	for round := range 20 {
		ps := numbered(20, 7+round, 200)
		e.a.sendAll(epA, ps...)
		e.b.sendAll(epB, ps[:9]...)
		e.b.receive(2, ps...)
		e.a.receive(1, ps[:9]...)
	}
}

func testLengths(e *env) {
	epA, _ := e.join()
	const batch = 8
	for from := 0; from <= e.a.attr.MTU; from += batch {
		var ps []packet
		for size := from; size < from+batch && size <= e.a.attr.MTU; size++ {
			ps = append(ps, packet{Seed: uint32(size), Len: size, Cut: size * 7 % (size + 1)})
		}
		for len(ps) > 0 { // eight of the largest may not fit at once
			n := e.a.send(epA, ps...)
			e.b.receive(2, ps[:n]...)
			ps = ps[n:]
		}
	}
}

func testTooLong(e *env) {
	epA, _ := e.join()
	if n := e.a.send(epA, packet{Len: e.a.attr.MTU + 1}); n != 0 {
		e.Fatal("sent more than the MTU")
	}
	e.a.sendAll(epA, packet{Seed: 9, Len: e.a.attr.MTU})
	e.b.receive(2, packet{Seed: 9, Len: e.a.attr.MTU})
}

// fill sends packets of one length until there is no room.
func (e *env) fill(ep, size int) []packet {
	e.Helper()
	var all []packet
	for len(all) < 1<<16 {
		p := packet{Header: fabric.Header{PSN: uint32(len(all))}, Seed: uint32(len(all)), Len: size}
		if e.a.send(ep, p) == 0 {
			return all
		}
		all = append(all, p)
	}
	e.Fatal("room without end")
	return nil
}

func testBackpressure(e *env) {
	epA, _ := e.join()
	for range 3 {
		ps := e.fill(epA, 8)
		if len(ps) < 8 {
			e.Fatalf("room for %d packets", len(ps))
		}
		e.b.receive(2, ps[:len(ps)/2]...)
		if n := e.a.send(epA, packet{Len: 3}); n != 1 {
			e.Fatal("no room after half of the packets were received")
		}
		e.b.receive(2, append(slices.Clone(ps[len(ps)/2:]), packet{Len: 3})...)
	}
}

func testBulkBackpressure(e *env) {
	epA, _ := e.join()
	for size := e.a.attr.MTU; size > e.a.attr.Inline; size = size*3/5 - 1 {
		ps := e.fill(epA, size)
		if len(ps) < 2 {
			e.Fatalf("room for %d packets of %d bytes", len(ps), size)
		}
		e.b.receive(2, ps...)
		// Whatever the alignment of the next packet, there is room for the largest.
		e.a.sendAll(epA, packet{Seed: 4, Len: e.a.attr.MTU})
		e.b.receive(2, packet{Seed: 4, Len: e.a.attr.MTU})
	}
}

func testFlood(e *env) {
	epA, epB := e.join()
	ps := numbered(5000, 97, e.a.attr.MTU)
	errs := make(chan error, 1)
	go func() {
		_, err := e.a.try(command{Do: "flood", EP: epA, Packets: ps})
		errs <- err
	}()
	e.b.receive(2, ps...)
	if err := <-errs; err != nil {
		e.Fatal(err)
	}
	if sent, _ := e.a.counts(epA); sent != len(ps) {
		e.Fatalf("sent %d, want %d", sent, len(ps))
	}
	if sent, acked := e.b.counts(epB); sent != 0 || acked != 0 {
		e.Fatalf("b sent %d, acked %d", sent, acked)
	}
}

func testRefuse(e *env) {
	ep1, _ := e.joinAs(1, 21)
	ep2, _ := e.joinAs(2, 22)
	ps := numbered(6, 100, 500)
	e.a.sendAll(ep1, ps...)
	e.a.sendAll(ep2, ps...)
	r := e.b.poll(rule{Packets: len(ps), Refuse: []uint32{21}})
	e.b.compare(r.Events, 22, ps)
	if r.Refused == 0 {
		e.Fatal("the packet was not offered")
	}
	again := e.b.poll(rule{Refuse: []uint32{21}})
	if again.Refused == 0 || len(again.Events) > 0 {
		e.Fatalf("refused %d, events %+v", again.Refused, again.Events)
	}
	e.b.receive(21, ps...)
}

func testIndependent(e *env) {
	ep1, _ := e.joinAs(1, 21)
	ep2, _ := e.joinAs(2, 22)
	full := e.fill(ep1, 100)
	ps := numbered(5, 30, 500)
	e.a.sendAll(ep2, ps...)
	r := e.b.poll(rule{Packets: len(ps), Refuse: []uint32{21}})
	e.b.compare(r.Events, 22, ps)
	e.b.receive(21, full...)
}

func testBudget(e *env) {
	for _, conns := range []int{4, 20} {
		var eps []int
		for i := range conns {
			ep, _ := e.joinAs(uint32(i), uint32(100+i))
			eps = append(eps, ep)
		}
		const each = 8
		for _, ep := range eps {
			e.a.sendAll(ep, numbered(each, 1, 96)...)
		}
		got := map[uint32]int{}
		for total := 0; total < conns*each; {
			r := e.b.poll(rule{Budget: 3})
			if r.N == 0 || r.N > 3 || r.N != len(r.Events) {
				e.Fatalf("poll with budget 3 accepted %d packets, %d events, after %d", r.N, len(r.Events), total)
			}
			for _, ev := range r.Events {
				got[ev.Cookie]++
			}
			if total += r.N; total == conns*3 && len(got) < 2 {
				e.Fatalf("after %d packets only %v were served", total, got)
			}
		}
		for cookie, n := range got {
			if n != each {
				e.Fatalf("cookie %d got %d packets, want %d", cookie, n, each)
			}
		}
		if r := e.b.poll(rule{}); r.N != 0 {
			e.Fatalf("%d packets too many", r.N)
		}
		for _, ep := range eps {
			e.a.closeConn(ep)
		}
		e.b.poll(rule{Events: conns})
		e.b.closePort()
		e.b = e.make("b", Options{Reserved: 8})
	}
}

func testAcked(e *env) {
	epA, _ := e.join()
	now := packet{Header: fabric.Header{Flags: fabric.AckNow}}
	check := func(sent, least, most int) {
		e.Helper()
		s, a := e.a.counts(epA)
		if s != sent || a < least || a > most {
			e.Fatalf("sent %d, acked %d, want %d, %d to %d", s, a, sent, least, most)
		}
	}
	check(0, 0, 0)
	e.a.sendAll(epA, packet{}, packet{})
	check(2, 0, 0)
	e.b.receive(2, packet{}, packet{})
	check(2, 0, 2)
	e.a.sendAll(epA, packet{}, now)
	check(4, 0, 2)
	r := e.b.poll(rule{Packets: 2})
	check(4, 4, 4)
	if r.Events[1].Header.Flags != fabric.AckNow {
		e.Fatal("the flag was lost")
	}
	// A packet that is refused is not acknowledged.
	e.a.sendAll(epA, now)
	e.b.poll(rule{Refuse: []uint32{2}})
	check(5, 4, 4)
	e.b.poll(rule{Packets: 1})
	check(5, 5, 5)
	// Who is about to sleep holds nothing back.
	e.a.sendAll(epA, packet{})
	e.b.receive(2, packet{})
	e.b.must(command{Do: "arm"})
	e.b.quiet()
	check(6, 6, 6)
}
