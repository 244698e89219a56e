package unit

import (
	"errors"
	"testing"

	"outboard/nicrt"
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

func TestFailContext(t *testing.T) {
	onWires(t, func(t *testing.T, w wire) {
		k := tagmatch.Key{Ctx: 3, Source: 0, Tag: 1}
		other := tagmatch.Key{Ctx: 3 + 4096, Source: 0, Tag: 1} // looks like k's at first sight, see contexts
		ranks := connected(t, w)
		t.Run("at the receiver", func(t *testing.T) {
			s, kept := requested(t, ranks, k), requested(t, ranks, other)
			r := ranks[1].recv(tagmatch.Key{Ctx: 3, Source: -1, Tag: 2}, make([]byte, 8))
			ranks[1].with(func() { ranks[1].FailContext(3, errFailed) })
			wantErr(t, r, errFailed)
			finished(t, ranks, s)
			wantErr(t, s, ErrRefused)
			wantErr(t, s, nicrt.ErrAborted)

			late := ranks[0].send(1, k, make([]byte, long))
			finished(t, ranks, late)
			wantErr(t, late, ErrRefused)
			short := ranks[0].send(1, k, make([]byte, 1))
			finished(t, ranks, short)
			wantErr(t, short, nil) // what has gone with its first packet has gone
			r = ranks[1].recv(k, make([]byte, 8))
			wantErr(t, r, errFailed)
			answer := ranks[1].send(0, k, make([]byte, long))
			wantErr(t, answer, errFailed)

			r = ranks[1].recv(other, make([]byte, long))
			finished(t, ranks, r, kept)
			wantErr(t, r, nil)
			wantErr(t, kept, nil)
		})
		t.Run("at the sender", func(t *testing.T) {
			k.Ctx = 4
			s, in := requested(t, ranks, k), make([]byte, long)
			ranks[0].with(func() { ranks[0].FailContext(4, nil) })
			wantErr(t, s, errEnded)
			r := ranks[1].recv(k, in)
			finished(t, ranks, r)
			wantErr(t, r, nil)
			wantBytes(t, in, pattern(long, 1))
			stillDone(t, ranks, s)
		})
		t.Run("at the sender while the receiver reads", func(t *testing.T) {
			if !w.fenced {
				return // a read takes no time
			}
			k.Ctx = 5
			s, in := requested(t, ranks, k), make([]byte, long)
			r := reads(t, ranks, k, in)
			ranks[0].FailContext(5, errFailed)
			ranks[0].nic.Unlock()
			wantErr(t, s, errFailed)
			finished(t, ranks, r)
			wantErr(t, r, nil)
			wantBytes(t, in, pattern(long, 1))
			stillDone(t, ranks, s, r)
		})
		t.Run("at the receiver while it reads", func(t *testing.T) {
			if !w.fenced {
				return
			}
			k.Ctx = 6
			s, in := requested(t, ranks, k), make([]byte, long)
			r := reads(t, ranks, k, in)
			ranks[1].with(func() { ranks[1].FailContext(6, errFailed) })
			ranks[0].nic.Unlock()
			finished(t, ranks, r, s)
			wantErr(t, r, nil) // it had matched
			wantErr(t, s, nil)
			wantBytes(t, in, pattern(long, 1))
		})
		settle(ranks)
		for _, r := range ranks {
			r.clean()
		}
	})
}

func TestAbandon(t *testing.T) {
	k := tagmatch.Key{Source: 0, Tag: 1}
	abandon := func(r *rank, op *Op) (ok bool) {
		r.with(func() { ok = r.Abandon(op) })
		return ok
	}
	onWires(t, func(t *testing.T, w wire) {
		ranks := connected(t, w)
		t.Run("done", func(t *testing.T) {
			s := ranks[0].send(1, k, nil)
			if abandon(ranks[0], s) || abandon(ranks[0], new(Op)) {
				t.Error("what has ended was given up")
			}
			finished(t, ranks, ranks[1].recv(k, nil))
		})
		t.Run("receive", func(t *testing.T) {
			r := ranks[1].recv(k, nil)
			if abandon(ranks[1], r) {
				t.Error("a receive was given up")
			}
			finished(t, ranks, ranks[0].send(1, k, nil), r)
		})
		t.Run("waiting", func(t *testing.T) {
			s, in := requested(t, ranks, k), make([]byte, long)
			if !abandon(ranks[0], s) || abandon(ranks[0], s) {
				t.Error("cannot be given up, or can be twice")
			}
			again := ranks[0].send(1, tagmatch.Key{Source: 0, Tag: 2}, pattern(long, 2)) // while the old is read
			r := ranks[1].recv(k, in)
			finished(t, ranks, r)
			wantBytes(t, in, pattern(long, 1))
			finished(t, ranks, ranks[1].recv(tagmatch.Key{Source: 0, Tag: 2}, in), again)
			wantBytes(t, in, pattern(long, 2))
			stillDone(t, ranks, s)
		})
		t.Run("while the receiver reads", func(t *testing.T) {
			if !w.fenced {
				return
			}
			s, in := requested(t, ranks, k), make([]byte, long)
			r := reads(t, ranks, k, in)
			if !ranks[0].Abandon(s) {
				t.Error("cannot be given up")
			}
			ranks[0].nic.Unlock()
			finished(t, ranks, r)
			wantBytes(t, in, pattern(long, 1))
			stillDone(t, ranks, s)
		})
		t.Run("op used again", func(t *testing.T) {
			s := requested(t, ranks, k)
			abandon(ranks[0], s)
			ranks[0].with(func() { ranks[0].Send(s, 1, tagmatch.Key{Source: 0, Tag: 3}, make([]byte, long)) })
			finished(t, ranks, ranks[1].recv(k, make([]byte, long)))
			settle(ranks)
			if s.Done.Load() != 0 {
				t.Fatal("the answer to the first message has ended the second")
			}
			finished(t, ranks, ranks[1].recv(tagmatch.Key{Source: 0, Tag: 3}, make([]byte, long)), s)
		})
		settle(ranks)
		for _, r := range ranks {
			r.clean()
		}
	})
}

// A receive cannot be cancelled once it has matched, nor a send.
func TestCancel(t *testing.T) {
	ranks := connected(t, fenced)
	k := tagmatch.Key{Source: 0, Tag: 1}
	cancel := func(r *rank, op *Op) (ok bool) {
		r.with(func() { ok = r.Cancel(op, errCancelled) })
		return ok
	}
	s := requested(t, ranks, k)
	if cancel(ranks[0], s) || cancel(ranks[0], new(Op)) {
		t.Error("a send was cancelled")
	}
	r := reads(t, ranks, k, make([]byte, long))
	if cancel(ranks[1], r) {
		t.Error("a receive that has matched was cancelled")
	}
	ranks[0].nic.Unlock()
	finished(t, ranks, r, s)
	if wantErr(t, r, nil); cancel(ranks[1], r) {
		t.Error("a receive that has ended was cancelled")
	}
	posted := ranks[1].recv(k, make([]byte, 1))
	if !cancel(ranks[1], posted) || cancel(ranks[1], posted) {
		t.Error("a posted receive cannot be cancelled, or can be twice")
	}
	wantErr(t, posted, errCancelled)
	exchange(t, ranks, 0, 1, 1, true)
	for _, r := range ranks {
		r.clean()
	}
}
