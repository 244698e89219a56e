package cm

import (
	"errors"
	"sync"
	"testing"
	"time"

	"outboard/verbs"
)

// TestDisconnect ends connections from either side and from both at once; what is posted is flushed.
func TestDisconnect(t *testing.T) {
	t.Parallel()
	for name, sides := range map[string][]int{"who dialed": {0}, "who listened": {1}, "both": {0, 1}} {
		t.Run(name, func(t *testing.T) {
			eachWire(t, func(t *testing.T, w wire) {
				a, b := newNode(t, w), newNode(t, w)
				l := local(t, b)
				ca, cb := connect(t, a, b, l)
				conns := []*Conn{ca, cb}
				must(t, ca.QP().PostRecv(verbs.RecvWR{ID: 5}))
				must(t, cb.QP().PostRecv(verbs.RecvWR{ID: 5}))
				var done sync.WaitGroup
				for _, side := range sides {
					done.Go(func() {
						if err := conns[side].Disconnect(); err != nil {
							t.Errorf("side %d: %v", side, err)
						}
					})
				}
				done.Wait()
				for side, c := range conns {
					wantEvent(t, c, Established)
					wantEvent(t, c, Disconnected)
					if err := c.Err(); err != nil || qpState(c) != verbs.Err {
						t.Errorf("side %d: %v, queue pair in %v", side, err, qpState(c))
					}
				}
				for _, n := range []*node{a, b} {
					if wc := n.wait(t); wc.ID != 5 || wc.Status != verbs.WRFlushErr {
						t.Errorf("completion %+v, want request 5 flushed", wc)
					}
				}
				must(t, ca.Close())
				must(t, cb.Close())
				if _, open := <-ca.Events(); open { // TIMEWAIT_EXIT may have come before
					if ev, open := <-ca.Events(); open {
						t.Errorf("event %v after Close", ev.Type)
					}
				}
				// The endpoints are free: the next connection is a new one.
				ca, cb = connect(t, a, b, l)
				speak(t, a, b, ca, cb, "again")
			})
		})
	}
}

// TestPeerVanishes has the peer destroy its queue pair, or close its device, without a word.
func TestPeerVanishes(t *testing.T) {
	t.Parallel()
	for name, vanish := range map[string]func(*node, *Conn) error{
		"queue pair": func(_ *node, c *Conn) error { return c.QP().Destroy() },
		"device":     func(n *node, _ *Conn) error { return n.dev.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			eachWire(t, func(t *testing.T, w wire) {
				a, b := newNode(t, w), newNode(t, w)
				ca, cb := connect(t, a, b, local(t, b))
				wantEvent(t, ca, Established)
				wantEvent(t, cb, Established)
				must(t, vanish(b, cb))
				if ev := wantEvent(t, ca, Disconnected); !errors.Is(ev.Err, ErrLost) {
					t.Errorf("disconnected with %v, want ErrLost", ev.Err)
				}
				if name == "device" {
					if ev := wantEvent(t, cb, DeviceRemoval); !errors.Is(ev.Err, verbs.ErrDestroyed) {
						t.Errorf("removed with %v, want ErrDestroyed", ev.Err)
					}
				}
				must(t, ca.Close())
				start := time.Now()
				if err := cb.Close(); err != nil && !errors.Is(err, ErrTimeout) { // nobody answers a queue pair that is gone
					t.Error(err)
				}
				if d := time.Since(start); d > 10*time.Second {
					t.Errorf("Close took %v", d)
				}
			})
		})
	}
}

// TestOwnQueuePair connects a queue pair of the caller's, with receives posted before, which is the caller's still afterwards.
func TestOwnQueuePair(t *testing.T) {
	a, b := newNode(t, wires[1]), newNode(t, wires[1])
	l := local(t, b)
	p := a.params()
	qp, err := a.dev.CreateQP(a.pd, p.Init)
	must(t, err)
	posted := false
	p.QP, p.PD = qp, nil
	p.Prepare = func(q *verbs.QP) error { posted = true; return q.PostRecv(verbs.RecvWR{ID: 77}) }
	accepted := make(chan *Conn)
	go func() {
		defer close(accepted)
		r, err := l.Accept(soon(t))
		if err == nil {
			var c *Conn
			if c, err = r.Accept(soon(t), b.params()); err == nil {
				accepted <- c
			}
		}
		if err != nil {
			t.Error(err)
		}
	}()
	ca, err := Dial(soon(t), a.dev, l.Addr(), p)
	must(t, err)
	cb := <-accepted
	must(t, cb.QP().PostSend(verbs.SendWR{ID: 1, Opcode: verbs.Send, Flags: verbs.Signaled}))
	if wc := a.wait(t); wc.ID != 77 || wc.Status != verbs.Success || !posted || ca.QP() != qp {
		t.Errorf("completion %+v", wc)
	}
	must(t, ca.Close())
	must(t, cb.Close())
	must(t, qp.Destroy())
}

// TestManyConnections makes 200 connections both ways between two NICs at once.
func TestManyConnections(t *testing.T) {
	for _, w := range []wire{wires[0], wires[1]} {
		t.Run(w.name, func(t *testing.T) {
			const each = 100
			nodes := [2]*node{newNode(t, w), newNode(t, w)}
			var all [2][]*Conn
			var mu sync.Mutex
			var done sync.WaitGroup
			keep := func(side int, c *Conn, err error) {
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				all[side] = append(all[side], c)
			}
			for side, n := range nodes {
				l, peer := local(t, n), 1-side
				done.Go(func() {
					for range each {
						r, err := l.Accept(soon(t))
						if err != nil {
							t.Error(err)
							return
						}
						done.Go(func() {
							c, err := r.Accept(soon(t), n.params())
							keep(side, c, err)
						})
					}
				})
				for range each {
					done.Go(func() {
						c, err := Dial(soon(t), nodes[peer].dev, l.Addr(), nodes[peer].params())
						keep(peer, c, err)
					})
				}
			}
			done.Wait()
			qps := [2]map[uint32]*Conn{{}, {}}
			for side, conns := range all {
				for _, c := range conns {
					qps[side][c.QP().QPN()] = c
				}
			}
			if len(qps[0]) != 2*each || len(qps[1]) != 2*each {
				t.Fatalf("%d and %d connections, want %d", len(qps[0]), len(qps[1]), 2*each)
			}
			for qpn, c := range qps[0] {
				at, _ := c.QP().Query()
				back, _ := qps[1][at.DestQPN].QP().Query()
				if back.DestQPN != qpn {
					t.Errorf("queue pair %#x is connected with %#x, which is with %#x", qpn, at.DestQPN, back.DestQPN)
				}
			}
			for _, conns := range all {
				for _, c := range conns {
					done.Go(func() {
						if err := c.Close(); err != nil {
							t.Error(err)
						}
					})
				}
			}
			done.Wait()
		})
	}
}
