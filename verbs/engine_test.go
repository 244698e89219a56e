package verbs_test

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"outboard/verbs"
)

// collector is a sink that puts messages together, and refuses as many packets as it is told.
type collector struct {
	refuse   int
	message  []byte
	messages [][]byte
	imm      []uint32
	tags     []int32
	down     []error
	broken   string // a rule of Sink that was broken
}

func (c *collector) Packet(p *verbs.Packet) bool {
	if c.refuse > 0 {
		c.refuse--
		return false
	}
	if p.First != (len(c.message) == 0) || p.Offset != len(c.message) {
		c.broken = "packet out of place"
	}
	c.message = append(c.message, p.Payload...)
	if p.Last {
		c.messages, c.message = append(c.messages, c.message), nil
		c.tags = append(c.tags, p.Tag)
		if p.HasImm {
			c.imm = append(c.imm, p.Imm)
		}
	}
	return true
}

func (c *collector) Down(tag int32, err error) {
	c.tags, c.down = append(c.tags, tag), append(c.down, err)
}

// nic is a context with a sink at endpoint 0.
type nic struct {
	*end
	eng  verbs.Engine
	sink *collector
}

func newNIC(t testing.TB, f fabricUnder) *nic {
	n := &nic{sink: &collector{}}
	ctx, err := verbs.Open(f.open(t))
	must(t, err)
	t.Cleanup(func() { ctx.Close() })
	n.eng = ctx.Engine()
	n.end = &end{ctx: ctx, f: f}
	n.pd, err = ctx.AllocPD()
	must(t, err)
	n.cq, err = ctx.CreateCQ(16, nil)
	must(t, err)
	return n
}

// attach makes the queue pair.
func (n *nic) attach(t testing.TB) {
	n.eng.Lock()
	defer n.eng.Unlock()
	var err error
	n.qp, err = n.eng.CreateQP(n.pd, verbs.QPInit{SendCQ: n.cq, RecvCQ: n.cq, Sink: n.sink, Tag: 42, Cap: verbs.QPCap{SendWR: 4, RecvWR: 1, SendSGE: 2}}, 0)
	must(t, err)
}

// bringUp connects by the engine's calls.
func (n *nic) bringUp(t testing.TB, addr string, qpn uint32) {
	a := verbs.QPAttr{Port: 1, Access: allRights, AV: addr, PathMTU: 1024, DestQPN: qpn, MaxRdAtomic: 4, MaxDestRdAtomic: 4}
	for _, s := range []struct {
		to   verbs.State
		mask verbs.AttrMask
	}{{verbs.Init, maskInit}, {verbs.RTR, maskRTR}, {verbs.RTS, maskRTS}} {
		a.State = s.to
		must(t, n.eng.Modify(n.qp, a, s.mask))
	}
}

func nicPair(t testing.TB, f fabricUnder) (x, y *nic) {
	x, y = newNIC(t, f), newNIC(t, f)
	x.attach(t)
	y.attach(t)
	for _, p := range [][2]*nic{{x, y}, {y, x}} {
		p[0].eng.Lock()
		p[0].bringUp(t, p[1].ctx.Addr(), p[1].qp.QPN())
		p[0].eng.Unlock()
	}
	return x, y
}

// locked runs f with the NIC's lock until it reports true.
func (n *nic) locked(t testing.TB, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		n.eng.Lock()
		ok := f()
		if !ok {
			n.eng.Poll()
		}
		n.eng.Unlock()
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatal("nothing came")
		}
	}
}

func TestSinkGetsMessages(t *testing.T) {
	eachReliable(t, func(t *testing.T, f fabricUnder) {
		x, y := nicPair(t, f)
		y.sink.refuse = 5
		src := x.reg(t, pattern(3000, 1), 0)
		var want [][]byte
		for i := range 10 {
			head, data := pattern(16, byte(i)), pattern(i*50, byte(i+1))
			x.locked(t, func() bool { return x.eng.SendNow(x.qp, head, data) })
			want = append(want, append(head, data...))
		}
		must(t, x.qp.PostSend(verbs.SendWR{Opcode: verbs.SendImm, Imm: 8, SG: []verbs.SGE{src.sge()}}))
		want = append(want, src.b)
		y.locked(t, func() bool { return len(y.sink.messages) == len(want) })
		for i := range want {
			if !bytes.Equal(y.sink.messages[i], want[i]) || y.sink.tags[i] != 42 {
				t.Errorf("message %d is not what was sent, or has tag %d", i, y.sink.tags[i])
			}
		}
		if y.sink.broken != "" || len(y.sink.imm) != 1 || y.sink.imm[0] != 8 {
			t.Errorf("%s; immediates %v, want one 8", y.sink.broken, y.sink.imm)
		}
	})
}

// TestHostSendsToSink has an ordinary queue pair send to a sink: no receives are needed, but for an immediate.
func TestHostSendsToSink(t *testing.T) {
	eachReliable(t, func(t *testing.T, f fabricUnder) {
		a, y := newEnd(t, f), newNIC(t, f)
		y.attach(t)
		y.eng.Lock()
		y.bringUp(t, a.ctx.Addr(), a.qp.QPN())
		y.eng.Unlock()
		a.connect(t, y.end)
		for i := range uint64(8) {
			must(t, a.qp.PostSend(verbs.SendWR{ID: i, Flags: verbs.Signaled}))
			a.expect(t, i, verbs.Success)
		}
		must(t, a.qp.PostSend(verbs.SendWR{ID: 9, Opcode: verbs.WriteImm, Flags: verbs.Signaled}))
		a.quiet(t, 2*time.Millisecond)
		must(t, y.qp.PostRecv(verbs.RecvWR{ID: 1}))
		a.expect(t, 9, verbs.Success)
		y.expect(t, 1, verbs.Success)
		y.locked(t, func() bool { return len(y.sink.messages) == 8 })
	})
}

func TestSendNowRefuses(t *testing.T) {
	x, y := nicPair(t, plainFabrics[0])
	y.locked(t, func() bool { y.sink.refuse = 1 << 30; return true })
	x.eng.Lock()
	n := 0
	for x.eng.SendNow(x.qp, []byte("x"), nil) {
		n++
	}
	x.eng.Unlock()
	if n == 0 || n > 1000 {
		t.Fatalf("%d messages went before the wire was full", n)
	}
	must(t, x.qp.PostSend(verbs.SendWR{ID: 7, Flags: verbs.Signaled}))
	y.locked(t, func() bool { y.sink.refuse = 0; return len(y.sink.messages) > n/2 })
	y.locked(t, func() bool { return len(y.sink.messages) == n+1 }) // the request keeps its place
	x.expect(t, 7, verbs.Success)
	x.eng.Lock()
	defer x.eng.Unlock()
	x.eng.Fail(x.qp, "enough")
	if x.eng.SendNow(x.qp, nil, nil) || x.eng.State(x.qp) != verbs.Err {
		t.Error("a queue pair in ERR sends")
	}
	if len(x.sink.down) != 1 || !errors.Is(x.sink.down[0], verbs.RetryExcErr) {
		t.Errorf("the sink was told %v, want one retry exceeded", x.sink.down)
	}
}

// TestKnock has one side send before the other has a queue pair.
func TestKnock(t *testing.T) {
	for _, f := range plainFabrics {
		t.Run(f.name, func(t *testing.T) {
			x, y := newNIC(t, f), newNIC(t, f)
			x.attach(t)
			y.eng.Lock()
			y.eng.Attach(nil, func(ep int) {
				if ep != 0 {
					t.Errorf("knock at endpoint %d, want 0", ep)
				}
				var err error
				y.qp, err = y.eng.CreateQP(y.pd, verbs.QPInit{SendCQ: y.cq, RecvCQ: y.cq, Sink: y.sink, Tag: 42, Cap: verbs.QPCap{SendWR: 4}}, 0)
				must(t, err)
				y.bringUp(t, x.ctx.Addr(), x.qp.QPN())
			})
			y.eng.Unlock()
			x.eng.Lock()
			x.bringUp(t, y.ctx.Addr(), verbs.QPNOf(0))
			ok := x.eng.SendNow(x.qp, []byte("early"), nil)
			x.eng.Unlock()
			if !ok {
				t.Fatal("no room on an empty wire")
			}
			y.locked(t, func() bool { return len(y.sink.messages) == 1 })
			if string(y.sink.messages[0]) != "early" {
				t.Errorf("message %q, want early", y.sink.messages[0])
			}
		})
	}
}

// TestEngineReads reads a peer's memory into any memory, by the reserved key, and lets go of the peer's.
func TestEngineReads(t *testing.T) {
	eachReliable(t, func(t *testing.T, f fabricUnder) {
		x, y := nicPair(t, f)
		src := pattern(2000, 3)
		y.eng.Lock()
		mr, err := y.eng.RegMR(y.pd, src, verbs.RemoteRead)
		y.eng.Unlock()
		must(t, err)
		dst := make([]byte, 2000)
		var wc [1]verbs.WC
		read := func(want verbs.Status) {
			t.Helper()
			x.eng.Lock()
			err := x.eng.PostSend(x.qp, &verbs.SendWR{ID: 3, Opcode: verbs.Read, Flags: verbs.Signaled, SG: []verbs.SGE{{Buf: dst, LKey: verbs.ReservedLKey}}, RemoteAddr: mr.Addr(), RKey: mr.RKey()})
			x.eng.Unlock()
			must(t, err)
			x.locked(t, func() bool { return x.eng.TakeCQ(x.cq, wc[:]) == 1 })
			if wc[0].Status != want {
				t.Fatalf("completion %+v, want %v", wc[0], want)
			}
		}
		read(verbs.Success)
		if !bytes.Equal(dst, src) {
			t.Error("other data")
		}
		y.eng.Lock()
		err = y.eng.DeregMR(mr)
		y.eng.Unlock()
		must(t, err)
		read(verbs.RemAccessErr)
		y.locked(t, func() bool { return len(y.sink.down) == 1 })
		x.locked(t, func() bool { return len(x.sink.down) == 1 })
	})
}

// TestFaultInTurn fails a direct access behind sends that the peer has not taken: they complete first.
func TestFaultInTurn(t *testing.T) {
	x, y := nicPair(t, plainFabrics[0])
	y.locked(t, func() bool { y.sink.refuse = 1 << 30; return true })
	must(t, x.qp.PostSend(verbs.SendWR{ID: 1, Flags: verbs.Signaled}, verbs.SendWR{ID: 2, Opcode: verbs.Read, RKey: 0x9900, SG: []verbs.SGE{{Buf: make([]byte, 8), LKey: verbs.ReservedLKey}}}))
	x.quiet(t, time.Millisecond)
	y.locked(t, func() bool { y.sink.refuse = 0; return true })
	x.expect(t, 1, verbs.Success)
	x.expect(t, 2, verbs.RemAccessErr)
}

// A poster is a sink that posts a request on another queue pair when its own fails.
type poster struct {
	collector
	eng verbs.Engine
	qp  *verbs.QP
	err error
}

func (p *poster) Down(int32, error) {
	p.err = p.eng.PostSend(p.qp, &verbs.SendWR{ID: 6, Flags: verbs.Signaled})
}

// TestPostFromDown posts from within a run of the queue pairs that have work: what is posted must not be forgotten.
func TestPostFromDown(t *testing.T) {
	x := newEnd(t, plainFabrics[0]) // its queue pair is the one that is posted to
	z := newEnd(t, plainFabrics[0])
	x.connect(t, z)
	z.connect(t, x)
	sink := &poster{eng: x.ctx.Engine(), qp: x.qp}
	victim := newEndOn(t, x.f, x.ctx, func(in *verbs.QPInit) { in.Sink = sink })
	mate := newEnd(t, plainFabrics[0])
	at := attrFor(mate)
	at.RNRRetry, at.Timeout = 1, 0
	victim.bring(t, at, verbs.RTS)
	at = attrFor(victim)
	at.MinRNRTimer = 12
	mate.bring(t, at, verbs.RTS)
	must(t, victim.qp.PostSend(verbs.SendWR{ID: 1})) // no receive: fails in a later run
	victim.expect(t, 1, verbs.RNRRetryExcErr)
	must(t, z.qp.PostRecv(verbs.RecvWR{ID: 5}))
	x.expect(t, 6, verbs.Success)
	z.expect(t, 5, verbs.Success)
	must(t, sink.err)
}

// A panicking sink panics whoever runs the NIC.
type panicking struct{}

func (panicking) Packet(*verbs.Packet) bool { panic("packet") }
func (panicking) Down(int32, error)         {}

// TestPanicUnderLock: who recovers from a panic of a function that the NIC has called can go on with the context.
func TestPanicUnderLock(t *testing.T) {
	for name, wait := range map[string]func(e *end) error{
		"poll":          func(e *end) error { _, err := e.cq.Poll(nil); return err },
		"wait":          func(e *end) error { return e.ctx.Wait(t.Context(), func() bool { return false }) },
		"wait, asleep":  func(e *end) error { return e.ctx.Wait(t.Context(), func() bool { return false }) },
		"done of await": func(e *end) error { return e.ctx.Wait(t.Context(), func() bool { panic("done") }) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pairWith(t, plainFabrics[0], nil, func(in *verbs.QPInit) { in.Sink = panicking{} })
			b.ctx.Manual(time.Now) // its goroutine would panic, too
			if name == "wait, asleep" {
				b.ctx.SetWait(verbs.WaitPolicy{})
			}
			must(t, a.qp.PostSend(verbs.SendWR{}))
			func() {
				defer func() {
					if recover() == nil {
						t.Error("no panic")
					}
				}()
				_ = wait(b)
			}()
			closed := make(chan error, 1)
			go func() { closed <- b.ctx.Close() }()
			select {
			case err := <-closed:
				must(t, err)
			case <-time.After(5 * time.Second):
				t.Fatal("the NIC's lock is held")
			}
		})
	}
}

func TestSpinAndAgain(t *testing.T) {
	n := newNIC(t, plainFabrics[0])
	var flag atomic.Uint32
	runs := 0
	n.eng.Lock()
	n.eng.Attach(func() time.Duration { runs++; flag.Store(1); return 0 }, nil)
	n.eng.Poll()
	if runs != 0 {
		t.Error("the runtime ran although nothing arrived")
	}
	n.eng.Again()
	n.eng.Spin(&flag)
	n.eng.Unlock()
	if runs != 1 {
		t.Errorf("the runtime ran %d times, want once", runs)
	}
	must(t, n.eng.WaitFlag(context.Background(), &flag))
	if !n.eng.TryLock() {
		t.Fatal("the lock is held")
	}
	n.eng.Unlock()
	n.eng.Ring()
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	for _, f := range plainFabrics {
		t.Run(f.name, func(t *testing.T) {
			x, y, qx, _, _, _ := enginePair(t, f)
			hdr, data := make([]byte, 16), make([]byte, 8)
			a, b := pair(t, f)
			src, dst := a.reg(t, make([]byte, 8), 0), b.reg(t, make([]byte, 8), allRights)
			var wc [2]verbs.WC
			send := verbs.SendWR{Flags: verbs.Signaled, SG: []verbs.SGE{src.sge()}}
			write := verbs.SendWR{Opcode: verbs.Write, Flags: verbs.Signaled, SG: []verbs.SGE{src.sge()}, RemoteAddr: dst.Addr(), RKey: dst.RKey()}
			recv := verbs.RecvWR{SG: []verbs.SGE{dst.sge()}}
			for name, run := range map[string]func(){
				"SendNow": func() {
					x.Lock()
					x.SendNow(qx, hdr, data)
					x.Unlock()
					y.Lock()
					y.Poll()
					y.Unlock()
				},
				"SEND": func() {
					must(t, b.qp.PostRecv(recv))
					must(t, a.qp.PostSend(send))
					b.cq.Poll(wc[:])
					a.cq.Poll(wc[:])
				},
				"WRITE": func() {
					must(t, a.qp.PostSend(write))
					a.cq.Poll(wc[:])
				},
			} {
				if n := testing.AllocsPerRun(200, run); n > 0.5 {
					t.Errorf("%s: %v allocations", name, n)
				}
			}
		})
	}
}
