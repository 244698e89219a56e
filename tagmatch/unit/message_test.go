package unit

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"outboard/nicrt"
	"outboard/tagmatch"
)

// lengths are those around every change of protocol, for an eager limit of 100 bytes.
const testEager = 100

var lengths = []int{0, 1, 63, 64, 65, testEager - 1, testEager, testEager + 1, 4000, 1 << 17}

func TestLengths(t *testing.T) {
	for _, early := range []string{"receive first", "message first"} {
		for _, to := range []int{1, 0} {
			t.Run(fmt.Sprintf("%s/to=%d", early, to), func(t *testing.T) {
				onWires(t, func(t *testing.T, w wire) {
					ranks := newRanks(t, w, 2, testEager)
					for _, n := range lengths {
						exchange(t, ranks, 0, to, n, early == "receive first")
					}
					for _, r := range ranks {
						r.clean()
					}
				})
			})
		}
	}
}

// exchange sends n bytes and checks all that comes of it.
func exchange(t tester, ranks []*rank, from, to, n int, receiveFirst bool) {
	t.Helper()
	k := tagmatch.Key{Ctx: 9, Source: int32(from), Tag: 1<<31 - 1}
	data, in := pattern(n, uint64(n)), make([]byte, n+8)
	before := ranks[to].counts()
	var s, r *Op
	if receiveFirst {
		r = ranks[to].recv(tagmatch.Key{Ctx: 9, Source: -1, Tag: -1}, in)
		s = ranks[from].send(to, k, data)
	} else {
		s = ranks[from].send(to, k, data)
		until(t, ranks, "message is there", func() bool {
			c := ranks[to].counts()
			return c.Eager+c.Rendezvous > before.Eager+before.Rendezvous
		})
		if long := n > ranks[from].EagerMax(); long == (s.Done.Load() != 0) {
			t.Fatalf("send of %d bytes: done %d before it is received", n, s.Done.Load())
		}
		r = ranks[to].recv(k, in)
	}
	finished(t, ranks, s, r)
	wantErr(t, s, nil)
	wantErr(t, r, nil)
	wantBytes(t, in[:n], data)
	if r.Len != n || r.Source != k.Source || r.Tag != k.Tag || s.Len != n || !zeros(in[n:]) {
		t.Fatalf("%d bytes: received %d from %d with tag %d, sent %d", n, r.Len, r.Source, r.Tag, s.Len)
	}
}

// A unit without a limit of its own sends by one packet what the NIC can.
func TestEagerLimit(t *testing.T) {
	ranks := newRanks(t, plain, 2, 0)
	limit := ranks[0].EagerMax()
	if limit != ranks[0].nic.EagerMax() {
		t.Fatalf("limit %d, the NIC's is %d", limit, ranks[0].nic.EagerMax())
	}
	for _, n := range []int{limit - 1, limit, limit + 1} {
		exchange(t, ranks, 0, 1, n, false)
	}
	if c := ranks[1].counts(); c.Eager != 2 || c.Rendezvous != 1 {
		t.Errorf("%d messages came eagerly, %d by rendezvous: want 2, 1", c.Eager, c.Rendezvous)
	}
	for _, bad := range []int{-1, limit + 1} {
		_, err := New(ranks[0].nic, bad)
		var out *RangeError
		if !errors.As(err, &out) || out.Value != bad || out.Max != limit {
			t.Errorf("limit %d: error %v", bad, err)
		}
	}
	if _, err := New(ranks[0].nic, 0); err == nil {
		t.Error("two units on one NIC")
	}
}

func TestTruncation(t *testing.T) {
	onWires(t, func(t *testing.T, w wire) {
		ranks := newRanks(t, w, 2, testEager)
		k := tagmatch.Key{Source: 0, Tag: 1}
		for _, n := range []int{1, testEager, testEager + 1, 4000} {
			for _, room := range []int{0, n / 2, n - 1} {
				for _, first := range []bool{true, false} {
					data, in := pattern(n, 3), make([]byte, n)
					var r *Op
					if first {
						r = ranks[1].recv(k, in[:room])
					}
					s := ranks[0].send(1, k, data)
					if !first {
						until(t, ranks, "message is there", func() bool { return ranks[1].probe(k) })
						r = ranks[1].recv(k, in[:room])
					}
					finished(t, ranks, s, r)
					wantErr(t, s, nil)
					wantErr(t, r, ErrTruncate)
					wantBytes(t, in[:room], data[:room])
					if !zeros(in[room:]) || r.Len != n {
						t.Fatalf("%d bytes into %d: length %d, or written past the end", n, room, r.Len)
					}
				}
			}
		}
		for _, r := range ranks {
			r.clean()
		}
	})
}

func (r *rank) probe(k tagmatch.Key) (found bool) {
	r.with(func() { _, found, _ = r.Probe(k) })
	return found
}

func TestProbeAndPending(t *testing.T) {
	ranks := newRanks(t, plain, 2, testEager)
	sent := []Envelope{{0, 5, 10}, {0, 6, 1000}, {0, 5, 0}}
	var ops []*Op
	for _, e := range sent {
		ops = append(ops, ranks[0].send(1, tagmatch.Key{Ctx: 2, Source: e.Source, Tag: e.Tag}, make([]byte, e.Len)))
	}
	ranks[0].send(1, tagmatch.Key{Ctx: 3}, nil)
	until(t, ranks, "all are there", func() bool { return ranks[1].counts().Unexpected == 4 })
	ranks[1].with(func() {
		for _, c := range []struct {
			k    tagmatch.Key
			want Envelope
			ok   bool
		}{
			{tagmatch.Key{Ctx: 2, Source: -1, Tag: -1}, sent[0], true},
			{tagmatch.Key{Ctx: 2, Source: 0, Tag: 6}, sent[1], true},
			{tagmatch.Key{Ctx: 2, Source: 1, Tag: -1}, Envelope{}, false},
			{tagmatch.Key{Ctx: 4, Source: -1, Tag: -1}, Envelope{}, false},
		} {
			if e, ok, err := ranks[1].Probe(c.k); e != c.want || ok != c.ok || err != nil {
				t.Errorf("probe of %v: %v %v %v, want %v %v", c.k, e, ok, err, c.want, c.ok)
			}
		}
		if _, ok, err := ranks[1].Probe(tagmatch.Key{Source: -2}); ok || !errors.Is(err, tagmatch.ErrKey) {
			t.Errorf("probe of source -2: %v %v", ok, err)
		}
		var got []Envelope
		ranks[1].Pending(2, func(e Envelope) { got = append(got, e) })
		if fmt.Sprint(got) != fmt.Sprint(sent) {
			t.Errorf("pending %v, want %v", got, sent)
		}
	})
	for i, e := range sent {
		ops = append(ops, ranks[1].recv(tagmatch.Key{Ctx: 2, Source: -1, Tag: sent[i].Tag}, make([]byte, e.Len)))
	}
	finished(t, ranks, ops...)
}

func TestBadArguments(t *testing.T) {
	ranks := newRanks(t, plain, 2, testEager)
	for _, n := range []int{0, testEager + 1} {
		for _, c := range []struct {
			name string
			peer int
			k    tagmatch.Key
		}{
			{"peer -1", -1, tagmatch.Key{}},
			{"peer 2", 2, tagmatch.Key{}},
			{"source -1", 1, tagmatch.Key{Source: -1}},
			{"tag -1", 1, tagmatch.Key{Tag: -1}},
		} {
			t.Run(fmt.Sprintf("%s/%d bytes", c.name, n), func(t *testing.T) {
				op := ranks[0].send(c.peer, c.k, make([]byte, n))
				var out *RangeError
				switch {
				case op.Done.Load() == 0:
					t.Error("not done")
				case c.peer != 1 && (!errors.As(op.Err, &out) || out.Value != c.peer || out.Max != 1),
					c.peer == 1 && !errors.Is(op.Err, tagmatch.ErrKey):
					t.Errorf("error %v", op.Err)
				}
				ranks[0].with(func() {
					if ranks[0].TrySend(c.peer, c.k, make([]byte, n)) {
						t.Error("TrySend has sent it")
					}
				})
			})
		}
	}
	ranks[0].with(func() {
		if ranks[0].TrySend(1, tagmatch.Key{}, make([]byte, testEager+1)) {
			t.Error("TrySend has sent a long message")
		}
		var op Op
		if err := ranks[0].Recv(&op, tagmatch.Key{Source: -2}, make([]byte, 1)); !errors.Is(err, tagmatch.ErrKey) || op.buf != nil || op.state != idle {
			t.Errorf("receive from -2: error %v", err)
		}
	})
	ranks[0].clean()
	exchange(t, ranks, 0, 1, 10, true)
}

// More long sends than there are regions fail at once, and the others go on.
func TestRegionsUsedUp(t *testing.T) {
	ranks := newRanks(t, plain, 2, testEager)
	var sends []*Op
	buf := make([]byte, testEager+1)
	for i := range 300 {
		sends = append(sends, ranks[0].send(1, tagmatch.Key{Tag: int32(i)}, buf))
		ranks[1].poll()
		ranks[0].poll()
	}
	failed := 0
	for _, s := range sends {
		if s.Done.Load() != 0 {
			if s.Err == nil {
				t.Fatal("a send that nobody has received is done")
			}
			failed++
		}
	}
	if failed == 0 || failed > 100 {
		t.Fatalf("%d of 300 sends have failed with 256 regions", failed)
	}
	in := make([]byte, len(buf))
	for range len(sends) - failed {
		finished(t, ranks, ranks[1].recv(tagmatch.Key{Source: -1, Tag: -1}, in))
	}
	finished(t, ranks, sends...)
	ranks[0].clean()
	exchange(t, ranks, 0, 1, 1000, true)
}

// Units whose NICs are run by many goroutines at once, each waiting for its own.
func TestGoroutines(t *testing.T) {
	onWires(t, func(t *testing.T, w wire) {
		const pairs, rounds = 3, 40
		ranks := newRanks(t, w, 2, testEager)
		var all sync.WaitGroup
		for g := range pairs {
			for side := range 2 {
				all.Go(func() { pingPong(t, ranks, side, int32(g), rounds) })
			}
		}
		all.Wait()
		for _, r := range ranks {
			r.clean()
		}
	})
}

func pingPong(t *testing.T, ranks []*rank, side int, tag int32, rounds int) {
	me, in := ranks[side], make([]byte, 1<<17)
	for i := range rounds {
		n := lengths[(i+int(tag))%len(lengths)]
		r := me.recv(tagmatch.Key{Source: int32(1 - side), Tag: tag}, in)
		s := me.send(1-side, tagmatch.Key{Source: int32(side), Tag: tag}, pattern(n, uint64(side)))
		for _, op := range []*Op{r, s} {
			if err := me.nic.Wait(nil, &op.Done); err != nil || op.Err != nil {
				t.Errorf("round %d: %v, %v", i, err, op.Err)
				return
			}
		}
		if r.Len != n {
			t.Errorf("round %d: %d bytes, want %d", i, r.Len, n)
		}
		if want := pattern(n, uint64(1-side)); string(in[:n]) != string(want) {
			t.Errorf("round %d: wrong bytes", i)
		}
	}
}

// The account has the matches, and nothing that was received counts as dropped.
func TestAccount(t *testing.T) {
	ranks := newRanks(t, plain, 2, testEager)
	for _, n := range []int{8, 1000} {
		exchange(t, ranks, 0, 1, n, true)
	}
	a := ranks[1].nic.Account()
	if a.Matches != 2 || a.Dropped != 0 || a.Failed != 0 {
		t.Errorf("%d matches, %d messages dropped, %d failed: want 2, 0, 0", a.Matches, a.Dropped, a.Failed)
	}
	var lost *nicrt.PeerError
	if errors.As(ErrRefused, &lost) || !errors.Is(ErrRefused, nicrt.ErrAborted) {
		t.Error("a refusal is the loss of no peer, and another's failure")
	}
}
