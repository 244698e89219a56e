package cm

import (
	"context"
	"errors"
	"testing"
	"time"

	"outboard/verbs"
	"outboard/verbs/fabric"
	"outboard/verbs/fabric/faulty"
	"outboard/verbs/fabric/inproc"
	"outboard/verbs/fabric/shm"
)

// A wire is what the tests run over.
type wire struct {
	name    string
	open    func(testing.TB) fabric.Port
	options verbs.Options
}

var testSwitch = inproc.New()

func openInproc(t testing.TB) fabric.Port {
	p, err := testSwitch.Open(inproc.Options{})
	must(t, err)
	return p
}

func openShm(t testing.TB) fabric.Port {
	p, err := shm.Open(shm.Options{})
	must(t, err)
	return p
}

// lossy makes a port lose, repeat and delay what it sends.
func lossy(open func(testing.TB) fabric.Port, o faulty.Options) func(testing.TB) fabric.Port {
	return func(t testing.TB) fabric.Port {
		p, err := faulty.Wrap(open(t), o)
		must(t, err)
		return p
	}
}

var bad = faulty.Options{Seed: 11, Drop: 0.2, Duplicate: 0.2, Reorder: 0.1, Delay: 0.1, Corrupt: 0.05, DelayBy: 5 * time.Millisecond}

var wires = []wire{
	{name: "inproc", open: openInproc},
	{name: "shm", open: openShm},
	{name: "packets", open: openShm, options: verbs.Options{Packets: true}},
	{name: "lossy inproc", open: lossy(openInproc, bad)},
	{name: "lossy shm", open: lossy(openShm, bad)},
}

func eachWire(t *testing.T, f func(*testing.T, wire)) {
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) { f(t, w) })
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A node is a NIC with what queue pairs need.
type node struct {
	dev *verbs.Context
	pd  *verbs.PD
	cq  *verbs.CQ
}

func newNode(t testing.TB, w wire) *node {
	t.Helper()
	dev, err := verbs.OpenWith(w.open(t), w.options)
	must(t, err)
	t.Cleanup(func() { dev.Close() })
	n := &node{dev: dev}
	n.pd, err = dev.AllocPD()
	must(t, err)
	n.cq, err = dev.CreateCQ(1024, nil)
	must(t, err)
	return n
}

// params make a queue pair on the node.
func (n *node) params() Params {
	return Params{PD: n.pd, Init: verbs.QPInit{SendCQ: n.cq, RecvCQ: n.cq, Cap: verbs.QPCap{SendWR: 16, RecvWR: 16, SendSGE: 1, RecvSGE: 1, Inline: 64}}}
}

// wait returns the next completion.
func (n *node) wait(t testing.TB) verbs.WC {
	t.Helper()
	var wc [1]verbs.WC
	_, err := n.cq.Wait(soon(t), wc[:])
	must(t, err)
	return wc[0]
}

// soon is a context for what must not take long.
func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func listen(t testing.TB, n *node, address string) *Listener {
	t.Helper()
	l, err := Listen(n.dev, address)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// local listens at the node's own NIC only.
func local(t testing.TB, n *node) *Listener { return listen(t, n, At(n.dev.Addr(), 0)) }

// connect connects two nodes through a listener of the second.
func connect(t testing.TB, a, b *node, l *Listener) (ca, cb *Conn) {
	t.Helper()
	type result struct {
		c   *Conn
		err error
	}
	accepted := make(chan result, 1)
	go func() {
		r, err := l.Accept(soon(t))
		if err != nil {
			accepted <- result{nil, err}
			return
		}
		c, err := r.Accept(soon(t), b.params())
		accepted <- result{c, err}
	}()
	ca, err := Dial(soon(t), a.dev, l.Addr(), a.params())
	got := <-accepted
	must(t, errors.Join(err, got.err))
	t.Cleanup(func() { ca.Close(); got.c.Close() })
	return ca, got.c
}

// speak sends a message one way and checks that it arrives.
func speak(t testing.TB, from, to *node, cf, ct *Conn, text string) {
	t.Helper()
	box := make([]byte, 64)
	mr, err := to.dev.RegMR(to.pd, box, verbs.LocalWrite)
	must(t, err)
	must(t, ct.QP().PostRecv(verbs.RecvWR{ID: 1, SG: []verbs.SGE{{Buf: box, LKey: mr.LKey()}}}))
	must(t, cf.QP().PostSend(verbs.SendWR{ID: 2, Opcode: verbs.Send, Flags: verbs.Signaled | verbs.Inline, SG: []verbs.SGE{{Buf: []byte(text)}}}))
	if wc := to.wait(t); wc.ID != 1 || wc.Status != verbs.Success || string(box[:wc.Bytes]) != text {
		t.Fatalf("received %+v %q, want %q", wc, box[:wc.Bytes], text)
	}
	if wc := from.wait(t); wc.ID != 2 || wc.Status != verbs.Success {
		t.Fatalf("sent with %+v", wc)
	}
	must(t, mr.Dereg())
}

// next returns the next event.
func next(t testing.TB, c *Conn) Event {
	t.Helper()
	select {
	case ev := <-c.Events():
		return ev
	case <-time.After(20 * time.Second):
		t.Fatal("no event")
		return Event{}
	}
}

func wantEvent(t testing.TB, c *Conn, want EventType) Event {
	t.Helper()
	ev := next(t, c)
	if ev.Type != want {
		t.Fatalf("event %v (%v), want %v", ev.Type, ev.Err, want)
	}
	return ev
}

func qpState(c *Conn) verbs.State {
	a, _ := c.QP().Query()
	return a.State
}
