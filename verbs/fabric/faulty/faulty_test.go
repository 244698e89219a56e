package faulty_test

import (
	"encoding/binary"
	"slices"
	"sync"
	"testing"
	"time"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/faulty"
	"outboard/verbs/fabric/inproc"
)

// A fakeClock stands until it is moved.
type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func newFakeClock() *fakeClock { return &fakeClock{now: time.Unix(1000, 0)} }

func (c *fakeClock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// An arrival is a packet as its receiver got it.
type arrival struct {
	cookie  uint32
	header  fabric.Header
	payload []byte
}

// A recorder is a Receiver that keeps what comes.
type recorder struct{ got []arrival }

func (r *recorder) Packet(cookie uint32, h *fabric.Header, payload []byte) bool {
	r.got = append(r.got, arrival{cookie, *h, slices.Clone(payload)})
	return true
}
func (r *recorder) Knock(int)          {}
func (r *recorder) Down(uint32, error) {}

// A rig is a faulty port, the clock that it runs by, and Conns from it to a good port.
type rig struct {
	t     testing.TB
	clock *fakeClock
	port  *faulty.Port
	far   fabric.Port
	conns []fabric.Conn // to endpoint i of far, from endpoint i
	in    recorder      // of far; its cookies are endpoints
	back  recorder      // of port
}

// newRig makes a rig with n Conns. With a Clock in o it has no fake one.
func newRig(t testing.TB, n int, o faulty.Options, wire inproc.Options) *rig {
	t.Helper()
	r := &rig{t: t, clock: newFakeClock()}
	if o.Clock == nil {
		o.Clock = r.clock.time
	}
	near, err := wires.Open(wire)
	if err != nil {
		t.Fatal(err)
	}
	if r.port, err = faulty.Wrap(near, o); err != nil {
		t.Fatal(err)
	}
	if r.far, err = wires.Open(wire); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.port.Close(); r.far.Close() })
	for i := range n {
		r.conns = append(r.conns, r.dial(i))
		if c, err := r.far.Open(i, uint32(i)); err != nil {
			t.Fatal(err)
		} else if err := c.Connect(r.port.Addr(), i); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *rig) dial(ep int) fabric.Conn {
	r.t.Helper()
	c, err := r.port.Open(ep, uint32(ep))
	if err == nil {
		err = c.Connect(r.far.Addr(), ep)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// payload is what packet id carries: at least its 4 bytes.
func payload(id uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, id)
	for range id % 150 {
		b = append(b, byte(len(b))*7^byte(id))
	}
	return b
}

// try sends packet id in two parts and tells whether it was taken.
func (r *rig) try(ep int, id uint32) bool {
	r.t.Helper()
	b := payload(id)
	sent := r.conns[ep].Send(&fabric.Header{PSN: id}, b[:1], b[1:])
	if !slices.Equal(b, payload(id)) {
		r.t.Fatal("Send changed the caller's buffer")
	}
	return sent
}

// send sends packets on Conn 0, which must be taken.
func (r *rig) send(ids ...uint32) {
	r.t.Helper()
	for _, id := range ids {
		if !r.try(0, id) {
			r.t.Fatalf("packet %d was not taken", id)
		}
	}
}

// take polls the faulty port, then the other until nothing comes.
func (r *rig) take() {
	r.port.Poll(&r.back, 16)
	for r.far.Poll(&r.in, 16) > 0 {
	}
}

// receive returns the numbers of the packets that have come.
func (r *rig) receive() (ids []uint32) {
	r.take()
	for _, a := range r.in.got {
		ids = append(ids, a.header.PSN)
	}
	r.in.got = nil
	return ids
}

// want receives and compares.
func (r *rig) want(ids ...uint32) {
	r.t.Helper()
	if got := r.receive(); !slices.Equal(got, ids) {
		r.t.Fatalf("%v: packets %v came, want %v", r.port, got, ids)
	}
}

func (r *rig) wantStats(want faulty.Stats) {
	r.t.Helper()
	if got := r.port.Stats(); got != want {
		r.t.Fatalf("%v: stats\n%+v, want\n%+v", r.port, got, want)
	}
}
