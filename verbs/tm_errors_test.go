package verbs_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"outboard/verbs"
)

func TestTMCreate(t *testing.T) {
	e, other := newEnd(t, plainFabrics[0]), newEnd(t, plainFabrics[0])
	l := e.ctx.Limits()
	if c := e.ctx.QueryDevice().TM; c.MaxNumTags != l.MaxTMTags || c.MaxOps != l.MaxTMOps || c.MaxSGE != l.MaxTMSGE || c.MaxRndvHdrSize != l.MaxTMRndvHdr || c.Flags != verbs.TMCapRC {
		t.Errorf("capabilities %+v, want those of the limits %+v", c, l)
	}
	good := verbs.TMInit{MaxTags: l.MaxTMTags, MaxOps: l.MaxTMOps, CQ: e.cq}
	for _, tt := range []struct {
		name   string
		change func(*verbs.TMInit)
	}{
		{"no tags", func(in *verbs.TMInit) { in.MaxTags = 0 }},
		{"too many tags", func(in *verbs.TMInit) { in.MaxTags++ }},
		{"no operations", func(in *verbs.TMInit) { in.MaxOps = 0 }},
		{"too many operations", func(in *verbs.TMInit) { in.MaxOps++ }},
		{"no completion queue", func(in *verbs.TMInit) { in.CQ = nil }},
		{"completion queue of another context", func(in *verbs.TMInit) { in.CQ = other.cq }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := good
			tt.change(&in)
			_, err := e.ctx.CreateSRQ(e.pd, verbs.SRQInit{MaxWR: 1, TM: &in})
			wantErr(t, err, verbs.ErrInvalid)
		})
	}
	cq, err := e.ctx.CreateCQ(16, nil)
	must(t, err)
	good.CQ = cq
	s, err := e.ctx.CreateSRQ(e.pd, verbs.SRQInit{MaxWR: 1, TM: &good})
	must(t, err)
	if in, err := s.Query(); err != nil || in.TM == nil || *in.TM != good {
		t.Errorf("query %+v, %v, want %+v", in.TM, err, good)
	}
	wantErr(t, cq.Destroy(), verbs.ErrBusy)
	for _, in := range []verbs.QPInit{{Type: verbs.UD}, {Type: verbs.UC}, {Managed: true}} {
		in.SendCQ, in.RecvCQ, in.SRQ = e.cq, e.cq, s
		_, err = e.ctx.CreateQP(e.pd, in)
		wantErr(t, err, verbs.ErrInvalid)
	}
	must(t, s.Destroy())
	must(t, cq.Destroy())
	wantErr(t, s.PostOps(&verbs.TMOp{Kind: verbs.TagSync}), verbs.ErrDestroyed)

	basic, err := e.ctx.CreateSRQ(e.pd, verbs.SRQInit{MaxWR: 1})
	must(t, err)
	wantErr(t, basic.PostOps(&verbs.TMOp{Kind: verbs.TagSync}), verbs.ErrInvalid)
}

func TestTMPostOpsErrors(t *testing.T) {
	p := newTMPair(t, plainFabrics[0], verbs.TMInit{MaxTags: 2, MaxOps: 3})
	good := func() *verbs.TMOp { return &verbs.TMOp{ID: 1, Kind: verbs.TagSync} }
	add := func() *verbs.TMOp { return &verbs.TMOp{Kind: verbs.TagAdd} }
	for _, tt := range []struct {
		name string
		ops  []*verbs.TMOp
		at   int
		want error
	}{
		{"nil", []*verbs.TMOp{good(), nil}, 1, verbs.ErrInvalid},
		{"unknown kind", []*verbs.TMOp{{Kind: 3}}, 0, verbs.ErrInvalid},
		{"unknown flag", []*verbs.TMOp{good(), good(), {Kind: verbs.TagSync, Flags: 4}}, 2, verbs.ErrInvalid},
		{"too many pieces", []*verbs.TMOp{{Kind: verbs.TagAdd, SG: make([]verbs.SGE, p.b.ctx.Limits().MaxTMSGE+1)}}, 0, verbs.ErrInvalid},
		{"list full", []*verbs.TMOp{add(), add(), add()}, 2, verbs.ErrQueueFull},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := p.srq.PostOps(tt.ops...)
			wantErr(t, err, tt.want)
			var e *verbs.Error
			if errors.As(err, &e); e.Index != tt.at || e.Op != "post_srq_ops" || e.Object == "" {
				t.Errorf("error %+v, want index %d", e, tt.at)
			}
			for _, op := range tt.ops {
				if op != nil && op.Handle != 0 {
					p.del(t, op.Handle, verbs.Success, 0)
				}
			}
		})
	}
	t.Run("too many operations", func(t *testing.T) {
		sync := &verbs.TMOp{ID: 1, Kind: verbs.TagSync, Flags: verbs.OpsSignaled}
		for range 3 { // each is outstanding until it is polled
			err := p.srq.PostOps(sync, sync, sync, sync)
			wantErr(t, err, verbs.ErrQueueFull)
			for range 3 {
				p.b.expect(t, 1, verbs.Success)
			}
		}
	})
}

// TestTMOwnsTheSendQueue: the NIC's own requests are there, the host's are not.
func TestTMOwnsTheSendQueue(t *testing.T) {
	p := newTMPair(t, plainFabrics[0], verbs.TMInit{})
	wantErr(t, p.b.qp.PostSend(verbs.SendWR{Opcode: verbs.Send}), verbs.ErrInvalid)
	wantErr(t, p.b.qp.PostRecv(verbs.RecvWR{}), verbs.ErrInvalid)
}

// TestTMTakesListTooSmall uses a TagList that is full before MaxTags.
func TestTMTakesListTooSmall(t *testing.T) {
	p := newTMPair(t, plainFabrics[0], verbs.TMInit{List: verbs.NewTagList(1)})
	h := p.add(t, 1, 1, allBits, p.mem.part(0, 10))
	wantErr(t, p.srq.PostOps(&verbs.TMOp{Kind: verbs.TagAdd, Tag: 1}), verbs.ErrQueueFull)
	p.send(t, eager(1, nil), nil)
	p.received(t, 1, h, 1, 0)
	h = p.add(t, 2, 1, allBits, p.mem.part(0, 10))
	p.send(t, eager(1, nil), nil)
	p.received(t, 2, h, 1, 0)
}

func TestTMMalformed(t *testing.T) {
	p := newTMPair(t, plainFabrics[0], verbs.TMInit{})
	for _, tt := range []struct {
		name string
		msg  []byte
	}{
		{"empty", nil},
		{"short", eager(0, nil)[:15]},
		{"unknown opcode", verbs.TMH{Opcode: 4}.AppendTo(nil)},
		{"FIN cut short", verbs.TMH{Opcode: verbs.TMFin}.AppendTo(nil)[:8]},
		{"rendezvous without RVH", p.rndv(0, 0, 10, "")[:31]},
		{"rendezvous above 2 GiB", p.rndv(0, 0, 1<<31+1, "")},
		{"rendezvous with too long a header", p.rndv(0, 0, 10, string(make([]byte, 33)))},
		{"rendezvous of several packets", p.rndv(0, 0, 10, string(make([]byte, 3000)))},
	} {
		for _, expected := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, expected %v", tt.name, expected), func(t *testing.T) {
				p := newTMPair(t, plainFabrics[0], verbs.TMInit{})
				if expected {
					p.add(t, 1, 0, 0, p.mem.part(0, 100))
				}
				copy(p.out.b, tt.msg)
				must(t, p.a.qp.PostSend(verbs.SendWR{ID: 5, Opcode: verbs.Send, SG: []verbs.SGE{p.out.part(0, len(tt.msg))}}))
				p.a.expect(t, 5, verbs.RemInvReqErr)
				p.b.reaches(t, verbs.Err)
				p.b.quiet(t, time.Millisecond) // nothing was taken
			})
		}
	}
}

// TestTMTooLong: a message that is longer than its buffer ends the connection, as one that is longer than its receive does.
func TestTMTooLong(t *testing.T) {
	for _, tt := range []struct {
		name string
		room int
		msg  func(*tmPair) []byte
		two  bool
	}{
		{"one packet", 99, func(*tmPair) []byte { return eager(4, pattern(100, 1)) }, false},
		{"in the second packet", 2999, func(*tmPair) []byte { return eager(4, pattern(3000, 1)) }, true},
		{"no room for the headers of a rendezvous", 31, func(p *tmPair) []byte { return p.rndv(4, 0, 100, "") }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newTMPair(t, plainFabrics[0], verbs.TMInit{})
			p.add(t, 1, 4, allBits, p.mem.part(0, tt.room))
			msg := tt.msg(p)
			copy(p.out.b, msg)
			must(t, p.a.qp.PostSend(verbs.SendWR{ID: 5, Opcode: verbs.Send, SG: []verbs.SGE{p.out.part(0, len(msg))}}))
			p.a.expect(t, 5, verbs.RemInvReqErr)
			if tt.two {
				if wc := p.b.expect(t, 1, verbs.Success); wc.Flags != verbs.TMMatch {
					t.Errorf("completion %+v, want a match", wc)
				}
			}
			p.b.expect(t, 1, verbs.LocLenErr)
			p.b.reaches(t, verbs.Err)
			must(t, p.mem.Dereg())
		})
	}
}

// TestTMBadBuffer adds buffers whose memory the NIC may not write.
func TestTMBadBuffer(t *testing.T) {
	for _, msg := range []func(*tmPair) []byte{
		func(*tmPair) []byte { return eager(4, []byte("data")) },
		func(p *tmPair) []byte { return p.rndv(4, 0, 10, "") },
	} {
		p := newTMPair(t, plainFabrics[0], verbs.TMInit{})
		p.add(t, 1, 4, allBits, verbs.SGE{Buf: make([]byte, 100), LKey: 0xdead00})
		m := msg(p)
		copy(p.out.b, m)
		must(t, p.a.qp.PostSend(verbs.SendWR{ID: 5, Opcode: verbs.Send, SG: []verbs.SGE{p.out.part(0, len(m))}}))
		p.b.expect(t, 1, verbs.LocProtErr)
		p.a.expect(t, 5, verbs.RemOpErr)
	}
}

// TestTMRendezvousFails has a sender name memory that it does not have, and one that allows no READ.
func TestTMRendezvousFails(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(p *tmPair, a *verbs.QPAttr)
		key    uint32
		want   verbs.Status
	}{
		{"bad key", nil, 0xdead00, verbs.RemAccessErr},
		{"no right to read", func(p *tmPair, a *verbs.QPAttr) {
			if a.DestQPN == p.b.qp.QPN() && a.AV == p.b.ctx.Addr() {
				a.Access = verbs.LocalWrite
			}
		}, 0, verbs.RemInvReqErr},
		{"no reads in flight", func(p *tmPair, a *verbs.QPAttr) { a.MaxRdAtomic = 0 }, 0, verbs.LocQPOpErr},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newTMPair(t, plainFabrics[0], verbs.TMInit{})
			if tt.change != nil {
				for _, e := range []*end{p.a, p.b} {
					must(t, e.qp.Modify(verbs.QPAttr{State: verbs.Reset}, verbs.AttrState))
				}
				for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
					a := attrFor(p.b)
					tt.change(p, &a)
					must(t, p.a.qp.Modify(verbs.QPAttr{State: verbs.Reset}, verbs.AttrState))
					a.State = verbs.Init
					must(t, p.a.qp.Modify(a, maskInit))
					a.State = verbs.RTR
					err := p.a.qp.Modify(a, maskRTR)
					if err == nil {
						a.State = verbs.RTS
						must(t, p.a.qp.Modify(a, maskRTS))
						break
					}
					if !errors.Is(err, verbs.ErrBusy) || time.Now().After(end) {
						t.Fatal(err)
					}
				}
				b := attrFor(p.a)
				tt.change(p, &b)
				p.b.bring(t, b, verbs.RTS)
			}
			h := p.add(t, 1, 4, allBits, p.mem.part(0, 100))
			m := p.rndv(4, 0, 10, "")
			if tt.key != 0 {
				r := verbs.RVH{Addr: p.out.Addr(), RKey: tt.key, Len: 10}
				m = r.AppendTo(m[:verbs.TMHSize])
			}
			must(t, p.a.qp.PostSend(verbs.SendWR{Opcode: verbs.Send, Flags: verbs.Inline, SG: []verbs.SGE{{Buf: m}}}))
			p.matched(t, p.b.wait(t), 1, verbs.TMMatch, verbs.TMInfo{Tag: 4, AppCtx: ^uint32(4), Handle: h}, 0)
			p.b.expect(t, 1, tt.want)
			p.b.reaches(t, verbs.Err)
			must(t, p.mem.Dereg())
		})
	}
}

// TestTMFlush ends a queue pair while the NIC serves a rendezvous and while a matched message arrives.
func TestTMFlush(t *testing.T) {
	for _, how := range []string{"ERR", "RESET", "destroy", "close of the peer"} {
		t.Run(how, func(t *testing.T) {
			p := newTMPair(t, plainFabrics[0], verbs.TMInit{})
			p.b.reset(t, p) // receives are in RTR, sends are not
			for i := range uint64(3) {
				p.add(t, i, i, allBits, p.mem.part(0, 100))
				p.send(t, p.rndv(i, 0, 100, ""), nil)
				if wc := p.b.expect(t, i, verbs.Success); wc.Flags != verbs.TMMatch {
					t.Fatalf("completion %+v, want a match", wc)
				}
			}
			switch how {
			case "ERR":
				must(t, p.b.qp.Modify(verbs.QPAttr{State: verbs.Err}, verbs.AttrState))
			case "RESET":
				must(t, p.b.qp.Modify(verbs.QPAttr{State: verbs.Reset}, verbs.AttrState))
			case "destroy":
				must(t, p.b.qp.Destroy())
			default:
				must(t, p.a.ctx.Close())
			}
			if how == "ERR" || how == "close of the peer" {
				for i := range uint64(3) {
					wc := p.b.wait(t)
					if wc.ID != i || wc.Status == verbs.Success {
						t.Errorf("completion %+v, want buffer %d failed", wc, i)
					}
				}
			}
			p.b.quiet(t, time.Millisecond)
			must(t, p.mem.Dereg())
			if how == "ERR" || how == "close of the peer" {
				must(t, p.b.qp.Destroy())
			}
			if how == "RESET" {
				must(t, p.b.qp.Destroy())
			}
			must(t, p.srq.Destroy())
			must(t, p.recv.Dereg())
		})
	}
}

// reset connects a pair afresh, with this side no further than RTR.
func (e *end) reset(t testing.TB, p *tmPair) {
	t.Helper()
	p.a, p.out = newEnd(t, e.f), region{}
	p.out = p.a.reg(t, make([]byte, tmMem), verbs.LocalWrite|verbs.RemoteRead)
	must(t, e.qp.Destroy())
	var err error
	e.qp, err = e.ctx.CreateQP(e.pd, verbs.QPInit{SendCQ: e.cq, RecvCQ: e.cq, SRQ: p.srq})
	must(t, err)
	a := attrFor(e)
	p.a.bring(t, a, verbs.RTS)
	e.bring(t, attrFor(p.a), verbs.RTR)
}

// TestTMNotReady sends before there is a receive: the sender waits, and nothing is lost or counted twice.
func TestTMNotReady(t *testing.T) {
	eachTM(t, func(t *testing.T, f fabricUnder) {
		p := newTMPair(t, f, verbs.TMInit{})
		for range tmRecv {
			p.send(t, eager(0, []byte("fills")), nil)
		}
		must(t, p.a.qp.PostSend(verbs.SendWR{ID: 6, Opcode: verbs.Send, Flags: verbs.Signaled | verbs.Inline, SG: []verbs.SGE{{Buf: eager(1, []byte("waits"))}}}))
		for deadline := time.Now().Add(5 * time.Second); p.b.ctx.HWCounters().SendRNRErr == 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("no RNR NAK")
			}
		}
		for range tmRecv {
			wantBytes(t, p.unexpected(t, verbs.WCTMRecv, 0), eager(0, []byte("fills")), "receive")
		}
		p.a.expect(t, 6, verbs.Success)
		wantBytes(t, p.unexpected(t, verbs.WCTMRecv, 0), eager(1, []byte("waits")), "receive")
		p.sync(t, tmRecv+1)
	})
}

// TestTMLimitEvent is that of a basic shared receive queue: ordinary receives count, tagged buffers do not.
func TestTMLimitEvent(t *testing.T) {
	p := newTMPair(t, plainFabrics[0], verbs.TMInit{})
	must(t, p.srq.Modify(verbs.SRQInit{Limit: tmRecv}, verbs.SRQLimit))
	h := p.add(t, 1, 1, allBits, p.mem.part(0, 10))
	p.send(t, eager(1, nil), nil)
	p.received(t, 1, h, 1, 0)
	limits := func() (n int) {
		for _, e := range p.b.ctx.AsyncEvents() {
			if e.Type == verbs.EventSRQLimit && e.SRQ == p.srq {
				n++
			}
		}
		return n
	}
	if n := limits(); n != 0 {
		t.Errorf("%d events after a match, want none", n)
	}
	p.send(t, eager(1, nil), nil)
	p.unexpected(t, verbs.WCTMRecv, 0)
	if n := limits(); n != 1 {
		t.Errorf("%d events after a receive was taken, want 1", n)
	}
}

// TestTMOverflow: the connections of a shared receive queue whose completion queue overflows are dead.
func TestTMOverflow(t *testing.T) {
	p := newTMPair(t, plainFabrics[0], verbs.TMInit{MaxOps: 1024})
	sync := &verbs.TMOp{ID: 1, Kind: verbs.TagSync, Flags: verbs.OpsSignaled}
	for range 1000 {
		must(t, p.srq.PostOps(sync))
	}
	for range 100 {
		must(t, p.srq.PostOps(&verbs.TMOp{Kind: verbs.TagSync}))
	}
	if p.b.state() != verbs.RTS {
		t.Fatalf("state %v before the overflow", p.b.state())
	}
	p.add2(t, 30)
	p.b.reaches(t, verbs.Err)
	p.a.reaches(t, verbs.Err)
}

// add2 adds n buffers that take n messages which nobody polls for.
func (p *tmPair) add2(t testing.TB, n int) {
	t.Helper()
	for range n {
		must(t, p.srq.PostOps(&verbs.TMOp{Kind: verbs.TagAdd, SG: []verbs.SGE{p.mem.part(0, 10)}}))
		if err := p.a.qp.PostSend(verbs.SendWR{Opcode: verbs.Send, Flags: verbs.Inline | verbs.Signaled, SG: []verbs.SGE{{Buf: eager(1, nil)}}}); err != nil {
			t.Fatal(err)
		}
		if p.a.wait(t).Status != verbs.Success {
			return
		}
	}
}

func TestTMWriteImm(t *testing.T) {
	p := newTMPair(t, plainFabrics[0], verbs.TMInit{})
	dst := p.b.reg(t, make([]byte, 10), verbs.LocalWrite|verbs.RemoteWrite)
	p.send(t, []byte("0123456789"), func(wr *verbs.SendWR) {
		wr.Opcode, wr.Imm, wr.RemoteAddr, wr.RKey = verbs.WriteImm, 3, dst.Addr(), dst.RKey()
	})
	if wc := p.b.wait(t); wc.Opcode != verbs.WCRecvWriteImm || wc.Imm != 3 || wc.TM != (verbs.TMInfo{}) || wc.ID != recvID(0) {
		t.Errorf("completion %+v, want that of the write", wc)
	}
}

// TestTMAfterClose: a shared receive queue goes with its context.
func TestTMAfterClose(t *testing.T) {
	p := newTMPair(t, plainFabrics[0], verbs.TMInit{})
	h := p.add(t, 1, 1, allBits, p.mem.part(0, 10))
	must(t, p.b.ctx.Close())
	wantErr(t, p.srq.PostOps(&verbs.TMOp{Kind: verbs.TagDel, Handle: h}), verbs.ErrDestroyed)
	wantErr(t, p.srq.Destroy(), verbs.ErrDestroyed)
}

// TestTMInvalidatesNothing sends with a key to invalidate that is none: the buffer that the message had matched fails with it.
func TestTMInvalidatesNothing(t *testing.T) {
	for _, tt := range []struct {
		name string
		msg  func(*tmPair) []byte
	}{
		{"eager", func(*tmPair) []byte { return eager(4, []byte("data")) }},
		{"rendezvous", func(p *tmPair) []byte { return p.rndv(4, 0, 10, "") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newTMPair(t, plainFabrics[0], verbs.TMInit{})
			p.add(t, 1, 4, allBits, p.mem.part(0, 100))
			must(t, p.a.qp.PostSend(verbs.SendWR{ID: 5, Opcode: verbs.SendInv, Flags: verbs.Inline, InvKey: 0xdead00, SG: []verbs.SGE{{Buf: tt.msg(p)}}}))
			p.a.expect(t, 5, verbs.RemInvReqErr)
			p.b.expect(t, 1, verbs.RemInvReqErr)
			must(t, p.mem.Dereg())
		})
	}
}
