package fabrictest

import (
	"errors"
	"slices"
	"testing"

	"outboard/verbs/fabric"
)

// A node is the test's handle of an agent and the port that it owns now.
type node struct {
	t    *testing.T
	name string
	do   func(command) result
	addr string
	attr fabric.Attr
}

// newNode gives the agent behind do a new port, which is closed at the end of the test.
func newNode(t *testing.T, name string, do func(command) result, o Options) *node {
	t.Helper()
	n := &node{t: t, name: name, do: do}
	r := n.must(command{Do: "new", Options: o})
	n.addr, n.attr = r.Text, r.Attr
	t.Cleanup(func() { n.try(command{Do: "closeport"}) })
	return n
}

// try carries out a command that may fail.
func (n *node) try(c command) (result, error) {
	r := n.do(c)
	if r.Err.Text != "" {
		return r, r.Err
	}
	return r, nil
}

// must carries out a command that may not.
func (n *node) must(c command) result {
	n.t.Helper()
	r, err := n.try(c)
	if err != nil {
		n.t.Fatalf("%s: %s: %v", n.name, c.Do, err)
	}
	return r
}

// wantErr carries out a command that must fail with want.
func (n *node) wantErr(want error, c command) {
	n.t.Helper()
	if _, err := n.try(c); !errors.Is(err, want) {
		n.t.Fatalf("%s: %s: error %v, want %v", n.name, c.Do, err, want)
	}
}

func (n *node) open(ep int, cookie uint32) int {
	n.t.Helper()
	return n.must(command{Do: "open", EP: ep, Cookie: cookie}).N
}

func (n *node) connect(ep int, peer *node, peerEP int) {
	n.t.Helper()
	n.must(command{Do: "connect", EP: ep, Addr: peer.addr, PeerEP: peerEP})
}

func (n *node) closeConn(ep int) {
	n.t.Helper()
	n.must(command{Do: "closeconn", EP: ep})
}

func (n *node) closePort() {
	n.t.Helper()
	n.must(command{Do: "closeport"})
}

// send sends packets until one is refused and returns how many it sent.
func (n *node) send(ep int, ps ...packet) int {
	n.t.Helper()
	return n.must(command{Do: "send", EP: ep, Packets: ps}).N
}

// sendAll sends packets that there must be room for.
func (n *node) sendAll(ep int, ps ...packet) {
	n.t.Helper()
	if got := n.send(ep, ps...); got != len(ps) {
		n.t.Fatalf("%s: sent %d packets, want %d", n.name, got, len(ps))
	}
}

func (n *node) poll(r rule) result {
	n.t.Helper()
	return n.must(command{Do: "poll", Rule: r})
}

// quiet checks that nothing comes.
func (n *node) quiet() {
	n.t.Helper()
	for range 3 {
		if r := n.poll(rule{}); len(r.Events) > 0 {
			n.t.Fatalf("%s: %+v came, want nothing", n.name, r.Events[0])
		}
	}
}

// counts returns Sent and Acked.
func (n *node) counts(ep int) (sent, acked int) {
	n.t.Helper()
	r := n.must(command{Do: "counts", EP: ep})
	return int(r.X), r.N
}

// receive polls until so many packets have come, and checks that they are ps in this order, on the
// Conn with the cookie, and that nothing else came.
func (n *node) receive(cookie uint32, ps ...packet) {
	n.t.Helper()
	r := n.poll(rule{Packets: len(ps)})
	n.compare(r.Events, cookie, ps)
}

// wantDown polls until a Down comes and checks that it is for the cookie and is err.
func (n *node) wantDown(cookie uint32, err error) {
	n.t.Helper()
	r := n.poll(rule{Events: 1})
	n.compareDown(r.Events, cookie, err)
}

func (n *node) compareDown(es []event, cookie uint32, err error) {
	n.t.Helper()
	if len(es) != 1 || es[0].Kind != "down" || es[0].Cookie != cookie || !es[0].Err.Is(err) {
		n.t.Fatalf("%s: events %+v, want one down of %d: %v", n.name, es, cookie, err)
	}
}

// compare checks that the events are the packets.
func (n *node) compare(es []event, cookie uint32, ps []packet) {
	n.t.Helper()
	if len(es) != len(ps) {
		n.t.Fatalf("%s: %d events, want %d packets: %+v", n.name, len(es), len(ps), es[:min(len(es), 3)])
	}
	for i, e := range es {
		if want := ps[i].arrival(cookie); !same(e, want) {
			n.t.Fatalf("%s: event %d is\n%+v, want\n%+v", n.name, i, e, want)
		}
	}
}

func same(a, b event) bool {
	return a.Kind == b.Kind && a.Cookie == b.Cookie && a.Header == b.Header && a.Len == b.Len &&
		a.Sum == b.Sum && a.EP == b.EP && a.Err.Text == b.Err.Text && slices.Equal(a.Err.Kinds, b.Err.Kinds)
}
