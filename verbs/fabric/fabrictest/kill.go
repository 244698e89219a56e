package fabrictest

import (
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"outboard/verbs/fabric"
)

// kills are the tests in which the process of a peer is killed.
var kills = []struct {
	name string
	run  func(*testing.T, Open)
}{
	{"KilledSending", testKilledSending},
	{"KilledAsleep", testKilledAsleep},
	{"KilledHolding", testKilledHolding},
	{"KilledAnywhere", testKilledAnywhere},
}

// pour sends packets with ascending numbers until the process is killed.
func (a *agent) pour(conn fabric.Conn) error {
	var h fabric.Header
	for {
		p := packet{Seed: h.PSN, Len: int(h.PSN*37) % 700}
		b := p.payload()
		if conn.Send(&h, b[:p.Len/2], b[p.Len/2:]) {
			h.PSN++
		} else {
			runtime.Gosched()
		}
	}
}

// churn comes and goes on endpoints 0 to 7 of the port at addr, and reaches for its regions, until the
// process is killed.
func (a *agent) churn(addr string) error {
	a.rule, a.out = rule{}, &result{}
	for {
		conn, err := a.port.Open(fabric.Any, 1)
		if err != nil {
			return err
		}
		if conn.Connect(addr, rand.IntN(8)) == nil {
			h := &fabric.Header{Flags: uint8(rand.IntN(256))}
			for range rand.IntN(200) {
				conn.Send(h, noise[:rand.IntN(300)], nil)
			}
			if d := conn.Direct(); d != nil {
				if r, ok := d.Enter(0x100); ok {
					_ = d.WriteAt(&r, noise[:8], r.Base)
					d.Leave()
				}
			}
			conn.Grant(fabric.Grant{Ready: true})
		}
		a.port.Poll(a, 10)
		a.out.Events = nil
		if err := conn.Close(); err != nil {
			return err
		}
	}
}

// withChild calls f with a port of this process and one of a child that f may kill.
func withChild(t *testing.T, open Open, f func(e *env, ch *Child)) {
	t.Helper()
	ch := StartChild(t)
	e := &env{T: t, apart: true}
	e.a = newNode(t, "a", (&agent{open: open}).do, Options{Reserved: 8})
	e.b = newNode(t, "b", ch.do, Options{})
	f(e, ch)
}

func testKilledSending(t *testing.T, open Open) {
	for range 8 {
		withChild(t, open, func(e *env, ch *Child) {
			_, epB := e.join()
			go e.b.try(command{Do: "pour", EP: epB})
			var got []event
			next := func(r rule) {
				got = append(got, e.a.poll(r).Events...)
			}
			next(rule{Packets: 1})
			for end := time.Now().Add(time.Duration(rand.IntN(3000)) * time.Microsecond); time.Now().Before(end); {
				next(rule{})
			}
			start := time.Now()
			ch.Kill()
			for len(got) == 0 || got[len(got)-1].Kind == "packet" {
				next(rule{})
				if time.Since(start) > 5*time.Second {
					t.Fatal("no down")
				}
			}
			if d := time.Since(start); d > time.Second {
				t.Errorf("down came %v after the kill", d)
			}
			e.a.quiet()
			last := len(got) - 1
			for i, ev := range got[:last] {
				want := packet{Header: fabric.Header{PSN: uint32(i)}, Seed: uint32(i), Len: i * 37 % 700}.arrival(1)
				if !same(ev, want) {
					t.Fatalf("event %d is %+v, want %+v", i, ev, want)
				}
			}
			e.a.compareDown(got[last:], 1, fabric.ErrPeerDied)
		})
	}
}

func testKilledAsleep(t *testing.T, open Open) {
	withChild(t, open, func(e *env, ch *Child) {
		epA, epB := e.join()
		e.b.sendAll(epB, packet{Len: 9})
		e.a.receive(1, packet{Len: 9})
		ticket := e.a.arm()
		awake := make(chan time.Time, 1)
		go func() {
			e.a.slept(ticket, 0)
			awake <- time.Now()
		}()
		time.Sleep(10 * time.Millisecond)
		start := time.Now()
		ch.Kill()
		if d := (<-awake).Sub(start); d > time.Second {
			t.Errorf("woken %v after the kill", d)
		}
		e.a.wantDown(1, fabric.ErrPeerDied)
		if n := e.a.send(epA, packet{}); n != 0 {
			t.Error("sent to a dead peer")
		}
		r := command{Do: "connect", EP: e.a.open(anyEP, 3), Addr: e.b.addr, PeerEP: 5}
		e.a.wantErr(fabric.ErrUnreachable, r)
	})
}

func testKilledHolding(t *testing.T, open Open) {
	withChild(t, open, func(e *env, ch *Child) {
		epA, epB := e.joinDirect()
		mem := e.a.must(command{Do: "alloc", N: 4096})
		g := fabric.Region{Key: 0x100, Base: mem.X, Len: 4096}
		e.a.must(command{Do: "publish", Region: g, Mem: mem.N, N: 4096})
		if !e.b.must(command{Do: "enter", EP: epB, Region: g}).OK {
			t.Fatal("enter: no")
		}
		ch.Kill()
		start := time.Now()
		e.a.must(command{Do: "withdraw", Region: g})
		if d := time.Since(start); d > time.Second {
			t.Errorf("withdraw took %v", d)
		}
		// What the peer exposed can't be reached, and says so.
		e.a.wantDown(1, fabric.ErrPeerDied)
		if _, ok := e.enter(epA, 0x100); ok {
			t.Error("entered a region of a dead peer")
		}
	})
}

// Whenever the peer dies, the endpoints that it used can be used again.
func testKilledAnywhere(t *testing.T, open Open) {
	own := &agent{open: open}
	a := newNode(t, "a", own.do, Options{Reserved: 8})
	mem := a.must(command{Do: "alloc", N: 4096})
	g := fabric.Region{Key: 0x100, Base: mem.X, Len: 4096}
	for range 8 {
		a.must(command{Do: "publish", Region: g, Mem: mem.N, N: 4096})
		ch := StartChild(t)
		b := newNode(t, "b", ch.do, Options{})
		go b.try(command{Do: "churn", Addr: a.addr})
		for end := time.Now().Add(time.Duration(5+rand.IntN(10)) * time.Millisecond); time.Now().Before(end); {
			for _, ev := range a.poll(rule{Accept: true}).Events {
				if ev.Kind == "down" {
					a.try(command{Do: "closeconn", EP: int(ev.Cookie) - 1000})
				}
			}
		}
		ch.Kill()
		a.poll(rule{})
		a.must(command{Do: "withdraw", Region: g})
		for ep := range 8 {
			a.reclaim(ep)
		}
		e := &env{T: t, a: a, b: newNode(t, "b", (&agent{open: open}).do, Options{})}
		for ep := range 8 {
			a.open(ep, uint32(ep))
			epB := e.b.open(anyEP, 50)
			e.b.connect(epB, a, ep)
			a.connect(ep, e.b, epB)
			e.b.sendAll(epB, numbered(5, 100, 500)...)
			a.receive(uint32(ep), numbered(5, 100, 500)...)
			e.b.closeConn(epB)
			a.closeConn(ep)
		}
		e.b.closePort()
	}
}

// reclaim opens and closes an endpoint that a dead peer may have left something in.
func (n *node) reclaim(ep int) {
	n.t.Helper()
	if _, err := n.try(command{Do: "open", EP: ep, Cookie: 1}); err != nil && !err.(failure).Is(fabric.ErrInUse) {
		n.t.Fatal(err)
	}
	n.closeConn(ep)
}
