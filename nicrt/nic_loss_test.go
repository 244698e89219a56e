package nicrt

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestPeerLossOnNIC closes one of three NICs while a schedule, a message and posts depend on it. Groups
// without it go on.
func TestPeerLossOnNIC(t *testing.T) {
	overFabrics(t, func(t *testing.T, f testFabric) {
		nics := openMesh(t, f, 3)
		n := nics[0]
		var heard []int
		n.OnDown(func(peer int, err error) {
			heard = append(heard, peer)
			if !errors.As(err, new(*PeerError)) {
				t.Errorf("OnDown with %v", err)
			}
		})
		gate := make(chan struct{})
		in := install(t, n, 9, Program{Name: "half", Budget: time.Minute, Payload: func(*Task) Verdict { <-gate; return Process },
			Completion: func(t *Task) {
				if t.Failed() && !t.Last() {
					t.Notify(7)
				}
			}})
		all, pair := meshGroup(t, nics, 5), meshGroup(t, nics[:2], 6)
		rng := rand.New(rand.NewPCG(1, 1))
		waits := newCall(t, collectiveCalled("chain"), 3, 52, 1, rng)
		for m := range 3 {
			if i := 2 - m; i != 2 { // NIC 2 does not take part
				locked(nics[i], func() {
					if err := all[m].Start(waits.comp[m], waits.in[m], waits.out[m], waits.coll.kernel, &waits.done[m]); err != nil {
						t.Fatal(err)
					}
				})
			}
		}
		// Of this message only the beginning arrives: the handlers hold up the rest until its sender is gone.
		locked(nics[2], func() {
			sendHalf(t, nics[2], 0, Header{Program: 9})
		})
		runUntil(t, nics[:1], "the first packet", func() bool { return in.Account().Packets > 0 })
		nics[2].Close()
		close(gate)
		for m := 1; m < 3; m++ {
			var run *RunError
			if err := ends(t, nics[2-m], &waits.done[m]); !errors.As(err, &run) {
				t.Errorf("member %d: %v, want a *RunError", m, err)
			}
		}
		kinds := map[EventKind]uint64{}
		for range 2 {
			e := event(t, n, in)
			kinds[e.Kind] = e.Value
		}
		if _, lost := kinds[EventPeerLost]; !lost || kinds[EventNotify] != 7 {
			t.Errorf("events %v, want a lost peer and 7 from the completion handler", kinds)
		}
		locked(n, func() {
			if !slices.Equal(heard, []int{2}) {
				t.Errorf("OnDown heard of %v, want 2 once", heard)
			}
			var lost *PeerError
			if !errors.As(n.PeerErr(2), &lost) || lost.Peer != 2 || n.PeerErr(1) != nil {
				t.Errorf("errors of peers: %v, %v", n.PeerErr(2), n.PeerErr(1))
			}
			if n.Send(2, &Header{}, nil) {
				t.Error("a lost peer took a message")
			}
			if _, err := n.Read(2, make([]byte, 8), 0, 1, nil, 0); !errors.As(err, &lost) {
				t.Errorf("read from a lost peer: %v", err)
			}
		})
		after := newCall(t, collectiveCalled("chain"), 2, 52, 10, rng)
		startAll(t, nics[:2], pair, after)
		waitAll(t, nics[:2], after)
		after.check(t)
	})
}

// sendHalf begins a message that is longer than what the wire and the NIC at its other end hold.
func sendHalf(t *testing.T, n *NIC, peer int, h Header) {
	t.Helper()
	if err := n.Post(peer, &h, make([]byte, 64<<20), new(Completion)); err != nil {
		t.Fatal(err)
	}
}

// TestLossInTheMiddleOfAHandler reads, in the middle of a message, memory that its sender has not exposed, which ends the connection.
func TestLossInTheMiddleOfAHandler(t *testing.T) {
	overFabrics(t, func(t *testing.T, f testFabric) {
		for _, packets := range []int{1, 3} {
			nics := openMesh(t, f, 2)
			n := nics[1]
			var reads reads
			var order []string
			in := install(t, n, 9, Program{Name: "reader", Resident: true,
				Header: func(t *Task) Verdict {
					if done, err := n.Read(0, make([]byte, 8), 1<<20, 0xabcdef, &reads, 1); done {
						reads.ReadDone(1, err)
					}
					order = append(order, "header")
					return Process
				},
				Payload:    func(*Task) Verdict { order = append(order, "payload"); return Process },
				Completion: func(*Task) { order = append(order, "completion") },
			})
			mustPost(t, nics[0], 1, Header{Program: 9}, make([]byte, (packets-1)*n.EagerMax()+1))
			runUntil(t, nics, "the end of the read", func() bool { return under(n, func() int { return reads.n }) == 1 })
			runUntil(t, nics, "the end of the message", func() bool {
				return under(n, func() bool { return len(order) > 0 && order[len(order)-1] == "completion" })
			})
			locked(n, func() {
				if order[0] != "header" || slices.Index(order, "completion") != len(order)-1 {
					t.Errorf("handlers ran as %v", order)
				}
				if reads.err == nil || n.PeerErr(0) == nil || n.machine.flows.find(0, 0) != noFlow {
					t.Errorf("read %v, peer %v, message in progress %v", reads.err, n.PeerErr(0), n.machine.flows.find(0, 0))
				}
			})
			if in.Err() != nil {
				t.Error(in.Err())
			}
		}
	})
}

// reads is a Reader that counts.
type reads struct {
	n   int
	err error
}

func (r *reads) ReadDone(_ uint64, err error) { r.n, r.err = r.n+1, err }

// TestCloseWithWorkPending closes a NIC in the middle of everything; all that waits ends.
func TestCloseWithWorkPending(t *testing.T) {
	overFabrics(t, func(t *testing.T, f testFabric) {
		nics := openMesh(t, f, 2)
		n := nics[0]
		refuses := true
		install(t, nics[1], 9, Program{Name: "refuses", Resident: true, Header: func(*Task) Verdict {
			if refuses {
				return Retry
			}
			return Drop
		}})
		gate, began := make(chan struct{}), make(chan struct{})
		install(t, n, 9, Program{Name: "stuck", Header: func(t *Task) Verdict { close(began); <-gate; t.Notify(1); return Process }})
		mustPost(t, n, 0, Header{Program: 9}, nil)
		runUntil(t, nics[:1], "the handler", func() bool {
			select {
			case <-began:
				return true
			default:
				return false
			}
		})
		groups := meshGroup(t, nics, 5)
		call := newCall(t, collectiveCalled("chain"), 2, 300_000, 3, rand.New(rand.NewPCG(1, 2)))
		var counted Completion
		locked(n, func() {
			if err := groups[1].Repeat(call.comp[1], call.in[1], call.out[1], call.coll.kernel, 3, &call.done[1]); err != nil {
				t.Fatal(err)
			}
			c := mustAlloc(t, n)
			if err := n.AwaitCounter(c, 1, &counted); err != nil {
				t.Fatal(err)
			}
			if err := n.Arm(Triggered{Counter: c, Threshold: 1, Kind: TriggerSend, Peer: 1}); err != nil {
				t.Fatal(err)
			}
		})
		pending := []*Completion{&call.done[1], &counted}
		for range sendDepth + 8 {
			pending = append(pending, mustPost(t, n, 1, Header{Program: 9}, make([]byte, 1<<20)))
		}
		var wg sync.WaitGroup
		for _, c := range pending {
			wg.Go(func() {
				if err := n.WaitRun(context.Background(), c); err != nil && !errors.Is(err, ErrClosed) {
					t.Errorf("wait: %v", err)
				}
			})
		}
		time.Sleep(3 * time.Millisecond) // they sleep
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		for i, c := range pending {
			if !c.Done() || !errors.Is(c.Err(), ErrClosed) {
				t.Errorf("completion %d: done %v, error %v", i, c.Done(), c.Err())
			}
		}
		close(gate)
		locked(nics[1], func() { refuses = false }) // a peer goes when the last of its packets is taken
		runUntil(t, nics[1:], "the loss of the peer", func() bool {
			return under(nics[1], func() error { return nics[1].PeerErr(0) }) != nil
		})
	})
}
