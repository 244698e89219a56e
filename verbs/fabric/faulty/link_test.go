package faulty_test

import (
	"context"
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/faulty"
	"outboard/verbs/fabric/inproc"
)

func TestCutAndHeal(t *testing.T) {
	r := newRig(t, 2, faulty.Options{Inject: faulty.OnIndex(1, faulty.Delay.By(ms))}, inproc.Options{})
	both := func(id uint32) {
		t.Helper()
		if !r.try(0, id) || !r.try(1, id+100) {
			t.Fatal("a cut link takes all that is sent")
		}
	}
	both(0)
	r.want(0, 100)
	r.port.Cut()
	both(1)
	r.conns = append(r.conns, r.dial(2)) // also what is opened later
	if !r.try(2, 200) {
		t.Fatal("not taken")
	}
	r.want()
	r.port.Heal()
	both(2)
	r.want(2, 102) // and not what was lost
	r.port.CutConn(1)
	both(3)
	r.want(3)
	r.port.CutConn(3) // before it is opened
	r.conns = append(r.conns, r.dial(3))
	if !r.try(3, 300) {
		t.Fatal("not taken")
	}
	r.port.Heal()
	both(4)
	r.want(4, 104)
	r.wantStats(faulty.Stats{Sent: 12, Cut: 5})
	if sent := r.conns[1].Sent(); sent != 3 {
		t.Errorf("Sent is %d, want the 3 that went into the wire", sent)
	}
}

// Only what this side sends is cut.
func TestCutIsOneWay(t *testing.T) {
	r := newRig(t, 0, faulty.Options{}, inproc.Options{})
	r.conns = append(r.conns, r.dial(0))
	c, err := r.far.Open(0, 0)
	if err == nil {
		err = c.Connect(r.port.Addr(), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.port.Cut()
	r.send(1)
	if !c.Send(&fabric.Header{PSN: 2}, nil, nil) {
		t.Fatal("not taken")
	}
	r.want()
	if len(r.back.got) != 1 || r.back.got[0].header.PSN != 2 {
		t.Fatalf("%+v came back", r.back.got)
	}
}

// What is in the link when it is cut is lost if it is due before the link is healed.
func TestCutLosesHeld(t *testing.T) {
	r := newRig(t, 1, faulty.Options{
		Inject: faulty.Any(faulty.OnIndex(0, faulty.Delay.By(ms)), faulty.OnIndex(1, faulty.Delay.By(3*ms))),
	}, inproc.Options{})
	r.send(0, 1)
	r.port.Cut()
	r.clock.advance(2 * ms)
	r.want()
	r.port.Heal()
	r.clock.advance(ms)
	r.want(1)
	r.wantStats(faulty.Stats{Sent: 2, Delayed: 2, Cut: 1})
}

func TestCutAfter(t *testing.T) {
	t.Run("for ever", func(t *testing.T) {
		r := newRig(t, 2, faulty.Options{CutAfter: 3}, inproc.Options{})
		r.send(0, 1, 2, 3, 4)
		r.try(1, 100)
		r.want(0, 1, 2, 100)
		r.clock.advance(time.Hour)
		r.send(5)
		r.want()
		r.port.Heal()
		r.send(6)
		r.try(1, 101)
		r.want(6, 101)
	})
	t.Run("for a while", func(t *testing.T) {
		r := newRig(t, 1, faulty.Options{CutAfter: 3, HealAfter: 2 * ms}, inproc.Options{})
		r.send(0, 1, 2, 3, 4)
		r.clock.advance(2*ms - 1)
		r.send(5)
		r.want(0, 1, 2)
		r.clock.advance(1)
		r.send(6, 7)
		r.want(6, 7)
		r.wantStats(faulty.Stats{Sent: 8, Cut: 3})
	})
}

// The NICs of two ports poll, sleep and send while others cut, heal, ring and read the counters, and the ports
// are closed at last.
func TestConcurrent(t *testing.T) {
	o := faulty.Options{Seed: 1, Drop: 0.1, Duplicate: 0.1, Reorder: 0.1, Delay: 0.2, Corrupt: 0.1, DelayBy: 100 * time.Microsecond}
	var ports [2]*faulty.Port
	for i := range ports {
		inner, err := wires.Open(inproc.Options{Slots: 8})
		if err != nil {
			t.Fatal(err)
		}
		o.Seed++
		if ports[i], err = faulty.Wrap(inner, o); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*ms)
	defer cancel()
	var wg sync.WaitGroup
	for i, p := range ports {
		c, err := p.Open(0, 0)
		if err == nil {
			err = c.Connect(ports[1-i].Addr(), 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		var n counter
		var nic sync.Mutex
		for range 2 {
			wg.Go(func() {
				for id := uint32(0); ctx.Err() == nil; id++ {
					ticket := p.Arm()
					nic.Lock()
					c.Send(&fabric.Header{PSN: id}, payload(id), nil)
					got := p.Poll(&n, 16)
					nic.Unlock()
					if got == 0 {
						p.Sleep(ticket, ms)
					}
				}
			})
		}
		wg.Go(func() {
			for ctx.Err() == nil {
				p.Cut()
				p.Ring()
				p.CutConn(0)
				p.Heal()
				if p.Stats().Held > 64 {
					t.Error("too much is held")
				}
				time.Sleep(50 * time.Microsecond)
			}
			p.Close()
		})
		defer func() {
			if n == 0 {
				t.Errorf("port %d received nothing", i)
			}
		}()
	}
	wg.Wait()
}

// A goBack is one end of the simplest protocol that makes a bad wire good: the sender repeats all that is not
// acknowledged when nothing has happened for a while, the receiver takes what comes in order.
type goBack struct {
	port       *faulty.Port
	conn       fabric.Conn
	next, base uint32 // to be sent, to be acknowledged
	expected   uint32
	moved      bool
}

const (
	opData = 1
	opAck  = 2
)

func (g *goBack) Packet(_ uint32, h *fabric.Header, b []byte) bool {
	switch {
	case h.Op == opAck && len(b) == 8 && binary.BigEndian.Uint32(b) == ^binary.BigEndian.Uint32(b[4:]):
		if psn := binary.BigEndian.Uint32(b); psn > g.base {
			g.base, g.moved = psn, true
			g.next = max(g.next, psn)
		}
	case h.Op == opData:
		if h.PSN == g.expected && string(b) == string(payload(h.PSN)) {
			g.expected++
		}
		ack := binary.BigEndian.AppendUint32(nil, g.expected)
		ack = binary.BigEndian.AppendUint32(ack, ^g.expected)
		g.conn.Send(&fabric.Header{Op: opAck}, ack, nil)
	}
	return true
}
func (g *goBack) Knock(int)          {}
func (g *goBack) Down(uint32, error) {}

// run works until over says that all is done.
func (g *goBack) run(packets uint32, over func() bool) {
	const window, timeout = 16, 2 * ms
	last := time.Now()
	for !over() {
		ticket := g.port.Arm()
		for g.next < min(g.base+window, packets) && g.conn.Send(&fabric.Header{Op: opData, PSN: g.next}, payload(g.next), nil) {
			g.next++
		}
		got := g.port.Poll(g, 16)
		if g.moved {
			g.moved, last = false, time.Now()
		} else if time.Since(last) > timeout {
			g.next, last = g.base, time.Now()
		}
		if got == 0 {
			g.port.Sleep(ticket, timeout)
		}
	}
}

// A protocol with retransmission gets everything over a wire that has every fault in both directions.
func TestProtocolSurvives(t *testing.T) {
	const packets = 400
	var ends [2]*goBack
	for i := range ends {
		inner, err := wires.Open(inproc.Options{Slots: 16})
		if err != nil {
			t.Fatal(err)
		}
		port, err := faulty.Wrap(inner, faulty.Options{
			Seed: uint64(i), Drop: 0.05, Duplicate: 0.05, Reorder: 0.05, Delay: 0.05, Corrupt: 0.05,
			CutAfter: 100, HealAfter: 5 * ms,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer port.Close()
		conn, err := port.Open(0, 0)
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = &goBack{port: port, conn: conn}
	}
	for i, e := range ends {
		if err := e.conn.Connect(ends[1-i].port.Addr(), 0); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		ends[1].run(0, func() bool {
			select {
			case <-done:
				return true
			default:
				return ctx.Err() != nil
			}
		})
	})
	ends[0].run(packets, func() bool { return ends[0].base == packets || ctx.Err() != nil })
	close(done)
	wg.Wait()
	if ends[0].base != packets || ends[1].expected != packets {
		t.Fatalf("%d packets acknowledged, %d taken, want %d; %v: %+v", ends[0].base, ends[1].expected, packets,
			ends[0].port, ends[0].port.Stats())
	}
	for _, e := range ends {
		s := e.port.Stats()
		if s.Dropped == 0 || s.Duplicated == 0 || s.Reordered == 0 || s.Delayed == 0 || s.Corrupted == 0 || s.Cut == 0 {
			t.Errorf("the wire was too good: %+v", s)
		}
	}
}
