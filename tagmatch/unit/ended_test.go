package unit

import (
	"testing"

	"outboard/nicrt"
	"outboard/tagmatch"
)

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
		t.Run("freed", func(t *testing.T) {
			k.Ctx = 8
			s, r := requested(t, ranks, k), ranks[1].recv(tagmatch.Key{Ctx: 8, Source: -1, Tag: 2}, make([]byte, 8))
			ranks[1].with(func() { ranks[1].FreeContext(8, nil) })
			wantErr(t, r, errEnded)
			finished(t, ranks, s)
			wantErr(t, s, ErrRefused)
			s, r = ranks[0].send(1, k, make([]byte, long)), ranks[1].recv(k, make([]byte, long))
			finished(t, ranks, s, r)
			wantErr(t, s, nil)
			wantErr(t, r, nil)
			ranks[1].with(func() { ranks[1].FreeContext(3, errCancelled) })
			wantErr(t, ranks[1].recv(tagmatch.Key{Ctx: 3, Source: 0}, nil), errFailed)
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
