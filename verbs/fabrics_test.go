package verbs_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"outboard/verbs"
	"outboard/verbs/fabric"
	"outboard/verbs/fabric/faulty"
	"outboard/verbs/fabric/inproc"
)

// A steppedPort is a port whose peers' memory is reached by single steps only.
type steppedPort struct{ fabric.Port }

func (p steppedPort) Open(ep int, cookie uint32) (fabric.Conn, error) {
	c, err := p.Port.Open(ep, cookie)
	if err != nil {
		return nil, err
	}
	return steppedConn{c}, nil
}

type steppedConn struct{ fabric.Conn }

func (c steppedConn) Direct() fabric.Direct {
	if d := c.Conn.Direct(); d != nil {
		return struct{ fabric.Direct }{d}
	}
	return nil
}

// A fencedPort is a port whose peers' memory cannot be reached directly: there is no fabric.Direct, or, with
// refuse, one that refuses, as cross-memory attach does where the kernel forbids it.
type fencedPort struct {
	fabric.Port
	refuse bool
}

func (p fencedPort) Open(ep int, cookie uint32) (fabric.Conn, error) {
	c, err := p.Port.Open(ep, cookie)
	if err != nil {
		return nil, err
	}
	return fencedConn{c, p.refuse}, nil
}

type fencedConn struct {
	fabric.Conn
	refuse bool
}

func (c fencedConn) Direct() fabric.Direct {
	if d := c.Conn.Direct(); c.refuse && d != nil {
		return refusing{d}
	}
	return nil
}

type refusing struct{ fabric.Direct }

var errForbidden = fmt.Errorf("%w: by the test", fabric.ErrRefused)

func (refusing) ReadAt(*fabric.Region, []byte, uint64) error  { return errForbidden }
func (refusing) WriteAt(*fabric.Region, []byte, uint64) error { return errForbidden }
func (refusing) FetchAdd(*fabric.Region, uint64, uint64) (uint64, error) {
	return 0, errForbidden
}
func (refusing) CompareSwap(*fabric.Region, uint64, uint64, uint64) (uint64, error) {
	return 0, errForbidden
}

func openTight(t testing.TB) fabric.Port {
	t.Helper()
	p, err := testSwitch.Open(inproc.Options{Slots: 8, Bulk: 4 << 10, MTU: 1 << 10})
	must(t, err)
	return fencedPort{Port: p}
}

var lossySeed atomic.Uint64

// openLossy is a wire that loses, damages, repeats and reorders packets.
func openLossy(t testing.TB) fabric.Port {
	t.Helper()
	p, err := faulty.Wrap(openInproc(t), faulty.Options{Seed: lossySeed.Add(1), Drop: 0.03, Duplicate: 0.03, Reorder: 0.03, Delay: 0.01, Corrupt: 0.02})
	must(t, err)
	return p
}

// allFabrics are the wires and the ways to the peer's memory that the suite runs over.
var allFabrics = append([]fabricUnder{
	{name: "shm device memory", open: openShm, device: true},
	{name: "inproc device memory", open: openInproc, device: true},
	{name: "packets", open: func(t testing.TB) fabric.Port { return fencedPort{Port: openInproc(t)} }},
	{name: "shm packets", open: func(t testing.TB) fabric.Port { return fencedPort{Port: openShm(t)} }},
	{name: "refused", open: func(t testing.TB) fabric.Port { return fencedPort{openInproc(t), true} }},
	{name: "tight ring", open: openTight},
	{name: "IBTA packets", open: openInproc, opts: verbs.Options{Packets: true}},
	{name: "shm IBTA packets", open: openShm, opts: verbs.Options{Packets: true}, device: true},
	{name: "lossy", open: openLossy, lossy: true},
	{name: "single steps", open: func(t testing.TB) fabric.Port { return steppedPort{openShm(t)} }, device: true},
}, plainFabrics...)

// eachReliable leaves out the wires on which a NIC-resident runtime cannot work: those with IBTA packets.
func eachReliable(t *testing.T, f func(t *testing.T, f fabricUnder)) {
	for _, under := range allFabrics {
		if !under.lossy && !under.opts.Packets {
			t.Run(under.name, func(t *testing.T) { f(t, under) })
		}
	}
}

// eachWhole leaves out the wires that lose packets: there a last message, or a refusal, which is not said twice, can be lost.
func eachWhole(t *testing.T, f func(t *testing.T, f fabricUnder)) {
	for _, under := range allFabrics {
		if !under.lossy {
			t.Run(under.name, func(t *testing.T) { f(t, under) })
		}
	}
}

func eachFabric(t *testing.T, f func(t *testing.T, f fabricUnder)) {
	for _, under := range allFabrics {
		t.Run(under.name, func(t *testing.T) { f(t, under) })
	}
}
