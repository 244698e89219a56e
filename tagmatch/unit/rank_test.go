package unit

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"outboard/nicrt"
	"outboard/tagmatch"
	"outboard/verbs/fabric"
	"outboard/verbs/fabric/inproc"
	"outboard/verbs/fabric/shm"
)

// tester is what helpers need of a test, a benchmark or a property.
type tester interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// A wire is a way to connect ranks. One that is fenced does not reach a peer's memory: reads go by packets, as between
// processes where the kernel forbids cross-memory attach.
type wire struct {
	name   string
	fenced bool
	mapped bool // packets lie in memory that the race detector does not watch
	net    func() func(ranks int) (fabric.Port, error)
}

func shmNet() func(int) (fabric.Port, error) {
	return func(n int) (fabric.Port, error) {
		return shm.Open(shm.Options{Reserved: n, Endpoints: 16, Regions: 256, Memory: 2 << 20, Slots: 32, Bulk: 16 << 10, MTU: 4 << 10})
	}
}

// inprocNet joins ports with rings of the given number of slots.
func inprocNet(slots int) func() func(int) (fabric.Port, error) {
	return func() func(int) (fabric.Port, error) {
		sw := inproc.New()
		return func(n int) (fabric.Port, error) {
			return sw.Open(inproc.Options{Reserved: n, Endpoints: 16, Regions: 256, Slots: slots, Bulk: 8 << 10, MTU: 2 << 10})
		}
	}
}

var (
	plain  = wire{name: "inproc", net: inprocNet(32)}
	fenced = wire{name: "packets", net: inprocNet(32), fenced: true}
	tight  = wire{name: "tight", net: inprocNet(8), fenced: true}
	wires  = []wire{plain, fenced, tight, {name: "shm", net: shmNet, mapped: true},
		{name: "shm packets", net: shmNet, mapped: true, fenced: true}}
)

// onWires runs f over every wire.
func onWires(t *testing.T, f func(t *testing.T, w wire)) {
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) { f(t, w) })
	}
}

// A tap is a port that counts the regions that are exposed and can refuse.
type tap struct {
	fabric.Port
	fabric.Receiver // of the poll in progress
	wire
	exposed atomic.Int32
	full    atomic.Bool // no room for any packet
	bad     error       // of every Connect
}

func (p *tap) Open(ep int, cookie uint32) (fabric.Conn, error) {
	c, err := p.Port.Open(ep, cookie)
	if err != nil {
		return nil, err
	}
	return tapConn{c, p}, nil
}

func (p *tap) Publish(r fabric.Region) error {
	err := p.Port.Publish(r)
	if err == nil {
		p.exposed.Add(1)
	}
	return err
}

func (p *tap) Withdraw(key uint32) error {
	p.exposed.Add(-1)
	return p.Port.Withdraw(key)
}

// order is what a sender tells and a receiver asks where the race detector does not see how packets order them.
var order atomic.Uint64

func (p *tap) Poll(rx fabric.Receiver, budget int) int {
	if !p.mapped {
		return p.Port.Poll(rx, budget)
	}
	p.Receiver = rx
	return p.Port.Poll(p, budget)
}

func (p *tap) Packet(cookie uint32, h *fabric.Header, payload []byte) bool {
	order.Load()
	return p.Receiver.Packet(cookie, h, payload)
}

type tapConn struct {
	fabric.Conn
	p *tap
}

func (c tapConn) Connect(addr string, ep int) error {
	if c.p.bad != nil {
		return c.p.bad
	}
	return c.Conn.Connect(addr, ep)
}

func (c tapConn) Send(h *fabric.Header, a, b []byte) bool {
	if c.p.mapped {
		order.Add(1)
	}
	return !c.p.full.Load() && c.Conn.Send(h, a, b)
}

func (c tapConn) Direct() fabric.Direct {
	if c.p.fenced {
		return nil
	}
	return c.Conn.Direct()
}

// A rank is a unit, on a NIC of its own, that knows the others.
type rank struct {
	*Unit
	t    tester
	port *tap
	self int
	dead bool // closed
}

// newRanks opens n units with an eager limit, 0 for the default.
func newRanks(t tester, w wire, n, eager int) []*rank {
	t.Helper()
	open := w.net()
	ranks := make([]*rank, n)
	for i := range ranks {
		ranks[i] = openRank(t, w, open, i, n, eager)
	}
	introduce(ranks)
	return ranks
}

func introduce(ranks []*rank) {
	for _, r := range ranks {
		for i, peer := range ranks {
			r.nic.SetPeer(i, peer.nic.Addr())
		}
	}
}

func openRank(t tester, w wire, open func(int) (fabric.Port, error), self, n, eager int) *rank {
	t.Helper()
	p, err := open(n)
	if err != nil {
		t.Fatalf("%v", err)
	}
	r := &rank{t: t, self: self, port: &tap{Port: p, wire: w}}
	nic, err := nicrt.Open(nicrt.Config{Port: r.port, Self: self, Peers: n, Memory: 64 << 10})
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(r.close)
	if r.Unit, err = New(nic, eager); err != nil {
		nic.Close()
		t.Fatalf("%v", err)
	}
	return r
}

// close takes the rank off the wire.
func (r *rank) close() {
	if !r.dead && r.Unit != nil {
		r.dead = true
		if err := r.nic.Close(); err != nil {
			r.t.Errorf("close of rank %d: %v", r.self, err)
		}
	}
}

// with calls f with the lock.
func (r *rank) with(f func()) {
	r.nic.Lock()
	defer r.nic.Unlock()
	f()
}

func (r *rank) send(peer int, k tagmatch.Key, buf []byte) *Op {
	op := new(Op)
	r.with(func() { r.Send(op, peer, k, buf) })
	return op
}

func (r *rank) recv(k tagmatch.Key, buf []byte) *Op {
	r.t.Helper()
	op := new(Op)
	var err error
	r.with(func() { err = r.Recv(op, k, buf) })
	if err != nil {
		r.t.Fatalf("recv %v: %v", k, err)
	}
	return op
}

func (r *rank) state(op *Op) (s opState) {
	r.with(func() { s = op.state })
	return s
}

func (r *rank) counts() (s Stats) {
	r.with(func() { s = r.Stats() })
	return s
}

// poll runs the NIC once.
func (r *rank) poll() {
	if !r.dead {
		r.with(r.nic.Poll)
	}
}

const patience = 20 * time.Second

// until polls all ranks until ok, which is called without their locks.
func until(t tester, ranks []*rank, what string, ok func() bool) {
	t.Helper()
	for start := time.Now(); !ok(); {
		for _, r := range ranks {
			r.poll()
		}
		if time.Since(start) > patience {
			t.Fatalf("not within %v: %s", patience, what)
		}
		runtime.Gosched()
	}
}

// finished polls all ranks until the operations are done.
func finished(t tester, ranks []*rank, ops ...*Op) {
	t.Helper()
	for i, op := range ops {
		until(t, ranks, fmt.Sprintf("operation %d of %d is done", i, len(ops)), func() bool { return op.Done.Load() != 0 })
	}
}

// settle polls all ranks for a while in which things may go wrong.
func settle(ranks []*rank) {
	for range 200 {
		for _, r := range ranks {
			r.poll()
		}
	}
}

// wantErr demands an error that is want, or is of the type *want for a pointer to a pointer.
func wantErr(t tester, op *Op, want error) {
	t.Helper()
	if op.Done.Load() == 0 || !errors.Is(op.Err, want) || want == nil && op.Err != nil {
		t.Fatalf("done %d, error %v: want done with %v", op.Done.Load(), op.Err, want)
	}
}

// wantLost demands that the operation has ended because a peer is lost.
func wantLost(t tester, op *Op, peer int) {
	t.Helper()
	var lost *nicrt.PeerError
	if op.Done.Load() == 0 || !errors.As(op.Err, &lost) || lost.Peer != peer {
		t.Fatalf("done %d, error %v: want done with the loss of peer %d", op.Done.Load(), op.Err, peer)
	}
}

// clean demands that a rank holds nothing: no buffer exposed, no packet waiting, no receive, no message.
func (r *rank) clean() {
	r.t.Helper()
	r.with(func() {
		r.t.Helper()
		if err := r.check(); err != nil {
			r.t.Errorf("rank %d: %v", r.self, err)
		}
		for peer := range r.out.queues {
			if n := len(r.out.queues[peer].items); n > 0 {
				r.t.Errorf("rank %d: %d items wait for peer %d", r.self, n, peer)
			}
		}
		if receives, messages := r.match.Len(); receives+messages > 0 {
			r.t.Errorf("rank %d: %d receives and %d messages are left", r.self, receives, messages)
		}
	})
	if n := r.port.exposed.Load(); n != 0 {
		r.t.Errorf("rank %d: %d buffers are exposed", r.self, n)
	}
}

// pattern is n bytes that depend on the seed and repeat themselves only after 64 KiB.
func pattern(n int, seed uint64) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i + i>>8*37 + int(seed)*101)
	}
	return b
}

func wantBytes(t tester, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, %.20x…: want %d, %.20x…", len(got), got, len(want), want)
	}
}

// zeros tells whether b was left alone.
func zeros(b []byte) bool { return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1]) }
