package verbs_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"outboard/verbs"
)

func waitFor(k *verbs.Counter, threshold uint64) verbs.SendWR {
	return verbs.SendWR{Opcode: verbs.WaitCounter, Wait: &verbs.WaitFor{Counter: k, Threshold: threshold}}
}

func enable(q *verbs.QP, n uint32) verbs.SendWR {
	return verbs.SendWR{Opcode: verbs.SendEnable, Enable: &verbs.Enable{QP: q, Count: n}}
}

// as gives a request an ID and has it signaled.
func as(id uint64, wr verbs.SendWR) verbs.SendWR {
	wr.ID, wr.Flags = id, wr.Flags|verbs.Signaled
	return wr
}

// becomes waits for a counter's value without running the NIC: the host looks only now and then.
func becomes(t testing.TB, k *verbs.Counter, want verbs.CounterValue) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); k.Read() != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("counted %+v, want %+v", k.Read(), want)
		}
	}
}

// countingEnd is an end that counts what its queue pair receives.
func countingEnd(t testing.TB, f fabricUnder, ctx *verbs.Context, change func(*verbs.QPInit)) (*end, *verbs.Counter) {
	t.Helper()
	e := newEndOn(t, f, ctx, change)
	k := counter(t, ctx)
	must(t, e.qp.AttachCounter(k, verbs.CountRecv))
	return e, k
}

// TestPingPongOfNICs has two NICs answer each other while both hosts do nothing.
func TestPingPongOfNICs(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		const rounds = 25
		a, ka := countingEnd(t, f, f.context(t), nil)
		b, kb := countingEnd(t, f, f.context(t), nil)
		a.connect(t, b)
		b.connect(t, a)
		for i := range uint64(rounds) {
			must(t, a.qp.PostRecv(verbs.RecvWR{}))
			must(t, b.qp.PostRecv(verbs.RecvWR{}))
			must(t, b.qp.PostSend(waitFor(kb, i+1), verbs.SendWR{}))
		}
		for i := range uint64(rounds) {
			must(t, a.qp.PostSend(waitFor(ka, i), verbs.SendWR{}))
		}
		becomes(t, ka, ok(rounds))
		becomes(t, kb, ok(rounds))
	})
}

// TestBarrierOfNICs is a dissemination barrier of four: everything is posted beforehand, and a host only counts that it
// has come.
func TestBarrierOfNICs(t *testing.T) {
	for _, f := range plainFabrics {
		t.Run(f.name, func(t *testing.T) {
			const n, epochs = 4, 5
			type rank struct {
				ctx             *verbs.Context
				next, prev, far *end
				entered         *verbs.Counter
				near, across    *verbs.Counter // arrivals of the first and second round
			}
			var ranks [n]rank
			for i := range ranks {
				r := &ranks[i]
				r.ctx = f.context(t)
				r.entered = counter(t, r.ctx)
				r.next = newEndOn(t, f, r.ctx, nil)
				r.prev, r.near = countingEnd(t, f, r.ctx, nil)
				r.far, r.across = countingEnd(t, f, r.ctx, nil)
			}
			for i := range ranks {
				r := &ranks[i]
				r.next.connect(t, ranks[(i+1)%n].prev)
				r.prev.connect(t, ranks[(i+n-1)%n].next)
				r.far.connect(t, ranks[(i+2)%n].far)
			}
			for i := range ranks {
				r := &ranks[i]
				for e := range uint64(epochs) {
					must(t, r.prev.qp.PostRecv(verbs.RecvWR{}))
					must(t, r.far.qp.PostRecv(verbs.RecvWR{}))
					must(t, r.next.qp.PostSend(waitFor(r.entered, e+1), verbs.SendWR{}))
					must(t, r.far.qp.PostSend(waitFor(r.entered, e+1), waitFor(r.near, e+1), verbs.SendWR{}))
				}
			}
			for e := range uint64(epochs) {
				late := int(e) % n
				for i := range ranks {
					if i != late {
						must(t, ranks[i].entered.Add(ok(1)))
					}
				}
				time.Sleep(3 * time.Millisecond)
				for i := range ranks {
					if r := &ranks[i]; i != late && r.near.Read() == ok(e+1) && r.across.Read() == ok(e+1) {
						t.Fatalf("epoch %d: rank %d has left before rank %d came", e, i, late)
					}
				}
				must(t, ranks[late].entered.Add(ok(1)))
				for i := range ranks {
					becomes(t, ranks[i].near, ok(e+1))
					becomes(t, ranks[i].across, ok(e+1))
				}
			}
		})
	}
}

// managed makes a queue pair managed.
func managed(in *verbs.QPInit) { in.Managed = true }

// master is a queue pair whose peer is on the same context, for requests that concern only this side.
func master(t testing.TB, f fabricUnder, ctx *verbs.Context) *end {
	t.Helper()
	m, peer := newEndOn(t, f, ctx, nil), newEndOn(t, f, ctx, nil)
	m.connect(t, peer)
	peer.connect(t, m)
	return m
}

func TestSendEnable(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a := newEndOn(t, f, f.context(t), managed)
		b, got := countingEnd(t, f, f.context(t), nil)
		a.connect(t, b)
		b.connect(t, a)
		m := master(t, f, a.ctx)
		post := func(n int) {
			for range n {
				must(t, b.qp.PostRecv(verbs.RecvWR{}))
				must(t, a.qp.PostSend(verbs.SendWR{}))
			}
		}
		post(5)
		for i, step := range []struct {
			enable uint32
			post   int
			want   uint64
		}{{1, 0, 1}, {2, 0, 3}, {4, 0, 5}, {0, 1, 6}, {0, 3, 7}, {0, 0, 9}} {
			// The steps: one, two more, two more than are posted; the first of those posted later goes at
			// once, and so does the second of them; then all that there are.
			if step.enable > 0 || step.post == 0 {
				must(t, m.qp.PostSend(as(uint64(i), enable(a.qp, step.enable))))
				if wc := m.expect(t, uint64(i), verbs.Success); wc.Opcode != verbs.WCSendEnable {
					t.Errorf("completion of %v, want SEND_ENABLE", wc.Opcode)
				}
			}
			post(step.post)
			becomes(t, got, ok(step.want))
			time.Sleep(2 * time.Millisecond)
			if v := got.Read(); v != ok(step.want) {
				t.Fatalf("step %d: %+v messages, want %d", i, v, step.want)
			}
		}
	})
}

func TestWaitAndEnableAreChecked(t *testing.T) {
	a, b := pair(t, plainFabrics[0])
	free := newEndOn(t, a.f, a.ctx, managed)
	gone := newEndOn(t, a.f, a.ctx, managed)
	must(t, gone.qp.Destroy())
	dead := counter(t, a.ctx)
	must(t, dead.Destroy())
	withData := waitFor(counter(t, a.ctx), 0)
	withData.SG = []verbs.SGE{{Buf: make([]byte, 1)}}
	for _, c := range []struct {
		name string
		wr   verbs.SendWR
	}{
		{"WAIT for nothing", verbs.SendWR{Opcode: verbs.WaitCounter}},
		{"WAIT for no counter", waitFor(nil, 1)},
		{"WAIT for a destroyed counter", waitFor(dead, 0)},
		{"WAIT for a counter of another context", waitFor(counter(t, b.ctx), 0)},
		{"WAIT with data", withData},
		{"SEND_ENABLE of nothing", verbs.SendWR{Opcode: verbs.SendEnable}},
		{"SEND_ENABLE of no queue pair", enable(nil, 1)},
		{"SEND_ENABLE of a queue pair that is not managed", enable(a.qp, 1)},
		{"SEND_ENABLE of a destroyed queue pair", enable(gone.qp, 1)},
		{"SEND_ENABLE of a queue pair of another context", enable(b.qp, 1)},
		{"SEND_ENABLE of too many", enable(free.qp, uint32(a.ctx.Limits().MaxWR+1))},
	} {
		t.Run(c.name, func(t *testing.T) { wantErr(t, a.qp.PostSend(c.wr), verbs.ErrInvalid) })
	}
}

// TestEnableOfDestroyedQueuePair destroys the managed queue pair before the request's turn.
func TestEnableOfDestroyedQueuePair(t *testing.T) {
	f := plainFabrics[0]
	m := master(t, f, f.context(t))
	target, k := newEndOn(t, f, m.ctx, managed), counter(t, m.ctx)
	must(t, m.qp.PostSend(waitFor(k, 1), as(2, enable(target.qp, 1)), as(3, waitFor(k, 0))))
	must(t, target.qp.Destroy())
	must(t, k.Add(ok(1)))
	m.expect(t, 2, verbs.LocQPOpErr)
	m.expect(t, 3, verbs.WRFlushErr)
}

// TestArgumentsAreCopied changes what a request points to after posting.
func TestArgumentsAreCopied(t *testing.T) {
	a, b := pair(t, plainFabrics[0])
	k := counter(t, a.ctx)
	must(t, b.qp.PostRecv(verbs.RecvWR{}))
	w := waitFor(k, 1)
	must(t, a.qp.PostSend(as(1, w)))
	w.Wait.Threshold, w.Wait.Counter = 1<<40, nil
	must(t, k.Add(ok(1)))
	if wc := a.expect(t, 1, verbs.Success); wc.Opcode != verbs.WCWait {
		t.Errorf("completion of %v, want WAIT", wc.Opcode)
	}
}

// TestWaitPending ends a WAIT in all the ways in which it does not reach its threshold.
func TestWaitPending(t *testing.T) {
	open := func(t *testing.T, f fabricUnder) (a, b *end, k *verbs.Counter) {
		a, b = pair(t, f)
		k = counter(t, a.ctx)
		must(t, b.qp.PostRecv(verbs.RecvWR{}))
		must(t, a.qp.PostSend(as(1, waitFor(k, 3)), as(2, verbs.SendWR{})))
		must(t, k.Add(ok(2)))
		b.quiet(t, time.Millisecond)
		return a, b, k
	}
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		t.Run("the counter is destroyed", func(t *testing.T) {
			a, _, k := open(t, f)
			must(t, k.Destroy())
			a.expect(t, 1, verbs.LocQPOpErr)
			a.expect(t, 2, verbs.WRFlushErr)
			a.reaches(t, verbs.Err)
		})
		t.Run("the queue pair moves to ERR", func(t *testing.T) {
			a, _, k := open(t, f)
			must(t, a.qp.Modify(verbs.QPAttr{State: verbs.Err}, verbs.AttrState))
			a.expect(t, 1, verbs.WRFlushErr)
			a.expect(t, 2, verbs.WRFlushErr)
			must(t, k.Add(ok(1)))
			must(t, k.Destroy())
			a.quiet(t, time.Millisecond)
		})
		t.Run("the queue pair is reset and used again", func(t *testing.T) {
			a, b, k := open(t, f)
			for _, e := range []*end{a, b} {
				must(t, e.qp.Modify(verbs.QPAttr{State: verbs.Reset}, verbs.AttrState))
			}
			a.again(t, b)
			b.again(t, a)
			must(t, b.qp.PostRecv(verbs.RecvWR{ID: 9}))
			must(t, a.qp.PostSend(as(3, waitFor(k, 4)), as(4, verbs.SendWR{})))
			must(t, k.Add(ok(1))) // the old threshold
			a.quiet(t, time.Millisecond)
			must(t, k.Add(ok(1)))
			a.expect(t, 3, verbs.Success)
			a.expect(t, 4, verbs.Success)
			b.expect(t, 9, verbs.Success)
		})
		t.Run("the queue pair is destroyed", func(t *testing.T) {
			a, _, k := open(t, f)
			must(t, a.qp.Destroy())
			must(t, k.Add(ok(1)))
			must(t, k.Destroy())
		})
		t.Run("the send queue drains", func(t *testing.T) {
			a, b, k := open(t, f)
			must(t, a.qp.Modify(verbs.QPAttr{State: verbs.SQD, EnSQDAsyncNotify: true}, verbs.AttrState|verbs.AttrEnSQDAsyncNotify))
			must(t, a.qp.Modify(verbs.QPAttr{State: verbs.RTS}, verbs.AttrState))
			must(t, a.qp.Modify(verbs.QPAttr{State: verbs.SQD}, verbs.AttrState))
			if at, _ := a.qp.Query(); at.SQDraining {
				t.Error("a WAIT that has not begun is being drained")
			}
			must(t, k.Add(ok(1)))
			a.quiet(t, 2*time.Millisecond)
			must(t, a.qp.Modify(verbs.QPAttr{State: verbs.RTS}, verbs.AttrState))
			a.expect(t, 1, verbs.Success)
			a.expect(t, 2, verbs.Success)
			b.expect(t, 0, verbs.Success)
		})
	})
}

// again connects a queue pair that was connected to the same peer before, once that has noticed.
func (e *end) again(t testing.TB, peer *end) {
	t.Helper()
	at := attrFor(peer)
	e.bring(t, at, verbs.Init)
	at.State = verbs.RTR
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Microsecond) {
		err := e.qp.Modify(at, maskRTR)
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	at.State = verbs.RTS
	must(t, e.qp.Modify(at, maskRTS))
}

// TestWaitDoesNotTimeOut has a WAIT outlast the timers of a peer that is not there yet.
func TestWaitDoesNotTimeOut(t *testing.T) {
	a, b := newEnd(t, plainFabrics[0]), newEnd(t, plainFabrics[0])
	at := attrFor(b)
	at.Timeout, at.RetryCnt = 8, 1 // 2 ms
	k := counter(t, a.ctx)
	a.bring(t, at, verbs.RTS)
	must(t, a.qp.PostSend(as(1, waitFor(k, 1)), as(2, verbs.SendWR{})))
	a.quiet(t, 20*time.Millisecond)
	b.connect(t, a)
	must(t, b.qp.PostRecv(verbs.RecvWR{}))
	must(t, k.Add(ok(1)))
	a.expect(t, 1, verbs.Success)
	a.expect(t, 2, verbs.Success)
}

// TestManagedQueueAfterSQE flushes a managed queue of datagrams: what was flushed counts as run, and no more is.
func TestManagedQueueAfterSQE(t *testing.T) {
	f := plainFabrics[0]
	ctx := f.context(t)
	e := newEndOn(t, f, ctx, func(in *verbs.QPInit) { in.Managed, in.Type = true, verbs.UD })
	a := verbs.QPAttr{Port: 1, State: verbs.Init}
	must(t, e.qp.Modify(a, verbs.AttrState|verbs.AttrPKeyIndex|verbs.AttrPort|verbs.AttrQKey))
	a.State = verbs.RTR
	must(t, e.qp.Modify(a, verbs.AttrState))
	a.State = verbs.RTS
	must(t, e.qp.Modify(a, verbs.AttrState|verbs.AttrSQPSN))
	m := master(t, f, ctx)
	good, err := ctx.CreateAH(e.pd, verbs.AHAttr{Addr: ctx.Addr(), Port: 1})
	must(t, err)
	bad, err := ctx.CreateAH(m.pd, verbs.AHAttr{Addr: ctx.Addr(), Port: 1})
	must(t, err)
	to := func(ah *verbs.AH) verbs.SendWR {
		return verbs.SendWR{UD: &verbs.UDDest{AH: ah, QPN: e.qp.QPN()}}
	}
	must(t, e.qp.PostSend(as(1, to(bad)), as(2, to(good)), as(3, to(good))))
	must(t, m.qp.PostSend(enable(e.qp, 1)))
	e.expect(t, 1, verbs.LocQPOpErr)
	e.expect(t, 2, verbs.WRFlushErr)
	e.expect(t, 3, verbs.WRFlushErr)
	e.reaches(t, verbs.SQE)
	must(t, e.qp.Modify(verbs.QPAttr{State: verbs.RTS}, verbs.AttrState))
	must(t, e.qp.PostSend(as(4, to(good)), as(5, to(good))))
	e.quiet(t, 2*time.Millisecond)
	must(t, m.qp.PostSend(enable(e.qp, 1)))
	e.expect(t, 4, verbs.Success)
	e.quiet(t, 2*time.Millisecond)
	must(t, m.qp.PostSend(enable(e.qp, 0)))
	e.expect(t, 5, verbs.Success)
}

// chainModel runs send queues by hand: every queue as far as it goes, until none goes on.
type chainModel struct {
	queues  [][]chainWR
	managed []bool
	next    []int
	enabled []int
	count   []uint64
	sends   []uint64
}

type chainWR struct {
	op     verbs.Opcode
	target int // counter or queue
	n      uint64
}

func (m *chainModel) run() {
	for moved := true; moved; {
		moved = false
		for i, q := range m.queues {
			if m.next[i] == len(q) || m.managed[i] && m.next[i] >= m.enabled[i] {
				continue
			}
			switch wr := q[m.next[i]]; wr.op {
			case verbs.WaitCounter:
				if m.count[wr.target] < wr.n {
					continue
				}
			case verbs.SendEnable:
				m.enabled[wr.target] += int(wr.n)
			default:
				m.sends[i]++
			}
			m.next[i]++
			moved = true
		}
	}
}

// TestChainsAgainstModel runs random programs of SEND, WAIT and SEND_ENABLE on three queue pairs, one of them managed.
func TestChainsAgainstModel(t *testing.T) {
	for _, f := range plainFabrics {
		t.Run(f.name, func(t *testing.T) {
			const queues, counters = 3, 2
			ctx, far := f.context(t), f.context(t)
			rapid.Check(t, func(rt *rapid.T) {
				m := chainModel{queues: make([][]chainWR, queues), managed: []bool{false, false, true}, next: make([]int, queues),
					enabled: make([]int, queues), count: make([]uint64, counters), sends: make([]uint64, queues)}
				var ks, got []*verbs.Counter
				var a, b []*end
				for range counters {
					ks = append(ks, counter(t, ctx))
				}
				for i := range queues {
					x := newEndOn(t, f, ctx, func(in *verbs.QPInit) { in.Managed = m.managed[i] })
					y, k := countingEnd(t, f, far, nil)
					x.connect(t, y)
					y.connect(t, x)
					a, b, got = append(a, x), append(b, y), append(got, k)
				}
				for range rapid.IntRange(1, 25).Draw(rt, "steps") {
					i := rapid.IntRange(0, queues-1).Draw(rt, "queue")
					wr := chainWR{op: rapid.SampledFrom([]verbs.Opcode{verbs.Send, verbs.WaitCounter, verbs.SendEnable, verbs.Read}).Draw(rt, "step")}
					var post verbs.SendWR
					switch wr.op {
					case verbs.Read: // stands for a host that counts
						k := rapid.IntRange(0, counters-1).Draw(rt, "counter")
						n := rapid.Uint64Range(0, 3).Draw(rt, "by")
						m.count[k] += n
						must(t, ks[k].Add(verbs.CounterValue{Success: n / 2, Failure: n - n/2}))
					case verbs.WaitCounter:
						wr.target, wr.n = rapid.IntRange(0, counters-1).Draw(rt, "counter"), rapid.Uint64Range(0, 8).Draw(rt, "threshold")
						post = waitFor(ks[wr.target], wr.n)
					case verbs.SendEnable:
						wr.target, wr.n = 2, rapid.Uint64Range(1, 3).Draw(rt, "enable")
						post = enable(a[2].qp, uint32(wr.n))
					default:
						must(t, b[i].qp.PostRecv(verbs.RecvWR{}))
					}
					if wr.op != verbs.Read {
						post.Opcode = wr.op
						must(t, a[i].qp.PostSend(post))
						m.queues[i] = append(m.queues[i], wr)
					}
					m.run()
					state := func() (s string) {
						for i, k := range got {
							if v := k.Read(); v != ok(m.sends[i]) {
								s += fmt.Sprintf("queue %d: %+v messages, want %d; ", i, v, m.sends[i])
							}
						}
						return s
					}
					for end := time.Now().Add(10 * time.Second); state() != ""; {
						if time.Now().After(end) {
							rt.Fatal(state())
						}
						if _, err := b[0].cq.Poll(nil); err != nil {
							rt.Fatal(err)
						}
						time.Sleep(5 * time.Microsecond)
					}
				}
				for i := range queues {
					must(t, a[i].qp.Destroy())
					must(t, b[i].qp.Destroy())
					must(t, a[i].cq.Destroy())
					must(t, b[i].cq.Destroy())
					must(t, got[i].Destroy())
				}
				for _, k := range ks {
					must(t, k.Destroy())
				}
			})
		})
	}
}

// TestWaitsDoNotAllocate runs WAIT, SEND_ENABLE and counted sends in steady state.
func TestWaitsDoNotAllocate(t *testing.T) {
	f := plainFabrics[0]
	ctx := f.context(t)
	a := newEndOn(t, f, ctx, managed)
	k := counter(t, ctx)
	must(t, a.qp.AttachCounter(k, verbs.CountSend))
	b := newEndOn(t, f, ctx, nil)
	a.connect(t, b)
	b.connect(t, a)
	m := master(t, f, ctx)
	gate := counter(t, ctx)
	wr, en, send := waitFor(gate, 0), enable(a.qp, 2), verbs.SendWR{Flags: verbs.Signaled}
	en.Flags = verbs.Signaled
	wcs := make([]verbs.WC, 8)
	n := uint64(0)
	got := testing.AllocsPerRun(200, func() {
		n++
		wr.Wait.Threshold = n
		must(t, b.qp.PostRecv(verbs.RecvWR{}))
		must(t, a.qp.PostSend(wr))
		must(t, a.qp.PostSend(send))
		must(t, m.qp.PostSend(en))
		must(t, gate.Add(ok(1)))
		for k.Read().Success < n {
			if _, err := a.cq.Poll(wcs); err != nil {
				t.Fatal(err)
			}
		}
		for _, e := range []*end{a, b, m} { // their send queues' entries are free then
			if _, err := e.cq.Poll(wcs); err != nil {
				t.Fatal(err)
			}
		}
	})
	if got != 0 {
		t.Errorf("%v allocations a round", got)
	}
}
