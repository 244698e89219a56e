package unit

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"outboard/tagmatch"
)

// A flood of messages that the receiver does not look at waits at the sender, and comes in order.
func TestBackPressure(t *testing.T) {
	onWires(t, func(t *testing.T, w wire) {
		const messages = 200
		ranks := newRanks(t, w, 2, testEager)
		ranks[1].nic.Lock() // nobody runs the receiver
		sends, sizes := flood(ranks, messages)
		ranks[0].with(func() {
			if n := len(ranks[0].out.queues[1].items); n < messages/4 {
				t.Errorf("%d of %d messages wait in the outbox", n, messages)
			}
			if ranks[0].TrySend(1, tagmatch.Key{}, nil) {
				t.Error("TrySend has overtaken messages that wait")
			}
			if err := ranks[0].check(); err != nil {
				t.Error(err)
			}
		})
		ranks[1].nic.Unlock()
		receiveFlood(t, ranks, sizes)
		finished(t, ranks, sends...)
		for _, r := range ranks {
			r.clean()
		}
	})
}

// flood sends messages of all lengths from rank 0 to 1, all under one key.
func flood(ranks []*rank, messages int) (sends []*Op, sizes []int) {
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range messages {
		n := []int{0, 8, testEager, testEager, testEager + 1, 3000}[rng.IntN(6)]
		sizes = append(sizes, n)
		sends = append(sends, ranks[0].send(1, tagmatch.Key{Tag: 4}, pattern(n, uint64(i))))
	}
	return sends, sizes
}

func receiveFlood(t tester, ranks []*rank, sizes []int) {
	t.Helper()
	in := make([]byte, 3000)
	for i, n := range sizes {
		r := ranks[1].recv(tagmatch.Key{Source: -1, Tag: int32(4 - 5*(i%2))}, in)
		finished(t, ranks, r)
		if r.Err != nil || r.Len != n {
			t.Fatalf("message %d: %d bytes, error %v: want %d", i, r.Len, r.Err, n)
		}
		wantBytes(t, in[:n], pattern(n, uint64(i)))
	}
}

// A sender that sleeps until its message has room is woken when there is.
func TestSleepUntilRoom(t *testing.T) {
	onWires(t, func(t *testing.T, w wire) {
		ranks := newRanks(t, w, 2, testEager)
		ranks[1].nic.Lock()
		var last *Op
		for i := 0; i < 100 || ranks[0].state(last) != queued; i++ {
			last = ranks[0].send(1, tagmatch.Key{}, make([]byte, testEager))
		}
		time.AfterFunc(20*time.Millisecond, ranks[1].nic.Unlock)
		if err := ranks[0].nic.Wait(t.Context(), &last.Done); err != nil || last.Err != nil {
			t.Fatalf("%v, %v", err, last.Err)
		}
	})
}

// FINs that find no room wait behind each other, and all come.
func TestAnswersWait(t *testing.T) {
	onWires(t, func(t *testing.T, w wire) {
		ranks := newRanks(t, w, 2, testEager)
		exchange(t, ranks, 1, 0, 1, true) // both ways are connected
		var ops []*Op
		for i := range 100 {
			ops = append(ops, ranks[0].send(1, tagmatch.Key{Tag: int32(i)}, make([]byte, testEager+1)))
		}
		until(t, ranks, "all requests are there", func() bool { return ranks[1].counts().Rendezvous == 100 })
		ranks[1].port.full.Store(true) // a read by packets cannot be asked for either
		for i := range 100 {
			ops = append(ops, ranks[1].recv(tagmatch.Key{Source: 0, Tag: int32(i)}, make([]byte, 4)))
		}
		settle(ranks)
		for _, s := range ops[:100] {
			if s.Done.Load() != 0 {
				t.Fatal("a send is done without FIN")
			}
		}
		ranks[1].port.full.Store(false)
		finished(t, ranks, ops...)
		for _, r := range ranks {
			r.clean()
		}
	})
}

// Operations can be given up while they wait for room: the others keep their order.
func TestGivenUpInTheOutbox(t *testing.T) {
	onWires(t, func(t *testing.T, w wire) {
		ranks := newRanks(t, w, 2, testEager)
		exchange(t, ranks, 0, 1, 1, true)
		ranks[0].port.full.Store(true)
		var ops []*Op
		for i := range 40 {
			k := tagmatch.Key{Ctx: uint32(i % 4), Tag: int32(i)}
			ops = append(ops, ranks[0].send(1, k, make([]byte, []int{8, testEager + 1}[i/4%2])))
		}
		ranks[0].with(func() {
			for i, op := range ops {
				if i%4 == 1 && !ranks[0].Abandon(op) {
					t.Errorf("message %d cannot be given up", i)
				}
			}
			ranks[0].FailContext(2, errFailed)
			if err := ranks[0].check(); err != nil {
				t.Error(err)
			}
			if n := ranks[0].port.exposed.Load(); n != 10 {
				t.Errorf("%d buffers are exposed, want 10", n)
			}
		})
		ranks[0].port.full.Store(false)
		for i, op := range ops {
			switch i % 4 {
			case 1:
				if op.Done.Load() != 0 {
					t.Errorf("message %d was given up, and is done", i)
				}
			case 2:
				wantErr(t, op, errFailed)
			default:
				r := ranks[1].recv(tagmatch.Key{Ctx: uint32(i % 4), Source: -1, Tag: -1}, make([]byte, 200))
				finished(t, ranks, r, op)
				if r.Tag != int32(i) {
					t.Errorf("message %d came before %d", r.Tag, i)
				}
			}
		}
		for _, r := range ranks {
			r.clean()
		}
	})
}

// Whoever sends in bursts finds each peer's messages in order, from several senders at once.
func TestOrderFromMany(t *testing.T) {
	onWires(t, func(t *testing.T, w wire) {
		const messages = 150
		ranks := newRanks(t, w, 3, testEager)
		var all sync.WaitGroup
		for _, from := range []int{0, 2} {
			all.Go(func() { burst(t, ranks[from], from, messages) })
		}
		in, next := make([]byte, testEager+100), [3]int32{}
		for i := range 2 * messages {
			r := ranks[1].recv(tagmatch.Key{Source: -1, Tag: -1}, in)
			if err := ranks[1].nic.Wait(t.Context(), &r.Done); err != nil || r.Err != nil {
				t.Fatalf("message %d: %v, %v", i, err, r.Err)
			}
			if r.Tag != next[r.Source] {
				t.Fatalf("rank %d's message %d came, want %d", r.Source, r.Tag, next[r.Source])
			}
			next[r.Source]++
		}
		all.Wait()
	})
}

func burst(t *testing.T, r *rank, self, messages int) {
	ops := make([]*Op, messages)
	for i := range ops {
		n := testEager + 50*(i*self%3-1)
		ops[i] = r.send(1, tagmatch.Key{Source: int32(self), Tag: int32(i)}, make([]byte, n))
	}
	for i, op := range ops {
		if err := r.nic.Wait(t.Context(), &op.Done); err != nil || op.Err != nil {
			t.Errorf("rank %d, message %d: %v, %v", self, i, err, op.Err)
		}
	}
}

// The queue of the outbox beside a slice.
func TestQueue(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var q queue
	var want []uint32
	for i := range 20000 {
		switch x := rng.IntN(100); {
		case x < 50-(i/1000%2)*10:
			q.push(item{fin: uint32(i)})
			want = append(want, uint32(i))
		case x < 98 && len(want) > 0:
			if q.items[q.next].fin != want[0] {
				t.Fatalf("step %d: %d is first, want %d", i, q.items[q.next].fin, want[0])
			}
			q.pop()
			want = want[1:]
		case x >= 98:
			odd := func(n uint32) bool { return n%2 == 1 }
			q.cut(func(it item) bool { return odd(it.fin) })
			keep := want[:0:0]
			for _, n := range want {
				if !odd(n) {
					keep = append(keep, n)
				}
			}
			want = keep
		}
		if len(q.items) == 0 != (len(want) == 0) || len(q.items)-q.next != len(want) {
			t.Fatalf("step %d: %d items from %d on, want %d", i, len(q.items), q.next, len(want))
		}
	}
	if cap(q.items) > 4096 {
		t.Errorf("%s: grown beyond what was ever queued", fmt.Sprint(cap(q.items)))
	}
}
