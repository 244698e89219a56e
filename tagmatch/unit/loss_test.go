package unit

import (
	"errors"
	"testing"

	"outboard/tagmatch"
	"outboard/verbs/fabric"
)

const long = 20000 // bytes: a read by packets takes several

// connected are two ranks that have exchanged a message in both directions.
func connected(t tester, w wire) (ranks []*rank) {
	t.Helper()
	ranks = newRanks(t, w, 2, testEager)
	exchange(t, ranks, 0, 1, 1, true)
	exchange(t, ranks, 1, 0, 1, true)
	return ranks
}

// stillDone settles, and demands that operations which are over do not end once more.
func stillDone(t tester, ranks []*rank, ops ...*Op) {
	t.Helper()
	for _, op := range ops {
		op.Done.Store(0)
	}
	settle(ranks)
	for i, op := range ops {
		if op.Done.Load() != 0 {
			t.Errorf("operation %d has ended twice", i)
		}
	}
}

// requested has rank 0 send a long message that rank 1 keeps.
func requested(t tester, ranks []*rank, k tagmatch.Key) *Op {
	t.Helper()
	had := ranks[1].counts().Rendezvous
	s := ranks[0].send(1, k, pattern(long, 1))
	until(t, ranks, "request is there", func() bool { return ranks[1].counts().Rendezvous > had })
	if st := ranks[0].state(s); st != waiting {
		t.Fatalf("send in state %d, want %d", st, waiting)
	}
	return s
}

// reads has rank 1 receive what rank 0 has requested, and stops it while the data is being read. The wire is fenced.
// It holds rank 0's lock: nobody answers.
func reads(t tester, ranks []*rank, k tagmatch.Key, in []byte) *Op {
	t.Helper()
	ranks[0].nic.Lock()
	r := ranks[1].recv(k, in)
	for range 10 {
		ranks[1].poll()
	}
	if st := ranks[1].state(r); st != reading {
		t.Fatalf("receive in state %d, want %d", st, reading)
	}
	return r
}

// The receiver is closed in every state that a send can be in.
func TestReceiverCloses(t *testing.T) {
	k := tagmatch.Key{Source: 0, Tag: 1}
	onWires(t, func(t *testing.T, w wire) {
		t.Run("before the first message", func(t *testing.T) {
			ranks := newRanks(t, w, 2, testEager)
			ranks[1].close()
			for _, n := range []int{0, testEager + 1, 1} {
				s := ranks[0].send(1, k, make([]byte, n))
				wantLost(t, s, 1)
				stillDone(t, ranks, s)
			}
			ranks[0].clean()
		})
		t.Run("queued", func(t *testing.T) {
			ranks := connected(t, w)
			ranks[0].port.full.Store(true)
			var ops []*Op
			for i := range 20 {
				ops = append(ops, ranks[0].send(1, k, make([]byte, testEager+i%2)))
			}
			ranks[1].close()
			finished(t, ranks, ops...)
			for _, s := range ops {
				wantLost(t, s, 1)
			}
			ranks[0].port.full.Store(false)
			stillDone(t, ranks, ops...)
			ranks[0].clean()
		})
		t.Run("request kept", func(t *testing.T) {
			ranks := connected(t, w)
			s := requested(t, ranks, k)
			ranks[1].close()
			finished(t, ranks, s)
			wantLost(t, s, 1)
			stillDone(t, ranks, s)
			ranks[0].clean()
		})
		t.Run("given up", func(t *testing.T) {
			ranks := connected(t, w)
			a, f := requested(t, ranks, k), requested(t, ranks, tagmatch.Key{Ctx: 7})
			ranks[0].with(func() {
				if !ranks[0].Abandon(a) {
					t.Error("cannot be given up")
				}
				ranks[0].FailContext(7, errFailed)
			})
			wantErr(t, f, errFailed)
			if n := ranks[0].port.exposed.Load(); n != 2 {
				t.Errorf("%d buffers are exposed to a peer that may read them, want 2", n)
			}
			ranks[1].close()
			until(t, ranks, "nothing is exposed", func() bool { return ranks[0].port.exposed.Load() == 0 })
			stillDone(t, ranks, a, f)
			ranks[0].clean()
		})
		if w.fenced {
			t.Run("reading", func(t *testing.T) {
				ranks := connected(t, w)
				s := requested(t, ranks, k)
				reads(t, ranks, k, make([]byte, long))
				ranks[0].nic.Unlock()
				ranks[1].close()
				finished(t, ranks, s)
				wantLost(t, s, 1)
				stillDone(t, ranks, s)
				ranks[0].clean()
			})
		}
	})
}

// The sender is closed in every state that a receive can be in.
func TestSenderCloses(t *testing.T) {
	k := tagmatch.Key{Source: 0, Tag: 1}
	onWires(t, func(t *testing.T, w wire) {
		t.Run("posted", func(t *testing.T) {
			ranks := connected(t, w)
			r := ranks[1].recv(k, make([]byte, long))
			ranks[0].close()
			until(t, ranks, "the loss is noticed", func() bool { return ranks[1].lost(0) })
			if r.Done.Load() != 0 {
				t.Error("a receive that another could still serve has ended")
			}
			ranks[1].with(func() {
				if !ranks[1].Cancel(r, errCancelled) || ranks[1].Cancel(r, errCancelled) {
					t.Error("cannot be cancelled, or can be twice")
				}
			})
			wantErr(t, r, errCancelled)
			ranks[1].clean()
		})
		t.Run("kept", func(t *testing.T) {
			ranks := connected(t, w)
			had := ranks[1].counts().Unexpected
			ranks[0].send(1, k, pattern(10, 1))
			requested(t, ranks, k)
			until(t, ranks, "both are there", func() bool { return ranks[1].counts().Unexpected == had+2 })
			ranks[0].close()
			until(t, ranks, "the loss is noticed", func() bool { return ranks[1].lost(0) })
			in := make([]byte, long)
			short := ranks[1].recv(k, in)
			wantErr(t, short, nil)
			wantBytes(t, in[:10], pattern(10, 1))
			r := ranks[1].recv(k, in)
			finished(t, ranks, r)
			wantLost(t, r, 0)
			stillDone(t, ranks, r)
			ranks[1].clean()
		})
		if w.fenced {
			t.Run("reading", func(t *testing.T) {
				ranks := connected(t, w)
				requested(t, ranks, k)
				r := reads(t, ranks, k, make([]byte, long))
				ranks[0].nic.Unlock()
				ranks[0].close()
				finished(t, ranks, r)
				if r.Err != nil { // it may have answered in time
					wantLost(t, r, 0)
				}
				stillDone(t, ranks, r)
				ranks[1].clean()
			})
		}
		t.Run("answer queued", func(t *testing.T) {
			ranks := connected(t, w)
			requested(t, ranks, k)
			r := ranks[1].recv(k, make([]byte, 0)) // needs no read
			wantErr(t, r, ErrTruncate)
			ranks[1].port.full.Store(true)
			requested(t, ranks, k)
			ranks[1].recv(k, nil)
			ranks[0].close()
			until(t, ranks, "the loss is noticed", func() bool { return ranks[1].lost(0) })
			ranks[1].port.full.Store(false)
			settle(ranks)
			ranks[1].clean()
		})
	})
}

func (r *rank) lost(peer int) (lost bool) {
	r.with(func() { lost = r.nic.PeerErr(peer) != nil })
	return lost
}

// A peer that cannot be reached is found out in the middle of a send, or later, when its address comes.
func TestUnreachable(t *testing.T) {
	k := tagmatch.Key{}
	for _, n := range []int{1, testEager + 1} {
		t.Run("at the send", func(t *testing.T) {
			ranks := newRanks(t, plain, 2, testEager)
			ranks[0].port.bad = fabric.ErrUnreachable
			s := ranks[0].send(1, k, make([]byte, n))
			wantLost(t, s, 1)
			wantErr(t, s, fabric.ErrUnreachable)
			stillDone(t, ranks, s)
			ranks[0].clean()
		})
		t.Run("when the address comes", func(t *testing.T) {
			open := plain.net()
			ranks := []*rank{openRank(t, plain, open, 0, 2, testEager), openRank(t, plain, open, 1, 2, testEager)}
			ranks[0].port.bad = fabric.ErrUnreachable
			var ops []*Op
			for range 5 {
				ops = append(ops, ranks[0].send(1, k, make([]byte, n)))
			}
			settle(ranks)
			if ops[0].Done.Load() != 0 {
				t.Fatal("done without an address to send to")
			}
			introduce(ranks)
			finished(t, ranks, ops...)
			for _, s := range ops {
				wantLost(t, s, 1)
			}
			stillDone(t, ranks, ops...)
			ranks[0].clean()
		})
		t.Run("address late", func(t *testing.T) {
			open := plain.net()
			ranks := []*rank{openRank(t, plain, open, 0, 2, testEager), openRank(t, plain, open, 1, 2, testEager)}
			s := ranks[0].send(1, k, pattern(n, 1))
			settle(ranks)
			introduce(ranks)
			in := make([]byte, n)
			r := ranks[1].recv(k, in)
			finished(t, ranks, s, r)
			wantErr(t, s, nil)
			wantBytes(t, in, pattern(n, 1))
		})
	}
}

// A read that the NIC cannot do fails the receive, and the sender is told.
func TestReadFails(t *testing.T) {
	ranks := connected(t, plain)
	k := tagmatch.Key{Source: 0, Tag: 1}
	s := requested(t, ranks, k)
	r := reads0(t, ranks, k)
	errRead := errors.New("no read")
	ranks[1].with(func() { ranks[1].readDone(r, errRead) })
	wantErr(t, r, errRead)
	finished(t, ranks, s)
	wantErr(t, s, ErrRefused)
	stillDone(t, ranks, s)
	for _, r := range ranks {
		r.clean()
	}
}

// reads0 makes an op that reads what rank 0 has requested, of which the NIC knows nothing.
func reads0(t tester, ranks []*rank, k tagmatch.Key) *Op {
	t.Helper()
	op := new(Op)
	ranks[1].with(func() {
		op.start(k, make([]byte, long))
		e, ok, _ := ranks[1].match.Probe(k)
		if !ok {
			t.Fatalf("no message")
		}
		ranks[1].match.Extract(e.Handle)
		op.unit, op.peer, op.rts, op.state = ranks[1].Unit, e.Value.peer, e.Value.rts, reading
	})
	return op
}
