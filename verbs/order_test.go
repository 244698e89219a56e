package verbs_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"outboard/verbs"
)

// TestWriteStaysBehindSend posts a SEND for which there is no receive, then a WRITE and a READ: they wait for it.
func TestOneSidedStaysBehindSend(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := pair(t, f)
		mem, buf := b.reg(t, make([]byte, 8), allRights), a.reg(t, pattern(16, 1), verbs.LocalWrite)
		must(t, a.qp.PostSend(
			verbs.SendWR{ID: 1, Flags: verbs.Signaled},
			verbs.SendWR{ID: 2, Opcode: verbs.Write, Flags: verbs.Signaled, SG: []verbs.SGE{buf.part(0, 8)}, RemoteAddr: mem.Addr(), RKey: mem.RKey()},
			verbs.SendWR{ID: 3, Opcode: verbs.Read, Flags: verbs.Signaled, SG: []verbs.SGE{buf.part(8, 8)}, RemoteAddr: mem.Addr(), RKey: mem.RKey()}))
		a.quiet(t, 0)
		b.quiet(t, 0)
		if !bytes.Equal(mem.b, make([]byte, 8)) {
			t.Fatal("the WRITE overtook the SEND")
		}
		must(t, b.qp.PostRecv(verbs.RecvWR{ID: 9}))
		for id := range uint64(3) {
			a.expect(t, id+1, verbs.Success)
		}
		b.expect(t, 9, verbs.Success)
		if !bytes.Equal(buf.b[8:], buf.b[:8]) {
			t.Error("the READ did not see the WRITE before it")
		}
	})
}

// TestWriteThenSend has each SEND announce a WRITE before it.
func TestWriteThenSend(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := pair(t, f)
		mem := b.reg(t, make([]byte, 3000), allRights)
		for round := range byte(50) {
			src := a.reg(t, bytes.Repeat([]byte{round}, 3000), 0)
			must(t, b.qp.PostRecv(verbs.RecvWR{ID: 1}))
			must(t, a.qp.PostSend(
				verbs.SendWR{Opcode: verbs.Write, SG: []verbs.SGE{src.sge()}, RemoteAddr: mem.Addr(), RKey: mem.RKey()},
				verbs.SendWR{ID: uint64(round), Flags: verbs.Signaled}))
			b.expect(t, 1, verbs.Success)
			if !bytes.Equal(mem.b, src.b) {
				t.Fatalf("round %d: the SEND came before the data of the WRITE", round)
			}
			a.expect(t, uint64(round), verbs.Success)
		}
	})
}

// TestFence has a WRITE of what a READ brings.
func TestFence(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := pair(t, f)
		const n = 2500
		mem, via := b.reg(t, make([]byte, 2*n), allRights), a.reg(t, make([]byte, n), verbs.LocalWrite)
		for round := range byte(30) {
			copy(mem.b[:n], pattern(n, round))
			b.sync()
			must(t, a.qp.PostSend(
				verbs.SendWR{Opcode: verbs.Read, SG: []verbs.SGE{via.sge()}, RemoteAddr: mem.Addr(), RKey: mem.RKey()},
				verbs.SendWR{ID: 1, Opcode: verbs.Write, Flags: verbs.Fence | verbs.Signaled, SG: []verbs.SGE{via.sge()}, RemoteAddr: mem.Addr() + n, RKey: mem.RKey()}))
			a.expect(t, 1, verbs.Success)
			b.sync()
			if !bytes.Equal(mem.b[n:], pattern(n, round)) {
				t.Fatalf("round %d: the fenced WRITE sent what was there before the READ", round)
			}
		}
	})
}

// TestManyReadsOutstanding has more reads than MAX_RD_ATOMIC, with sends and writes between them, both ways at once, on
// rings that hold a fraction of it.
func TestCrossTraffic(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := pair(t, f)
		const n = 8000
		var wg sync.WaitGroup
		for _, p := range [][2]*end{{a, b}, {b, a}} {
			me, peer := p[0], p[1]
			mem, buf := peer.reg(t, pattern(2*n, 3), allRights), me.reg(t, make([]byte, n), verbs.LocalWrite)
			src := me.reg(t, pattern(n, 4), 0)
			wg.Go(func() {
				for i := range uint64(20) {
					op := verbs.Read
					sg, off := buf.sge(), uint64(0)
					if i%3 == 2 {
						op, sg, off = verbs.Write, src.sge(), n
					}
					if err := me.qp.PostSend(verbs.SendWR{ID: i, Opcode: op, Flags: verbs.Signaled, SG: []verbs.SGE{sg}, RemoteAddr: mem.Addr() + off, RKey: mem.RKey()}); err != nil {
						t.Error(err)
					}
				}
				for i := range uint64(20) {
					var wc [1]verbs.WC
					if _, err := me.cq.Wait(t.Context(), wc[:]); err != nil || wc[0].ID != i || wc[0].Status != verbs.Success {
						t.Errorf("completion %+v, error %v, want request %d with success", wc[0], err, i)
						return
					}
				}
				peer.sync()
				if !bytes.Equal(buf.b, pattern(2*n, 3)[:n]) || !bytes.Equal(mem.b[n:], src.b) {
					t.Error("other data")
				}
			})
		}
		wg.Wait()
	})
}

// TestConcurrentUse has many goroutines post to and poll the same queue pairs; atomics count what was done.
func TestConcurrentUse(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := newEnd(t, f), newEnd(t, f)
		const pairs, posters, each = 3, 3, 40
		counter := b.reg(t, make([]byte, 8), allRights)
		var wg sync.WaitGroup
		for range pairs {
			x, y := newEndOn(t, f, a.ctx, nil), newEndOn(t, f, b.ctx, nil)
			x.pd, y.pd = a.pd, b.pd
			var err error
			x.qp, err = a.ctx.CreateQP(a.pd, verbs.QPInit{SendCQ: x.cq, RecvCQ: x.cq, Cap: defaultCap})
			must(t, err)
			y.qp, err = b.ctx.CreateQP(b.pd, verbs.QPInit{SendCQ: y.cq, RecvCQ: y.cq, Cap: defaultCap})
			must(t, err)
			x.connect(t, y)
			y.connect(t, x)
			for range posters {
				out := x.reg(t, make([]byte, 8), verbs.LocalWrite)
				wg.Go(func() {
					for range each {
						post(t, func() error {
							return x.qp.PostSend(verbs.SendWR{ID: 1, Opcode: verbs.FetchAdd, Flags: verbs.Signaled, Add: 1, SG: []verbs.SGE{out.sge()}, RemoteAddr: counter.Addr(), RKey: counter.RKey()})
						})
						post(t, func() error {
							return x.qp.PostSend(verbs.SendWR{ID: 2, Flags: verbs.Signaled | verbs.Inline, SG: []verbs.SGE{{Buf: []byte("hello")}}})
						})
					}
				})
				wg.Go(func() { take(t, x, 2*each) })
				dst := y.reg(t, make([]byte, 8), verbs.LocalWrite)
				wg.Go(func() {
					for range each {
						post(t, func() error { return y.qp.PostRecv(verbs.RecvWR{ID: 3, SG: []verbs.SGE{dst.sge()}}) })
					}
				})
				wg.Go(func() { take(t, y, each) })
			}
		}
		wg.Wait()
		b.sync()
		if got := binary.NativeEndian.Uint64(counter.b); got != pairs*posters*each {
			t.Errorf("%d atomics were executed, want %d; events %v", got, pairs*posters*each, b.ctx.AsyncEvents())
		}
	})
}

// post repeats a call while the queue has no room for it.
func post(t *testing.T, call func() error) {
	for {
		err := call()
		switch {
		case err == nil:
			return
		case !errors.Is(err, verbs.ErrQueueFull):
			t.Error(err)
			return
		}
		runtime.Gosched()
	}
}

// take waits for n completions, which must be good.
func take(t *testing.T, e *end, n int) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var wc [4]verbs.WC
	for n > 0 {
		k, err := e.cq.Wait(ctx, wc[:min(n, len(wc))])
		if err != nil {
			t.Errorf("%d completions missing: %v", n, err)
			return
		}
		for _, w := range wc[:k] {
			if w.Status != verbs.Success {
				t.Errorf("completion %+v", w)
			}
		}
		n -= k
	}
}
