package verbs_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outboard/verbs"
)

// newSRQ makes a shared receive queue in e's domain.
func (e *end) newSRQ(t testing.TB, in verbs.SRQInit) *verbs.SRQ {
	t.Helper()
	s, err := e.ctx.CreateSRQ(e.pd, in)
	must(t, err)
	return s
}

// takesFrom replaces e's queue pair by one that takes its receives from s.
func (e *end) takesFrom(t testing.TB, s *verbs.SRQ) {
	t.Helper()
	_, in := e.qp.Query()
	must(t, e.qp.Destroy())
	in.SRQ = s
	var err error
	e.qp, err = e.ctx.CreateQP(e.pd, in)
	must(t, err)
}

// sharer is one more queue pair of e's context, domain and completion queue, with the shared receive queue.
func (e *end) sharer(t testing.TB) *end {
	t.Helper()
	_, in := e.qp.Query()
	qp, err := e.ctx.CreateQP(e.pd, in)
	must(t, err)
	return &end{ctx: e.ctx, pd: e.pd, cq: e.cq, qp: qp, f: e.f}
}

// srqPair connects a with b, whose queue pair takes its receives from s.
func srqPair(t testing.TB, f fabricUnder, typ verbs.QPType, in verbs.SRQInit, attr func(side int, a *verbs.QPAttr)) (a, b *end, s *verbs.SRQ) {
	t.Helper()
	a, b = typedEnd(t, f, typ), typedEnd(t, f, typ)
	s = b.newSRQ(t, in)
	b.takesFrom(t, s)
	join(t, a, b, attr)
	return a, b, s
}

// join connects two ends whose attributes are adjusted first.
func join(t testing.TB, a, b *end, attr func(side int, a *verbs.QPAttr)) {
	t.Helper()
	for side, e := range []*end{a, b} {
		at := attrFor([]*end{b, a}[side])
		at.QKey = 7
		if attr != nil {
			attr(side, &at)
		}
		e.bring(t, at, verbs.RTS)
	}
}

var someSRQ = verbs.SRQInit{MaxWR: 16, MaxSGE: 4}

func TestSRQ(t *testing.T) {
	eachConnected(t, func(t *testing.T, typ verbs.QPType, f fabricUnder) {
		a, b, s := srqPair(t, f, typ, someSRQ, nil)
		for i, n := range []int{0, 1, 500, 1024, 5000} {
			for _, op := range []verbs.Opcode{verbs.SendImm, verbs.WriteImm} {
				id := uint64(i)
				src, dst, mem := a.reg(t, pattern(n, 1), 0), b.reg(t, make([]byte, n), allRights), b.reg(t, make([]byte, n), allRights)
				must(t, s.PostRecv(verbs.RecvWR{ID: id, SG: split(dst, 3)}))
				must(t, a.qp.PostSend(verbs.SendWR{ID: id, Opcode: op, Imm: 5, Flags: verbs.Signaled, SG: split(src, 2), RemoteAddr: mem.Addr(), RKey: mem.RKey()}))
				a.expect(t, id, verbs.Success)
				want := verbs.WC{ID: id, Opcode: verbs.WCRecv, QPN: b.qp.QPN(), SrcQP: a.qp.QPN(), Bytes: n, Imm: 5, HasImm: true}
				got := dst.b
				if op == verbs.WriteImm {
					want.Opcode, got = verbs.WCRecvWriteImm, mem.b
				}
				if d := cmp.Diff(want, b.wait(t)); d != "" {
					t.Errorf("receive completion of %v of %d bytes: %s", op, n, d)
				}
				if !bytes.Equal(got, src.b) {
					t.Errorf("%v of %d bytes: other data", op, n)
				}
				for _, r := range []region{src, dst, mem} {
					must(t, r.Dereg())
				}
			}
		}
		b.noEvent(t)
	})
}

// TestSRQIsShared has several queue pairs take from one queue, in the order in which messages begin.
func TestSRQIsShared(t *testing.T) {
	const peers, each = 4, 5
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		first, b, s := srqPair(t, f, verbs.RC, verbs.SRQInit{MaxWR: peers * each, MaxSGE: 1}, nil)
		as, bs := []*end{first}, []*end{b}
		for range peers - 1 {
			x, y := newEnd(t, f), b.sharer(t)
			join(t, x, y, nil)
			as, bs = append(as, x), append(bs, y)
		}
		dst := b.reg(t, make([]byte, peers*each), verbs.LocalWrite)
		for i := range peers * each {
			must(t, s.PostRecv(verbs.RecvWR{ID: uint64(i), SG: []verbs.SGE{dst.part(i, 1)}}))
		}
		next := uint64(0)
		for round := range each {
			for i, a := range as { // one after the other: the order is that of the receives
				src := a.reg(t, []byte{byte(10*i + round)}, 0)
				must(t, a.qp.PostSend(verbs.SendWR{Flags: verbs.Signaled, SG: []verbs.SGE{src.sge()}}))
				a.expect(t, 0, verbs.Success)
				if wc := b.expect(t, next, verbs.Success); wc.QPN != bs[i].qp.QPN() || wc.SrcQP != a.qp.QPN() || dst.b[next] != src.b[0] {
					t.Fatalf("receive completion %+v with byte %d, want that of queue pair %#x with %d", wc, dst.b[next], bs[i].qp.QPN(), src.b[0])
				}
				next++
			}
		}
		// One fails; the others go on.
		must(t, bs[0].qp.Modify(verbs.QPAttr{State: verbs.Err}, verbs.AttrState))
		must(t, s.PostRecv(verbs.RecvWR{ID: 100, SG: []verbs.SGE{dst.part(0, 1)}}))
		must(t, as[1].qp.PostSend(verbs.SendWR{}))
		b.expect(t, 100, verbs.Success)
		if ev := b.event(t, verbs.EventQPLastWQE); ev.QPN != bs[0].qp.QPN() || ev.SRQ != s {
			t.Errorf("event %+v, want of queue pair %#x and its shared queue", ev, bs[0].qp.QPN())
		}
	})
}

func TestSRQEmpty(t *testing.T) {
	t.Run("receive comes in time", func(t *testing.T) {
		eachFabric(t, func(t *testing.T, f fabricUnder) {
			a, b, s := srqPair(t, f, verbs.RC, someSRQ, func(_ int, at *verbs.QPAttr) { at.MinRNRTimer = 10 })
			for i := range uint64(3) {
				must(t, a.qp.PostSend(verbs.SendWR{ID: i, Flags: verbs.Signaled}))
				a.quiet(t, time.Millisecond)
				must(t, s.PostRecv(verbs.RecvWR{ID: i}))
				a.expect(t, i, verbs.Success)
				b.expect(t, i, verbs.Success)
			}
			if a.ctx.HWCounters().RcvdRNRErr == 0 {
				t.Error("no RNR NAK")
			}
		})
	})
	t.Run("none comes", func(t *testing.T) {
		eachFabric(t, func(t *testing.T, f fabricUnder) {
			const code, wait = 16, 2560 * time.Microsecond
			a, b, _ := srqPair(t, f, verbs.RC, someSRQ, func(_ int, at *verbs.QPAttr) { at.MinRNRTimer, at.RNRRetry = code, 2 })
			start := time.Now()
			must(t, a.qp.PostSend(verbs.SendWR{ID: 1}))
			a.expect(t, 1, verbs.RNRRetryExcErr)
			if took := time.Since(start); took < 2*wait {
				t.Errorf("gave up after %v, want at least %v", took, 2*wait)
			}
			if b.state() != verbs.RTS {
				t.Errorf("responder in %v, want RTS", b.state())
			}
		})
	})
}

func TestSRQResize(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b, s := srqPair(t, f, verbs.RC, verbs.SRQInit{MaxWR: 4, MaxSGE: 2}, nil)
		dst := b.reg(t, make([]byte, 64), verbs.LocalWrite)
		next, taken := uint64(0), uint64(0)
		postAll := func(n int) {
			t.Helper()
			for range n {
				must(t, s.PostRecv(verbs.RecvWR{ID: next, SG: []verbs.SGE{dst.part(int(next%8)*8, 8)}}))
				next++
			}
			wantErr(t, s.PostRecv(verbs.RecvWR{}), verbs.ErrQueueFull)
		}
		takeN := func(n int) {
			t.Helper()
			for range n {
				src := a.reg(t, []byte{byte(taken + 1)}, 0)
				must(t, a.qp.PostSend(verbs.SendWR{SG: []verbs.SGE{src.sge()}}))
				b.expect(t, taken, verbs.Success)
				if got := dst.b[taken%8*8]; got != byte(taken+1) {
					t.Fatalf("receive %d has %d, want %d", taken, got, taken+1)
				}
				taken++
			}
		}
		postAll(4)
		takeN(2)
		postAll(2) // the ring has wrapped around
		must(t, s.Modify(verbs.SRQInit{MaxWR: 8}, verbs.SRQMaxWR))
		postAll(4)
		takeN(3)
		wantErr(t, s.Modify(verbs.SRQInit{MaxWR: 4}, verbs.SRQMaxWR), verbs.ErrInvalid) // five are outstanding
		must(t, s.Modify(verbs.SRQInit{MaxWR: 5}, verbs.SRQMaxWR))
		postAll(0)
		takeN(5)
		got, err := s.Query()
		must(t, err)
		if want := (verbs.SRQInit{MaxWR: 5, MaxSGE: 2}); got != want {
			t.Errorf("Query gives %+v, want %+v", got, want)
		}
		must(t, dst.Dereg()) // none holds it
	})
}

func TestSRQLimit(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b, s := srqPair(t, f, verbs.RC, someSRQ, nil)
		for i := range uint64(8) {
			must(t, s.PostRecv(verbs.RecvWR{ID: i}))
		}
		next := uint64(0)
		takeOne := func() {
			t.Helper()
			must(t, a.qp.PostSend(verbs.SendWR{}))
			b.expect(t, next, verbs.Success)
			next++
		}
		limit := func() int {
			q, err := s.Query()
			must(t, err)
			return q.Limit
		}
		for _, l := range []int{6, 3} { // it is armed again
			must(t, s.Modify(verbs.SRQInit{Limit: l}, verbs.SRQLimit))
			for 8-int(next) > l {
				takeOne()
			}
			b.noEvent(t) // as many as the limit are left
			if limit() != l {
				t.Errorf("limit %d, want %d: it is armed", limit(), l)
			}
			takeOne()
			if ev := b.event(t, verbs.EventSRQLimit); ev.SRQ != s {
				t.Error("event of another queue")
			}
			if limit() != 0 {
				t.Errorf("limit %d after the event, want 0", limit())
			}
			takeOne()
			b.noEvent(t) // once
		}
		must(t, s.Modify(verbs.SRQInit{Limit: 8}, verbs.SRQLimit)) // fewer are left already
		b.event(t, verbs.EventSRQLimit)
		must(t, s.Modify(verbs.SRQInit{Limit: 1}, verbs.SRQLimit))
		must(t, s.Modify(verbs.SRQInit{Limit: 0}, verbs.SRQLimit)) // disarmed
		for next < 8 {
			takeOne()
		}
		b.noEvent(t)
	})
}

// TestSRQTakenReceiveIsFlushed has a queue pair fail in the middle of a message.
func TestSRQTakenReceiveIsFlushed(t *testing.T) {
	for _, end := range []string{"ERR", "RESET", "destroy"} {
		t.Run(end, func(t *testing.T) {
			// The sender's wire is cut after the first packet of two.
			a, b := onLossyWire(t, cutAfter(1), true)
			_, in := b.qp.Query()
			dst, src := b.reg(t, make([]byte, 500), verbs.LocalWrite), a.reg(t, pattern(500, 1), 0)
			must(t, in.SRQ.PostRecv(verbs.RecvWR{ID: 1, SG: []verbs.SGE{dst.sge()}}, verbs.RecvWR{ID: 2, SG: []verbs.SGE{dst.sge()}}))
			must(t, a.qp.PostSend(verbs.SendWR{SG: []verbs.SGE{src.sge()}}))
			b.quiet(t, 2*time.Millisecond)
			if dst.b[0] != src.b[0] {
				t.Fatal("the first packet has not come")
			}
			switch end {
			case "ERR":
				b.modify(t, verbs.QPAttr{State: verbs.Err}, verbs.AttrState)
				b.expect(t, 1, verbs.WRFlushErr)
				b.event(t, verbs.EventQPLastWQE)
			case "RESET":
				b.modify(t, verbs.QPAttr{State: verbs.Reset}, verbs.AttrState)
			case "destroy":
				must(t, b.qp.Destroy())
			}
			b.quiet(t, 0)
			wantErr(t, dst.Dereg(), verbs.ErrBusy) // the second receive is still there
			if end != "destroy" {
				must(t, b.qp.Destroy())
			}
			must(t, in.SRQ.Destroy())
			must(t, dst.Dereg())
		})
	}
}

func TestSRQLastWQE(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b, s := srqPair(t, f, verbs.RC, someSRQ, nil)
		must(t, s.PostRecv(verbs.RecvWR{ID: 1}))
		must(t, a.ctx.Close())
		if ev := b.event(t, verbs.EventQPLastWQE); ev.QPN != b.qp.QPN() || ev.SRQ != s {
			t.Errorf("event %+v, want of queue pair %#x", ev, b.qp.QPN())
		}
		b.quiet(t, 0) // the receive belongs to the shared queue
		b.modify(t, verbs.QPAttr{State: verbs.Err}, verbs.AttrState)
		b.noEvent(t) // once
	})
}

// TestSRQDomain: buffers lie in the domain of the shared queue, whatever the queue pair's.
func TestSRQDomain(t *testing.T) {
	eachLossless(t, func(t *testing.T, f fabricUnder) {
		a, b := newEnd(t, f), newEnd(t, f)
		host := newEndOn(t, f, b.ctx, nil) // another domain
		s := host.newSRQ(t, someSRQ)
		b.takesFrom(t, s)
		join(t, a, b, nil)
		good, bad := host.reg(t, make([]byte, 8), verbs.LocalWrite), b.reg(t, make([]byte, 8), verbs.LocalWrite)
		src := a.reg(t, pattern(8, 1), 0)
		must(t, s.PostRecv(verbs.RecvWR{ID: 1, SG: []verbs.SGE{good.sge()}}, verbs.RecvWR{ID: 2, SG: []verbs.SGE{bad.sge()}}))
		must(t, a.qp.PostSend(verbs.SendWR{ID: 1, Flags: verbs.Signaled, SG: []verbs.SGE{src.sge()}}, verbs.SendWR{ID: 2, SG: []verbs.SGE{src.sge()}}))
		b.expect(t, 1, verbs.Success)
		b.expect(t, 2, verbs.LocProtErr)
		a.expect(t, 1, verbs.Success)
		a.expect(t, 2, verbs.RemOpErr)
		b.event(t, verbs.EventQPFatal)
	})
}

func TestSRQRefusals(t *testing.T) {
	e, other := newEnd(t, plainFabrics[0]), newEnd(t, plainFabrics[0])
	l := e.ctx.Limits()
	dead, err := e.ctx.AllocPD()
	must(t, err)
	must(t, dead.Dealloc())
	for name, c := range map[string]struct {
		pd *verbs.PD
		in verbs.SRQInit
	}{
		"no domain":            {nil, someSRQ},
		"domain of another":    {other.pd, someSRQ},
		"dead domain":          {dead, someSRQ},
		"no receives":          {e.pd, verbs.SRQInit{}},
		"too many receives":    {e.pd, verbs.SRQInit{MaxWR: l.MaxSRQWR + 1}},
		"fewer pieces than 0":  {e.pd, verbs.SRQInit{MaxWR: 1, MaxSGE: -1}},
		"too many pieces":      {e.pd, verbs.SRQInit{MaxWR: 1, MaxSGE: l.MaxSRQSGE + 1}},
		"negative limit":       {e.pd, verbs.SRQInit{MaxWR: 1, Limit: -1}},
		"limit above the size": {e.pd, verbs.SRQInit{MaxWR: 1, Limit: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := e.ctx.CreateSRQ(c.pd, c.in)
			wantErr(t, err, verbs.ErrInvalid)
		})
	}
	s := e.newSRQ(t, verbs.SRQInit{MaxWR: 2, MaxSGE: 1, Limit: 1})
	if e2 := e.newSRQ(t, someSRQ); e2.Num() == s.Num() {
		t.Errorf("two queues of number %d", s.Num())
	}
	for name, c := range map[string]struct {
		in   verbs.SRQInit
		mask verbs.SRQMask
	}{
		"unknown mask": {someSRQ, 1 << 5}, "no size": {verbs.SRQInit{}, verbs.SRQMaxWR}, "too large": {verbs.SRQInit{MaxWR: l.MaxSRQWR + 1}, verbs.SRQMaxWR},
		"negative limit": {verbs.SRQInit{Limit: -1}, verbs.SRQLimit}, "limit above the size": {verbs.SRQInit{Limit: 3}, verbs.SRQLimit},
		"limit above the new size": {verbs.SRQInit{MaxWR: 1, Limit: 2}, verbs.SRQLimit | verbs.SRQMaxWR},
		"size below the limit":     {verbs.SRQInit{MaxWR: 0}, verbs.SRQMaxWR},
	} {
		t.Run("modify/"+name, func(t *testing.T) {
			wantErr(t, s.Modify(c.in, c.mask), verbs.ErrInvalid)
			if got, err := s.Query(); err != nil || got != (verbs.SRQInit{MaxWR: 2, MaxSGE: 1, Limit: 1}) {
				t.Errorf("%+v, %v after a Modify that failed", got, err)
			}
		})
	}
	t.Run("posts", func(t *testing.T) {
		err := s.PostRecv(verbs.RecvWR{}, verbs.RecvWR{SG: make([]verbs.SGE, 2)})
		if wantErr(t, err, verbs.ErrInvalid); indexOf(err) != 1 {
			t.Errorf("error %v, want index 1", err)
		}
		err = s.PostRecv(verbs.RecvWR{}, verbs.RecvWR{})
		if wantErr(t, err, verbs.ErrQueueFull); indexOf(err) != 1 {
			t.Errorf("error %v, want index 1", err)
		}
	})
	t.Run("a queue pair's own receives", func(t *testing.T) {
		b := newEndOn(t, plainFabrics[0], e.ctx, func(in *verbs.QPInit) { in.SRQ = s })
		b.bring(t, attrFor(other), verbs.Init)
		wantErr(t, b.qp.PostRecv(verbs.RecvWR{}), verbs.ErrInvalid)
		must(t, b.qp.Destroy())
	})
	t.Run("queue of another context", func(t *testing.T) {
		_, err := other.ctx.CreateQP(other.pd, verbs.QPInit{SendCQ: other.cq, RecvCQ: other.cq, SRQ: s})
		wantErr(t, err, verbs.ErrInvalid)
	})
}

// TestSRQOrder posts, resizes and takes at random.
func TestSRQOrder(t *testing.T) {
	a, b, s := srqPair(t, plainFabrics[0], verbs.RC, verbs.SRQInit{MaxWR: 1, MaxSGE: 1}, nil)
	var queue []uint64
	size, next := 1, uint64(0)
	for step := range 600 {
		switch x := (step * 2654435761) >> 7 % 5; {
		case x < 2:
			err := s.PostRecv(verbs.RecvWR{ID: next})
			if full := len(queue) == size; full {
				wantErr(t, err, verbs.ErrQueueFull)
				continue
			}
			must(t, err)
			queue = append(queue, next)
			next++
		case x < 4 && len(queue) > 0:
			must(t, a.qp.PostSend(verbs.SendWR{Flags: verbs.Signaled}))
			a.expect(t, 0, verbs.Success)
			b.expect(t, queue[0], verbs.Success)
			queue = queue[1:]
		case x == 4:
			want := 1 + step%7
			err := s.Modify(verbs.SRQInit{MaxWR: want}, verbs.SRQMaxWR)
			if want < len(queue) {
				wantErr(t, err, verbs.ErrInvalid)
				continue
			}
			must(t, err)
			size = want
		}
	}
	if next < 100 {
		t.Fatalf("only %d receives were posted", next)
	}
}
