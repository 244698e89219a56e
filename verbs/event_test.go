package verbs_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"outboard/verbs"
)

// TestAsyncEvents produces each event by its cause, while the host does nothing but select.
func TestAsyncEvents(t *testing.T) {
	type cause func(t *testing.T, f fabricUnder) (at *end, qpn uint32)
	// refuse has b refuse what a asks of it.
	refuse := func(wr func(b *end) verbs.SendWR, recv ...verbs.RecvWR) cause {
		return func(t *testing.T, f fabricUnder) (*end, uint32) {
			a, b := pair(t, f)
			must(t, b.qp.PostRecv(recv...))
			src := a.reg(t, make([]byte, 8), verbs.LocalWrite)
			w := wr(b)
			w.SG = []verbs.SGE{src.sge()}
			must(t, a.qp.PostSend(w))
			return b, b.qp.QPN()
		}
	}
	badKey := func(b *end) verbs.SendWR { return verbs.SendWR{Opcode: verbs.Write, RKey: 0x7700} }
	for _, c := range []struct {
		name  string
		want  verbs.EventType
		cause cause
		err   error // that the event says
	}{
		{"CQ_ERR/overflow", verbs.EventCQErr, func(t *testing.T, f fabricUnder) (*end, uint32) {
			a, b := newEnd(t, f), newEnd(t, f)
			small, err := b.ctx.CreateCQ(1, nil)
			must(t, err)
			must(t, b.qp.Destroy())
			b.qp, err = b.ctx.CreateQP(b.pd, verbs.QPInit{SendCQ: small, RecvCQ: small, Cap: defaultCap})
			must(t, err)
			join(t, a, b, nil)
			must(t, b.qp.PostRecv(verbs.RecvWR{}, verbs.RecvWR{}))
			must(t, a.qp.PostSend(verbs.SendWR{}, verbs.SendWR{}))
			return b, 0
		}, verbs.ErrOverflow},
		{"QP_FATAL/malformed receive", verbs.EventQPFatal, refuse(func(*end) verbs.SendWR { return verbs.SendWR{} },
			verbs.RecvWR{SG: []verbs.SGE{{Buf: make([]byte, 8), LKey: 0x7700}}}), verbs.RemOpErr},
		{"QP_REQ_ERR/message longer than the receive", verbs.EventQPReqErr, refuse(func(*end) verbs.SendWR { return verbs.SendWR{} }, verbs.RecvWR{}), verbs.RemInvReqErr},
		{"QP_REQ_ERR/misaligned atomic", verbs.EventQPReqErr, refuse(func(*end) verbs.SendWR {
			return verbs.SendWR{Opcode: verbs.FetchAdd, RemoteAddr: 4}
		}), verbs.RemInvReqErr},
		{"QP_ACCESS_ERR/unknown key", verbs.EventQPAccessErr, refuse(badKey), verbs.RemAccessErr},
		{"COMM_EST/first packet in RTR", verbs.EventCommEst, func(t *testing.T, f fabricUnder) (*end, uint32) {
			a, b := newEnd(t, f), newEnd(t, f)
			b.bring(t, attrFor(a), verbs.RTR)
			must(t, b.qp.PostRecv(verbs.RecvWR{}))
			a.connect(t, b)
			must(t, a.qp.PostSend(verbs.SendWR{}))
			return b, b.qp.QPN()
		}, nil},
		{"SQ_DRAINED", verbs.EventSQDrained, func(t *testing.T, f fabricUnder) (*end, uint32) {
			a, _ := pair(t, f)
			a.drain(t)
			return a, a.qp.QPN()
		}, nil},
		{"QP_LAST_WQE_REACHED", verbs.EventQPLastWQE, func(t *testing.T, f fabricUnder) (*end, uint32) {
			_, b, _ := srqPair(t, f, verbs.RC, someSRQ, nil)
			b.modify(t, verbs.QPAttr{State: verbs.Err}, verbs.AttrState)
			return b, b.qp.QPN()
		}, nil},
		{"SRQ_LIMIT_REACHED", verbs.EventSRQLimit, func(t *testing.T, f fabricUnder) (*end, uint32) {
			a, b, s := srqPair(t, f, verbs.RC, verbs.SRQInit{MaxWR: 2, Limit: 1}, nil)
			must(t, s.PostRecv(verbs.RecvWR{}))
			must(t, a.qp.PostSend(verbs.SendWR{}))
			return b, 0
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachLossless(t, func(t *testing.T, f fabricUnder) {
				e, qpn := c.cause(t, f)
				ev := e.event(t, c.want)
				if ev.QPN != qpn || !errors.Is(ev.Err, c.err) {
					t.Errorf("event of queue pair %#x with %v, want %#x with %v", ev.QPN, ev.Err, qpn, c.err)
				}
				if (ev.CQ != nil) != (c.want == verbs.EventCQErr) || (ev.SRQ != nil) != (c.want == verbs.EventSRQLimit || c.want == verbs.EventQPLastWQE) {
					t.Errorf("event %+v of the wrong object", ev)
				}
				time.Sleep(time.Millisecond)
				e.noEvent(t)
			})
		})
	}
}

// refusalEvent is the event of a responder that refuses with a status.
func refusalEvent(st verbs.Status) verbs.EventType {
	switch st {
	case verbs.RemInvReqErr:
		return verbs.EventQPReqErr
	case verbs.RemAccessErr:
		return verbs.EventQPAccessErr
	}
	return verbs.EventQPFatal
}

// TestCommEstOnce: not in RTS, and once after each RESET.
func TestCommEstOnce(t *testing.T) {
	eachLossless(t, func(t *testing.T, f fabricUnder) {
		a, b := newEnd(t, f), newEnd(t, f)
		b.bring(t, attrFor(a), verbs.RTR)
		must(t, b.qp.PostRecv(verbs.RecvWR{ID: 1}, verbs.RecvWR{ID: 2}, verbs.RecvWR{ID: 3}))
		a.connect(t, b)
		for id := range uint64(2) {
			must(t, a.qp.PostSend(verbs.SendWR{}))
			b.expect(t, id+1, verbs.Success)
		}
		b.event(t, verbs.EventCommEst)
		at := attrFor(a)
		at.State = verbs.RTS
		b.modify(t, at, maskRTS)
		must(t, a.qp.PostSend(verbs.SendWR{}))
		b.expect(t, 3, verbs.Success)
		b.noEvent(t)
		c, d := pair(t, f)
		must(t, d.qp.PostRecv(verbs.RecvWR{ID: 1}))
		must(t, c.qp.PostSend(verbs.SendWR{}))
		d.expect(t, 1, verbs.Success)
		d.noEvent(t)
	})
}

func TestEventTypeStrings(t *testing.T) {
	seen := map[string]bool{}
	for typ := verbs.EventCQErr; typ <= verbs.EventDeviceFatal; typ++ {
		if s := typ.String(); s == "" || seen[s] {
			t.Errorf("event type %d is %q", typ, s)
		} else {
			seen[s] = true
		}
	}
	if s := verbs.EventType(200).String(); s != "invalid event type 200" {
		t.Errorf("unknown type is %q", s)
	}
}

func TestGetEvent(t *testing.T) {
	a, _ := pair(t, plainFabrics[0])
	t.Run("is there", func(t *testing.T) {
		a.drain(t)
		ev, err := a.ctx.GetEvent(t.Context())
		if must(t, err); ev.Type != verbs.EventSQDrained {
			t.Errorf("event %v", ev.Type)
		}
		a.resume(t)
	})
	t.Run("comes later", func(t *testing.T) {
		time.AfterFunc(5*time.Millisecond, func() { a.drain(t) })
		ev, err := a.ctx.GetEvent(t.Context())
		if must(t, err); ev.Type != verbs.EventSQDrained {
			t.Errorf("event %v", ev.Type)
		}
	})
	t.Run("context ends", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		if _, err := a.ctx.GetEvent(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the context's", err)
		}
	})
	t.Run("device closes", func(t *testing.T) {
		done := make(chan error)
		go func() { _, err := a.ctx.GetEvent(context.Background()); done <- err }()
		time.Sleep(2 * time.Millisecond)
		must(t, a.ctx.Close())
		wantErr(t, <-done, verbs.ErrDestroyed)
		_, err := a.ctx.GetEvent(t.Context())
		wantErr(t, err, verbs.ErrDestroyed)
	})
}

// TestEventsOverflow: the last 128 are kept, in order.
func TestEventsOverflow(t *testing.T) {
	const kept, extra = 128, 5
	e := newEnd(t, plainFabrics[0])
	s := e.newSRQ(t, someSRQ)
	var qpns []uint32
	for range kept + extra {
		x := newEndOn(t, e.f, e.ctx, func(in *verbs.QPInit) { in.SRQ = s })
		x.bring(t, attrFor(e), verbs.Init)
		x.modify(t, verbs.QPAttr{State: verbs.Err}, verbs.AttrState)
		qpns = append(qpns, x.qp.QPN())
	}
	got := e.ctx.AsyncEvents()
	if len(got) != kept {
		t.Fatalf("%d events, want %d", len(got), kept)
	}
	for i, ev := range got {
		if ev.QPN != qpns[extra+i] || ev.Type != verbs.EventQPLastWQE {
			t.Fatalf("event %d is %v of queue pair %#x, want of %#x", i, ev.Type, ev.QPN, qpns[extra+i])
		}
	}
	e.noEvent(t)
}
