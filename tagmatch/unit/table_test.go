package unit

import (
	"errors"
	"math/rand/v2"
	"testing"

	"outboard/tagmatch"
)

// An id finds what it was given for until that is removed, and for 255 reuses of the place afterwards nothing.
func TestGenerations(t *testing.T) {
	tab := newTable()
	kept := tab.add(nil, 3, 33)
	first := tab.add(nil, 1, 11)
	if first>>genShift != 0 || first == kept {
		t.Fatalf("ids %#x, %#x", kept, first)
	}
	tab.remove(first)
	for gen := 1; gen < 256; gen++ {
		id := tab.add(nil, 2, 22)
		if id&(maxSends-1) != first || id>>genShift != uint32(gen) {
			t.Fatalf("id %#x in generation %d of place %d", id, gen, first)
		}
		if tab.get(first) != nil {
			t.Fatalf("id %#x finds generation %d", first, gen)
		}
		tab.remove(id)
		if tab.get(id) != nil {
			t.Fatalf("id %#x finds what was removed", id)
		}
	}
	if id := tab.add(nil, 2, 22); id != first {
		t.Errorf("id %#x after all generations, want %#x", id, first)
	}
	if e := tab.get(kept); e == nil || e.peer != 3 || e.key != 33 {
		t.Errorf("%#x finds %+v", kept, e)
	}
	for _, id := range []uint32{kept + 2, kept | 1<<genShift, maxSends - 1, 1<<32 - 1} {
		if tab.get(id) != nil {
			t.Errorf("id %#x finds something", id)
		}
	}
}

// The table beside a map.
func TestTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	u := &Unit{sends: newTable()}
	tab, want := &u.sends, map[uint32]uint32{}
	var ids, gone []uint32
	for i := range uint32(20000) {
		if rng.IntN(2) == 0 || len(ids) == 0 {
			id := tab.add(nil, 0, i)
			if _, ok := want[id]; ok {
				t.Fatalf("step %d: id %#x is in use", i, id)
			}
			want[id] = i
			ids = append(ids, id)
		} else {
			j := rng.IntN(len(ids))
			tab.remove(ids[j])
			delete(want, ids[j])
			gone = append(gone, ids[j])
			ids[j] = ids[len(ids)-1]
			ids = ids[:len(ids)-1]
		}
		if len(ids) > 0 {
			id := ids[rng.IntN(len(ids))]
			if e := tab.get(id); e == nil || e.key != want[id] {
				t.Fatalf("step %d: id %#x finds %+v, want %d", i, id, e, want[id])
			}
		}
		if len(gone) > 0 {
			id := gone[max(0, len(gone)-1-rng.IntN(50))]
			if _, again := want[id]; !again && tab.get(id) != nil {
				t.Fatalf("step %d: id %#x finds something", i, id)
			}
		}
	}
	if err := u.check(); err != nil {
		t.Error(err)
	}
}

// A send beyond what the table can number fails and leaves nothing behind.
func TestTooManySends(t *testing.T) {
	ranks := connected(t, plain)
	k := tagmatch.Key{Source: 0}
	ranks[0].sends.limit = 2
	a, b := requested(t, ranks, k), requested(t, ranks, k)
	over := ranks[0].send(1, k, make([]byte, long))
	wantErr(t, over, ErrTooMany)
	in := make([]byte, long)
	finished(t, ranks, ranks[1].recv(k, in), ranks[1].recv(k, in), a, b)
	c := requested(t, ranks, k)
	finished(t, ranks, ranks[1].recv(k, in), c)
	if wantErr(t, c, nil); errors.Is(c.Err, ErrTooMany) {
		t.Error("still too many")
	}
	ranks[0].clean()
}

func TestPool(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var p pool
	var out [][]byte
	for i := range 6000 {
		if i/600%2 == 0 {
			n := rng.IntN(1 << rng.IntN(22))
			b := p.get(n)
			if len(b) != n || n == 0 && b != nil {
				t.Fatalf("%d bytes asked for, %d got", n, len(b))
			}
			if n > 0 {
				b[0], b[n-1] = byte(i), byte(i)
			}
			out = append(out, b)
		} else if len(out) > 0 {
			j := rng.IntN(len(out))
			b := out[j]
			if n := len(b); n > 0 && b[0] != b[n-1] {
				t.Fatal("two have the same buffer")
			}
			p.put(b)
			out[j] = out[len(out)-1]
			out = out[:len(out)-1]
		}
		if i%100 == 0 {
			if err := p.check(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct{ n, room int }{{1, 64}, {64, 64}, {65, 128}, {1 << 20, 1 << 20}, {1<<20 + 1, 0}} {
		var p pool
		b := p.get(c.n)
		p.put(b)
		if p.free != c.room {
			t.Errorf("%d bytes: %d are kept, want %d", c.n, p.free, c.room)
		}
		if again := p.get(c.n); c.room > 0 && &again[0] != &b[0] {
			t.Errorf("%d bytes: not used again", c.n)
		}
	}
}

// Unexpected messages give their buffers back, whether they are received or dropped.
func TestBuffersAreUsedAgain(t *testing.T) {
	ranks := connected(t, plain)
	send := func(ctx uint32, n int) {
		had := ranks[1].counts().Unexpected
		for range n {
			ranks[0].send(1, tagmatch.Key{Ctx: ctx}, make([]byte, testEager))
		}
		until(t, ranks, "all are kept", func() bool { return ranks[1].counts().Unexpected == had+uint64(n) })
	}
	free := func() (n int) {
		ranks[1].with(func() { n = ranks[1].pool.free })
		return n
	}
	start := free()
	send(1, 20)
	for range 20 {
		ranks[1].recv(tagmatch.Key{Ctx: 1, Source: -1}, nil)
	}
	if n := free(); n != start+20*128 && n != 20*128 {
		t.Errorf("%d bytes are free after 20 messages, had %d", n, start)
	}
	all := free()
	send(2, 20)
	if n := free(); n != all-20*128 {
		t.Errorf("%d bytes are free with 20 messages kept, had %d", n, all)
	}
	ranks[1].with(func() { ranks[1].FailContext(2, errFailed) })
	if n := free(); n != all {
		t.Errorf("%d bytes are free after the context has ended, had %d", n, all)
	}
}

func TestContexts(t *testing.T) {
	var c contexts
	rng := rand.New(rand.NewPCG(5, 6))
	want := map[uint32]error{}
	for range 2000 {
		ctx := rng.Uint32() >> rng.IntN(32)
		if rng.IntN(2) == 0 {
			want[ctx] = errors.New("why")
			c.end(ctx, want[ctx])
		}
		for _, q := range []uint32{ctx, ctx + 4096, ctx ^ 64} {
			if got := c.err(q); got != want[q] {
				t.Fatalf("context %d: %v, want %v", q, got, want[q])
			}
		}
	}
}
