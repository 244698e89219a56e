package cm

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"outboard/verbs/internal/ib"
)

// A world is two machines, a wire that loses, repeats and delays between them, and a clock that jumps.
type world struct {
	t     *rapid.T
	luck  *rand.Rand // rapid would prefer small numbers, which are bad luck
	now   time.Time
	sides [2]*site
	due   []deed
	loss  int // percent
}

type deed struct {
	at time.Time
	do func()
}

// A site is one machine and its program.
type site struct {
	w    *world
	m    *machine
	addr string
	qpn  uint32 // of the last queue pair
	ends []*endOf
}

// endOf is what the program has of one connection.
type endOf struct {
	s      *site
	x      *exchange
	active bool
	refuse bool // the request, or the answer
	heard  []EventType
}

func (s *site) other() *site {
	if s == s.w.sides[0] {
		return s.w.sides[1]
	}
	return s.w.sides[0]
}

func (w *world) after(d time.Duration, do func()) { w.due = append(w.due, deed{w.now.Add(d), do}) }

// some is a time up to so many milliseconds.
func (w *world) some(most int) time.Duration {
	return time.Duration(w.luck.IntN(most+1)) * time.Millisecond
}

// settle puts on the wire what the machines have to say, and tells the programs.
func (w *world) settle() {
	for again := true; again; {
		again = false
		for _, s := range w.sides {
			out, told := s.m.out, s.m.news
			s.m.out, s.m.news = nil, nil
			again = again || len(told) > 0
			for _, l := range out {
				w.carry(s, l)
			}
			for _, n := range told {
				n.to.happened(n.x, n.ev)
			}
		}
	}
}

func (w *world) carry(s *site, l letter) {
	copies := 1
	switch n := w.luck.IntN(100); {
	case n < w.loss:
		return
	case n < w.loss+10:
		copies = 2
	}
	for range copies {
		raw := l.mad.Append(nil)
		w.after(w.some(40), func() {
			var mad ib.MAD
			if err := mad.Parse(raw); err != nil {
				w.t.Fatal(err)
			}
			s.other().m.recv(s.addr, &mad)
		})
	}
}

// run lets time pass until nothing more will happen.
func (w *world) run() {
	for steps := 0; ; steps++ {
		w.settle()
		if steps > 20_000 {
			w.t.Fatal("it does not end")
		}
		var at time.Time
		sooner := func(u time.Time) {
			if !u.IsZero() && (at.IsZero() || u.Before(at)) {
				at = u
			}
		}
		for _, s := range w.sides {
			sooner(s.m.next())
		}
		for _, d := range w.due {
			sooner(d.at)
		}
		if at.IsZero() {
			return
		}
		w.now = at
		for _, s := range w.sides {
			s.m.now = at
			s.m.tick()
		}
		now := w.due
		w.due = nil
		for _, d := range now {
			if d.at.After(at) {
				w.due = append(w.due, d)
			} else {
				d.do()
			}
		}
	}
}

// happened at a site is a request: the program accepts or rejects it, in its time.
func (s *site) happened(x *exchange, ev Event) {
	if ev.Type != ConnectRequest {
		s.w.t.Fatalf("%v at a listener", ev.Type)
	}
	e := &endOf{s: s, x: x, refuse: s.w.luck.IntN(5) == 0}
	x.owner = e
	s.ends = append(s.ends, e)
	s.m.untake(x)
	s.w.after(s.w.some(1000), func() {
		if e.refuse {
			s.m.reject(x, ConsumerReject, nil)
			return
		}
		s.qpn++
		s.m.accept(x, &ib.REP{LocalQPN: s.qpn})
	})
}

func (e *endOf) happened(_ *exchange, ev Event) {
	e.heard = append(e.heard, ev.Type)
	w := e.s.w
	switch ev.Type {
	case ConnectResponse:
		if e.refuse {
			w.after(0, func() { e.s.m.giveUp(e.x, ConsumerReject, nil); e.lose() })
			return
		}
		w.after(w.some(30), func() { e.s.m.ready(e.x) })
	case Established:
		w.after(w.some(300), func() {
			if e.x.state == established {
				e.s.m.disconnect(e.x)
			}
		})
	case Rejected, Unreachable, ConnectError:
		e.lose()
	}
}

// lose destroys the queue pair: the wire tells whoever is connected with it.
func (e *endOf) lose() {
	for _, x := range e.s.other().m.byID {
		if qpn := x.localQPN; x.remoteQPN == e.x.localQPN && qpn != 0 {
			e.s.w.after(0, func() { e.s.other().m.lost(qpn, ErrLost) })
		}
	}
}

// legal are the histories that a program can hear.
var legal = map[bool][][]EventType{
	true: {{}, {Rejected}, {Unreachable}, {ConnectResponse}, {ConnectResponse, Rejected}, {ConnectResponse, Unreachable},
		{ConnectResponse, Established, Disconnected, TimewaitExit}},
	false: {{}, {Rejected}, {Unreachable}, {Established, Disconnected, TimewaitExit}},
}

func (e *endOf) up() bool { return slices.Contains(e.heard, Established) }

// peer finds the other end, nil if it has not heard of this one.
func (e *endOf) peer(t *rapid.T) (p *endOf) {
	for _, o := range e.s.other().ends {
		if o.active != e.active && (e.active && o.x.remoteID == e.x.id || o.active && o.x.id == e.x.remoteID) {
			if p != nil && !e.refuse && e.s.w.loss <= 20 { // else a late copy may look like new
				t.Errorf("%s: the other program was asked twice", e.s.addr)
			}
			p = o
		}
	}
	return p
}

// TestModel has two programs connect with each other at once, over a wire that loses up to 6 of 10 datagrams. Whatever happens, every
// exchange ends, every program hears a history that makes sense, and a connection that is up at one end is up at the other, or that one
// has heard an error. If the wire loses no more than 2 of 10, the connection comes up unless a program refuses, and nobody despairs.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, now: time.Unix(1000, 0), luck: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "luck"), 1)),
			loss: rapid.SampledFrom([]int{0, 10, 20, 60}).Draw(t, "loss")}
		seed := uint32(0)
		for i := range w.sides {
			addr := fmt.Sprintf("side %d", i)
			// Both use the same numbers: IDs mean nothing without the side.
			own := uint32(0)
			m := newMachine(addr, 5, defaultTiming, func() uint32 { own++; return seed + own*7 })
			m.now = w.now
			w.sides[i] = &site{w: w, m: m, addr: addr, qpn: uint32(1000 * (i + 1))}
			m.listen(serviceID(testPort), 100, w.sides[i])
		}
		for range rapid.IntRange(1, 4).Draw(t, "connections") {
			s := w.sides[rapid.IntRange(0, 1).Draw(t, "who dials")]
			w.after(w.some(200), func() {
				s.qpn++
				e := &endOf{s: s, active: true, refuse: w.luck.IntN(10) == 0}
				s.ends = append(s.ends, e)
				src, dst := ib.GIDOf(s.addr), ib.GIDOf(s.other().addr)
				r := &ib.REQ{ServiceID: serviceID(testPort), LocalQPN: s.qpn, MTU: 5, Primary: ib.Path{LocalGID: src, RemoteGID: dst}}
				copy(r.PrivateData[:], appendHeader(nil, 1, src, dst))
				e.x = s.m.connect(s.other().addr, r, e)
			})
		}
		w.run()
		for _, s := range w.sides {
			if n := len(s.m.byID) + len(s.m.byRemote); n != 0 {
				t.Fatalf("%s: %d exchanges left", s.addr, n)
			}
			for _, e := range s.ends {
				if !slices.ContainsFunc(legal[e.active], func(h []EventType) bool { return slices.Equal(h, e.heard) }) {
					t.Errorf("%s, active %v: heard %v", s.addr, e.active, e.heard)
				}
				if e.active && len(e.heard) == 0 {
					t.Errorf("%s: a program that dials heard nothing", s.addr)
				}
				o := e.peer(t)
				switch {
				case w.loss > 20:
				case o != nil && (e.refuse || o.refuse):
				case o == nil || !e.up() || !o.up():
					t.Errorf("%s: neither end refuses, this one heard %v", s.addr, e.heard)
				}
				if e.up() && (o == nil || !o.up() && len(o.heard) == 0) {
					t.Errorf("%s: up, and the other end has heard nothing", s.addr)
				}
			}
		}
	})
}
