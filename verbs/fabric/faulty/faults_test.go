package faulty_test

import (
	"math/bits"
	"slices"
	"testing"
	"time"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/faulty"
	"outboard/verbs/fabric/inproc"
)

const ms = time.Millisecond

// What five packets become, at once and after each millisecond.
func TestFaults(t *testing.T) {
	for name, tt := range map[string]struct {
		inject faulty.Injector
		want   [][]uint32
		stats  faulty.Stats
	}{
		"none":      {faulty.Any(), [][]uint32{{0, 1, 2, 3, 4}}, faulty.Stats{}},
		"drop":      {faulty.OnIndex(2, faulty.Drop), [][]uint32{{0, 1, 3, 4}}, faulty.Stats{Dropped: 1}},
		"duplicate": {faulty.OnIndex(2, faulty.Duplicate), [][]uint32{{0, 1, 2, 2, 3, 4}}, faulty.Stats{Duplicated: 1}},
		"late copy": {
			faulty.OnIndex(2, faulty.Duplicate.By(2*ms)), [][]uint32{{0, 1, 2, 3, 4}, nil, {2}},
			faulty.Stats{Duplicated: 1},
		},
		"reorder":       {faulty.OnIndex(1, faulty.Reorder), [][]uint32{{0, 2, 1, 3, 4}}, faulty.Stats{Reordered: 1}},
		"reorder last":  {faulty.OnIndex(4, faulty.Reorder), [][]uint32{{0, 1, 2, 3}, nil, nil, {4}}, faulty.Stats{Reordered: 1}},
		"reorder limit": {faulty.OnIndex(4, faulty.Reorder.By(ms)), [][]uint32{{0, 1, 2, 3}, {4}}, faulty.Stats{Reordered: 1}},
		"reorder all": {
			faulty.Every(1, faulty.Reorder), [][]uint32{{1, 0, 3, 2}, nil, nil, {4}}, faulty.Stats{Reordered: 3},
		},
		"reorder past a loss": {
			faulty.Any(faulty.OnIndex(1, faulty.Reorder), faulty.OnIndex(2, faulty.Drop)),
			[][]uint32{{0, 3, 1, 4}}, faulty.Stats{Reordered: 1, Dropped: 1},
		},
		"delay": {faulty.OnIndex(1, faulty.Delay.By(2*ms)), [][]uint32{{0, 2, 3, 4}, nil, {1}}, faulty.Stats{Delayed: 1}},
		"delays in turn": {
			faulty.Any(faulty.OnIndex(1, faulty.Delay.By(2*ms)), faulty.OnIndex(2, faulty.Delay.By(ms)), faulty.OnIndex(3, faulty.Delay.By(2*ms))),
			[][]uint32{{0, 4}, {2}, {1, 3}}, faulty.Stats{Delayed: 3},
		},
		"cut":         {faulty.OnIndex(3, faulty.Cut), [][]uint32{{0, 1, 2}, nil, nil}, faulty.Stats{Cut: 2}},
		"first fault": {faulty.Any(faulty.OnIndex(1, faulty.Drop), faulty.Every(2, faulty.Duplicate)), [][]uint32{{0, 2, 3, 3, 4}}, faulty.Stats{Dropped: 1, Duplicated: 1}},
		"elsewhere":   {faulty.ForEndpoint(1, faulty.Every(1, faulty.Drop)), [][]uint32{{0, 1, 2, 3, 4}}, faulty.Stats{}},
		"here":        {faulty.ForEndpoint(0, faulty.Every(2, faulty.Drop)), [][]uint32{{0, 2, 4}}, faulty.Stats{Dropped: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 1, faulty.Options{Inject: tt.inject, DelayBy: 3 * ms}, inproc.Options{})
			r.send(0, 1, 2, 3, 4)
			for i, ids := range tt.want {
				if i > 0 {
					r.clock.advance(ms)
				}
				r.want(ids...)
			}
			tt.stats.Sent = 5
			r.wantStats(tt.stats)
		})
	}
}

func TestCorrupt(t *testing.T) {
	places := map[int]bool{}
	r := newRig(t, 1, faulty.Options{Seed: 5, Corrupt: 1}, inproc.Options{})
	for range 60 {
		const id = 149
		r.send(id)
		r.far.Poll(&r.in, 1)
		got, want := r.in.got[0], payload(id)
		r.in.got = nil
		if got.header != (fabric.Header{PSN: id}) || len(got.payload) != len(want) {
			t.Fatalf("%+v came", got)
		}
		flipped := 0
		for i := range want {
			if x := got.payload[i] ^ want[i]; x != 0 {
				flipped += bits.OnesCount8(x)
				places[8*i+bits.TrailingZeros8(x)] = true
			}
		}
		if flipped != 1 {
			t.Fatalf("%d bits were flipped, want 1", flipped)
		}
	}
	if len(places) < 50 {
		t.Errorf("60 packets were corrupted at only %d places", len(places))
	}
	whole := payload(77)
	r.conns[0].Send(&fabric.Header{PSN: 77}, whole, nil)
	r.want(77)
	if !slices.Equal(whole, payload(77)) {
		t.Error("Send changed the caller's buffer")
	}
	// Nothing can be flipped in nothing.
	if !r.conns[0].Send(&fabric.Header{PSN: 9}, nil, nil) {
		t.Fatal("not taken")
	}
	r.want(9)
	r.wantStats(faulty.Stats{Sent: 62, Corrupted: 61})
}

// A Delay without a duration takes any time up to DelayBy.
func TestDrawnDelay(t *testing.T) {
	const steps = 10
	r := newRig(t, 1, faulty.Options{Seed: 3, Delay: 1, DelayBy: steps * ms}, inproc.Options{})
	var all []uint32
	for id := range uint32(60) {
		r.send(id)
	}
	r.want()
	early := 0
	for i := range steps {
		r.clock.advance(ms)
		ids := r.receive()
		if len(ids) == 0 {
			t.Errorf("none of 60 packets took between %d and %d ms", i, i+1)
		}
		if i == steps/2-1 {
			early = len(all) + len(ids)
		}
		all = append(all, ids...)
	}
	if early < 15 || early > 45 {
		t.Errorf("%d of 60 packets took less than half of the time", early)
	}
	slices.Sort(all)
	for i, id := range all {
		if int(id) != i || len(all) != 60 {
			t.Fatalf("packets %v came", all)
		}
	}
}

func TestOnly(t *testing.T) {
	var r *rig
	r = newRig(t, 1, faulty.Options{
		Inject: faulty.OnIndex(1, faulty.Drop),
		Only: func(h *fabric.Header, p []byte) bool {
			if !slices.Equal(p, payload(h.PSN)) {
				t.Errorf("packet %d has the payload %v", h.PSN, p)
			}
			return r.port.Stats().Cut == 0 && h.PSN%10 == 0 // what the caller brings may use the port
		},
	}, inproc.Options{})
	r.send(1, 2, 10, 11, 20, 21, 30)
	r.want(1, 2, 10, 11, 21, 30)
	r.port.Cut()
	r.send(12)
	r.want()
}

// A packet that the wire has no room for is the same packet when it is sent again.
func TestRefusedPacketKeepsItsFault(t *testing.T) {
	r := newRig(t, 1, faulty.Options{Inject: faulty.OnIndex(9, faulty.Drop)}, inproc.Options{Slots: 8})
	r.send(0, 1, 2, 3, 4, 5, 6, 7)
	for range 5 {
		if r.try(0, 8) {
			t.Fatal("nine packets in a ring for eight")
		}
	}
	r.want(0, 1, 2, 3, 4, 5, 6, 7)
	r.send(8, 9, 10)
	r.want(8, 10)
	r.wantStats(faulty.Stats{Sent: 11, Dropped: 1})
	if sent := r.conns[0].Sent(); sent != 10 {
		t.Errorf("Sent is %d, want the 10 that went into the wire", sent)
	}
}

// Even a wire that loses everything takes only what is a packet on a link.
func TestNothingTaken(t *testing.T) {
	r := newRig(t, 1, faulty.Options{Drop: 1}, inproc.Options{})
	c, err := r.port.Open(5, 0)
	if err != nil {
		t.Fatal(err)
	}
	if c.Send(&fabric.Header{}, nil, nil) {
		t.Error("taken before Connect")
	}
	if r.conns[0].Send(&fabric.Header{}, make([]byte, r.port.Attr().MTU), []byte{1}) {
		t.Error("more than the MTU was taken")
	}
	r.conns[0].Close()
	if r.try(0, 1) {
		t.Error("taken after Conn.Close")
	}
	r.conns[0] = r.dial(6)
	r.send(1)
	r.port.Close()
	if r.try(0, 1) {
		t.Error("taken after Port.Close")
	}
	r.wantStats(faulty.Stats{Sent: 1, Dropped: 1})
}

func TestAttr(t *testing.T) {
	inner, err := wires.Open(inproc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	p, err := faulty.Wrap(inner, faulty.Options{Drop: 0.5, Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	want := inner.Attr()
	want.Name, want.Ordered, want.Reliable = "faulty+inproc", false, false
	if p.Attr() != want || p.Addr() != inner.Addr() {
		t.Errorf("attr %+v at %s, want %+v at %s", p.Attr(), p.Addr(), want, inner.Addr())
	}
	if s := p.String(); s != "faulty+inproc: Rate(7, 0.5, Drop)" {
		t.Errorf("the port is %q", s)
	}
	c, err := p.Open(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Connect(p.Addr(), 1); err != nil {
		t.Fatal(err)
	}
	if c.Direct() != nil {
		t.Error("a way around the wire")
	}
}
