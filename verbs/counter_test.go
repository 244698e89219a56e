package verbs_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"outboard/verbs"
)

func counter(t testing.TB, ctx *verbs.Context) *verbs.Counter {
	t.Helper()
	k, err := ctx.CreateCounter()
	must(t, err)
	return k
}

// reads waits for a counter's value.
func reads(t testing.TB, k *verbs.Counter, want verbs.CounterValue) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if v, err := k.Wait(ctx, want.Total()); v != want || err != nil {
		t.Fatalf("counted %+v, %v, want %+v", v, err, want)
	}
}

func ok(n uint64) verbs.CounterValue { return verbs.CounterValue{Success: n} }

func TestCounterValues(t *testing.T) {
	e := newEnd(t, plainFabrics[0])
	k := counter(t, e.ctx)
	for _, c := range []struct {
		name string
		do   func() error
		want verbs.CounterValue
	}{
		{"new", func() error { return nil }, verbs.CounterValue{}},
		{"add both", func() error { return k.Add(verbs.CounterValue{Success: 3, Failure: 2}) }, verbs.CounterValue{Success: 3, Failure: 2}},
		{"add more", func() error { return k.Add(ok(1)) }, verbs.CounterValue{Success: 4, Failure: 2}},
		{"take away", func() error { return k.Add(verbs.CounterValue{Failure: ^uint64(1)}) }, ok(4)},
		{"set", func() error { return k.Set(verbs.CounterValue{Success: 1 << 63, Failure: 7}) }, verbs.CounterValue{Success: 1 << 63, Failure: 7}},
		{"wrap", func() error { return k.Add(ok(1 << 63)) }, verbs.CounterValue{Failure: 7}},
	} {
		must(t, c.do())
		if v := k.Read(); v != c.want {
			t.Fatalf("%s: %+v, want %+v", c.name, v, c.want)
		}
	}
	must(t, k.Destroy())
	wantErr(t, k.Destroy(), verbs.ErrDestroyed)
	wantErr(t, k.Add(ok(1)), verbs.ErrDestroyed)
	wantErr(t, k.Set(ok(1)), verbs.ErrDestroyed)
	_, err := k.Wait(t.Context(), 0)
	wantErr(t, err, verbs.ErrDestroyed)
	if v := k.Read(); v.Failure != 7 {
		t.Errorf("a destroyed counter reads %+v", v)
	}
	var none verbs.Counter
	wantErr(t, none.Add(ok(1)), verbs.ErrInvalid)
	if v := none.Read(); v != (verbs.CounterValue{}) {
		t.Errorf("a zero counter reads %+v", v)
	}
}

func TestCounterWait(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*end, *verbs.Counter) error
		want error
	}{
		{"reached by successes and failures", func(_ *end, k *verbs.Counter) error { return k.Add(verbs.CounterValue{Success: 1, Failure: 2}) }, nil},
		{"set beyond", func(_ *end, k *verbs.Counter) error { return k.Set(ok(9)) }, nil},
		{"destroyed", func(_ *end, k *verbs.Counter) error { return k.Destroy() }, verbs.ErrDestroyed},
		{"context closed", func(e *end, _ *verbs.Counter) error { return e.ctx.Close() }, verbs.ErrDestroyed},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnd(t, plainFabrics[0])
			k := counter(t, e.ctx)
			done := make(chan error)
			go func() { _, err := k.Wait(context.Background(), 3); done <- err }()
			time.Sleep(2 * time.Millisecond) // it sleeps
			select {
			case err := <-done:
				t.Fatalf("the wait is over too early: %v", err)
			default:
			}
			must(t, c.end(e, k))
			if err := <-done; !errors.Is(err, c.want) {
				t.Errorf("the wait ended with %v, want %v", err, c.want)
			}
		})
	}
	t.Run("no longer", func(t *testing.T) {
		k := counter(t, newEnd(t, plainFabrics[0]).ctx)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Millisecond)
		defer cancel()
		if _, err := k.Wait(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
}

func TestAttachCounter(t *testing.T) {
	e, other := newEnd(t, plainFabrics[0]), newEnd(t, plainFabrics[0])
	k, foreign, dead := counter(t, e.ctx), counter(t, other.ctx), counter(t, e.ctx)
	must(t, dead.Destroy())
	for _, c := range []struct {
		name string
		k    *verbs.Counter
		ops  verbs.CounterOps
		want error
	}{
		{"no counter", nil, verbs.CountSend, verbs.ErrInvalid},
		{"of another context", foreign, verbs.CountSend, verbs.ErrInvalid},
		{"destroyed", dead, verbs.CountSend, verbs.ErrInvalid},
		{"no kinds", k, 0, verbs.ErrInvalid},
		{"unknown kinds", k, 1 << 6, verbs.ErrInvalid},
		{"good", k, verbs.CountSend | verbs.CountRecv, nil},
		{"good, and more kinds", k, verbs.CountWrite, nil},
		{"overlap", k, verbs.CountRead | verbs.CountRecv, verbs.ErrBusy},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := e.qp.AttachCounter(c.k, c.ops); c.want != nil {
				wantErr(t, err, c.want)
			} else {
				must(t, err)
			}
		})
	}
	wantErr(t, k.Destroy(), verbs.ErrBusy)
	e.bring(t, attrFor(other), verbs.Init)
	must(t, e.qp.AttachCounter(k, verbs.CountRead))
	e.bring(t, attrFor(other), verbs.RTR)
	wantErr(t, e.qp.AttachCounter(k, verbs.CountRemoteRead), verbs.ErrState)
	must(t, e.qp.Destroy())
	wantErr(t, e.qp.AttachCounter(k, verbs.CountRemoteRead), verbs.ErrDestroyed)
	must(t, k.Destroy())
}

// counted is a pair of ends that count each kind of operation on a counter of its own.
type counted struct {
	a, b *end
	ka   [6]*verbs.Counter
	kb   [6]*verbs.Counter
}

func countedPair(t testing.TB, f fabricUnder, ops verbs.CounterOps) *counted {
	t.Helper()
	x := &counted{a: newEnd(t, f), b: newEnd(t, f)}
	for i := range x.ka {
		x.ka[i], x.kb[i] = counter(t, x.a.ctx), counter(t, x.b.ctx)
		if op := verbs.CounterOps(1) << i; op&ops != 0 {
			must(t, x.a.qp.AttachCounter(x.ka[i], op))
			must(t, x.b.qp.AttachCounter(x.kb[i], op))
		}
	}
	x.a.connect(t, x.b)
	x.b.connect(t, x.a)
	return x
}

const localOps = verbs.CountSend | verbs.CountRecv | verbs.CountRead | verbs.CountWrite

// TestCountedOperations counts all kinds, signaled or not, on both sides, over all wires.
func TestCountedOperations(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		for _, ops := range []verbs.CounterOps{localOps, localOps | verbs.CountRemoteRead | verbs.CountRemoteWrite} {
			t.Run(ops.String(), func(t *testing.T) {
				x := countedPair(t, f, ops)
				src, dst := x.a.reg(t, pattern(5000, 1), allRights), x.b.reg(t, make([]byte, 5000), allRights)
				inbox := x.b.reg(t, make([]byte, 5000), allRights)
				remote := func(op verbs.Opcode, g verbs.SGE) verbs.SendWR {
					return verbs.SendWR{Opcode: op, SG: []verbs.SGE{g}, RemoteAddr: dst.Addr(), RKey: dst.RKey()}
				}
				for range 4 {
					must(t, x.b.qp.PostRecv(verbs.RecvWR{SG: []verbs.SGE{inbox.sge()}}))
				}
				last := remote(verbs.Read, src.sge())
				last.ID, last.Flags = 1, verbs.Signaled
				must(t, x.a.qp.PostSend(verbs.SendWR{Opcode: verbs.Send, SG: []verbs.SGE{src.sge()}}, verbs.SendWR{Opcode: verbs.SendImm},
					remote(verbs.Write, src.sge()), remote(verbs.WriteImm, src.part(0, 8)), remote(verbs.Write, src.part(0, 0)),
					remote(verbs.FetchAdd, src.part(0, 8)), remote(verbs.CompareSwap, src.part(0, 8)), last))
				x.a.expect(t, 1, verbs.Success)
				reads(t, x.ka[0], ok(2)) // SEND
				reads(t, x.ka[2], ok(3)) // RDMA_READ
				reads(t, x.ka[4], ok(3)) // RDMA_WRITE
				reads(t, x.kb[1], ok(3)) // RECV
				if ops&verbs.CountRemoteRead != 0 {
					reads(t, x.kb[3], ok(3))
					reads(t, x.kb[5], ok(3))
				}
				for i, k := range []*verbs.Counter{x.ka[1], x.ka[3], x.ka[5], x.kb[0], x.kb[2], x.kb[4]} {
					if v := k.Read(); v != (verbs.CounterValue{}) {
						t.Errorf("counter %d of what has not happened: %+v", i, v)
					}
				}
				// What is flushed has failed.
				must(t, x.b.qp.Modify(verbs.QPAttr{State: verbs.Err}, verbs.AttrState))
				reads(t, x.kb[1], verbs.CounterValue{Success: 3, Failure: 1})
			})
		}
	})
}

// TestSharedCounter adds up the completions of several queue pairs and kinds, and survives the end of one of them.
func TestSharedCounter(t *testing.T) {
	a, b := newEnd(t, plainFabrics[0]), newEnd(t, plainFabrics[0])
	k := counter(t, a.ctx)
	var sides []*end
	for range 3 {
		s, p := newEndOn(t, a.f, a.ctx, nil), newEndOn(t, b.f, b.ctx, nil)
		must(t, s.qp.AttachCounter(k, localOps))
		s.connect(t, p)
		p.connect(t, s)
		must(t, p.qp.PostRecv(verbs.RecvWR{}, verbs.RecvWR{}))
		sides = append(sides, s)
	}
	for i, s := range sides {
		must(t, s.qp.PostSend(verbs.SendWR{}))
		reads(t, k, ok(uint64(i+1)))
	}
	must(t, sides[0].qp.Destroy())
	must(t, sides[1].qp.PostSend(verbs.SendWR{}))
	reads(t, k, ok(4))
	wantErr(t, k.Destroy(), verbs.ErrBusy)
	for _, s := range sides[1:] {
		must(t, s.qp.Destroy())
	}
	must(t, k.Destroy())
}

// TestCounterStaysThroughReset keeps counting after RESET.
func TestCounterStaysThroughReset(t *testing.T) {
	e := newEnd(t, plainFabrics[0])
	k := counter(t, e.ctx)
	must(t, e.qp.AttachCounter(k, verbs.CountRecv))
	for round := range uint64(2) {
		e.bring(t, attrFor(e), verbs.Init)
		must(t, e.qp.PostRecv(verbs.RecvWR{}))
		must(t, e.qp.Modify(verbs.QPAttr{State: verbs.Err}, verbs.AttrState))
		reads(t, k, verbs.CounterValue{Failure: round + 1})
		must(t, e.qp.Modify(verbs.QPAttr{State: verbs.Reset}, verbs.AttrState))
	}
}

// TestCountersAgainstModel runs random programs of operations, and compares the counters of both sides with a count by hand.
func TestCountersAgainstModel(t *testing.T) {
	for _, f := range plainFabrics {
		t.Run(f.name, func(t *testing.T) {
			x := countedPair(t, f, localOps)
			src, dst := x.a.reg(t, pattern(64, 1), allRights), x.b.reg(t, make([]byte, 64), allRights)
			inbox := x.b.reg(t, make([]byte, 64), allRights)
			var a, b [6]uint64
			var extra [6]verbs.CounterValue // by the host
			rapid.Check(t, func(rt *rapid.T) {
				for range rapid.IntRange(1, 8).Draw(rt, "steps") {
					op := rapid.SampledFrom([]verbs.Opcode{verbs.Send, verbs.SendImm, verbs.Write, verbs.WriteImm, verbs.Read,
						verbs.FetchAdd, verbs.CompareSwap}).Draw(rt, "operation")
					switch op {
					case verbs.Send, verbs.SendImm:
						a[0]++
						b[1]++
					case verbs.WriteImm:
						b[1]++
						a[4]++
					case verbs.Write:
						a[4]++
					default:
						a[2]++
					}
					must(t, x.b.qp.PostRecv(verbs.RecvWR{SG: []verbs.SGE{inbox.sge()}})) // unless it is taken: by a SEND below
					if op == verbs.Write || op == verbs.Read || op == verbs.FetchAdd || op == verbs.CompareSwap {
						a[0]++
						b[1]++
						must(t, x.a.qp.PostSend(verbs.SendWR{}))
					}
					wr := verbs.SendWR{Opcode: op, SG: []verbs.SGE{src.part(0, 8)}, RemoteAddr: dst.Addr(), RKey: dst.RKey()}
					signaled := rapid.Bool().Draw(rt, "signaled")
					if signaled {
						wr.Flags = verbs.Signaled
					}
					must(t, x.a.qp.PostSend(wr))
					if i := rapid.IntRange(0, 5).Draw(rt, "counter"); rapid.Bool().Draw(rt, "the host adds") {
						by := verbs.CounterValue{Success: uint64(rapid.IntRange(-2, 2).Draw(rt, "by")), Failure: uint64(rapid.IntRange(0, 1).Draw(rt, "failures"))}
						extra[i] = extra[i].Plus(by)
						must(t, x.ka[i].Add(by))
					}
					if signaled {
						x.a.expect(t, 0, verbs.Success)
					}
					x.b.expect(t, 0, verbs.Success)
				}
				settled := func() (why string) {
					for i := range a {
						if v, want := x.ka[i].Read(), ok(a[i]).Plus(extra[i]); v != want {
							why += fmt.Sprintf("counter %d of the requester: %+v, want %+v; ", i, v, want)
						}
						if v, want := x.kb[i].Read(), ok(b[i]); v != want {
							why += fmt.Sprintf("counter %d of the responder: %+v, want %+v; ", i, v, want)
						}
					}
					return why
				}
				for end := time.Now().Add(10 * time.Second); settled() != ""; time.Sleep(20 * time.Microsecond) {
					if time.Now().After(end) {
						rt.Fatal(settled())
					}
					if _, err := x.a.cq.Poll(nil); err != nil {
						rt.Fatal(err)
					}
				}
			})
		})
	}
}
