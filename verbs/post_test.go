package verbs_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"outboard/verbs"
)

func TestPostInEachState(t *testing.T) {
	for _, c := range []struct {
		state      verbs.State
		send, recv error // nil: accepted
	}{
		{verbs.Reset, verbs.ErrState, verbs.ErrState},
		{verbs.Init, verbs.ErrState, nil},
		{verbs.RTR, verbs.ErrState, nil},
		{verbs.RTS, nil, nil},
		{verbs.Err, nil, nil},
	} {
		t.Run(c.state.String(), func(t *testing.T) {
			e, _ := inState(t, c.state)
			for _, p := range []struct {
				id   uint64
				want error
				err  error
			}{{1, c.recv, e.qp.PostRecv(verbs.RecvWR{ID: 1})}, {2, c.send, e.qp.PostSend(verbs.SendWR{ID: 2})}} {
				switch {
				case p.want == nil:
					must(t, p.err)
				default:
					wantErr(t, p.err, p.want)
				}
				if c.state == verbs.Err {
					e.expect(t, p.id, verbs.WRFlushErr)
				}
			}
			must(t, e.qp.Destroy())
			wantErr(t, e.qp.PostSend(verbs.SendWR{}), verbs.ErrDestroyed)
			wantErr(t, e.qp.PostRecv(verbs.RecvWR{}), verbs.ErrDestroyed)
			wantErr(t, e.qp.Modify(verbs.QPAttr{State: verbs.Reset}, verbs.AttrState), verbs.ErrDestroyed)
		})
	}
}

func TestPostRefusals(t *testing.T) {
	a, b := pair(t, plainFabrics[0])
	r := a.reg(t, make([]byte, 512), verbs.LocalWrite)
	five := []verbs.SGE{r.part(0, 1), r.part(1, 1), r.part(2, 1), r.part(3, 1), r.part(4, 1)}
	for name, wr := range map[string]verbs.SendWR{
		"opcode":             {Opcode: 14},
		"flags":              {Flags: 1 << 6},
		"too many entries":   {SG: five},
		"inline too long":    {Flags: verbs.Inline, SG: []verbs.SGE{r.part(0, 129)}},
		"inline read":        {Flags: verbs.Inline, Opcode: verbs.Read, SG: []verbs.SGE{r.part(0, 8)}},
		"atomic of 4 bytes":  {Opcode: verbs.FetchAdd, SG: []verbs.SGE{r.part(0, 4)}},
		"atomic of 16 bytes": {Opcode: verbs.CompareSwap, SG: []verbs.SGE{r.part(0, 16)}},
		"atomic into none":   {Opcode: verbs.CompareSwap},
	} {
		t.Run(name, func(t *testing.T) {
			wantErr(t, a.qp.PostSend(wr), verbs.ErrInvalid)
			a.quiet(t, 0)
		})
	}
	t.Run("receive of too many entries", func(t *testing.T) {
		wantErr(t, a.qp.PostRecv(verbs.RecvWR{SG: five}), verbs.ErrInvalid)
	})
	t.Run("the index is that of the first bad request", func(t *testing.T) {
		must(t, b.qp.PostRecv(verbs.RecvWR{ID: 1}, verbs.RecvWR{ID: 2}))
		err := a.qp.PostSend(verbs.SendWR{}, verbs.SendWR{}, verbs.SendWR{Opcode: 99}, verbs.SendWR{})
		var e *verbs.Error
		if !errors.As(err, &e) || e.Index != 2 {
			t.Errorf("error %v, want index 2", err)
		}
		b.expect(t, 1, verbs.Success)
		b.expect(t, 2, verbs.Success)
		err = b.qp.PostRecv(verbs.RecvWR{ID: 3}, verbs.RecvWR{SG: five})
		if !errors.As(err, &e) || e.Index != 1 {
			t.Errorf("error %v, want index 1", err)
		}
		must(t, a.qp.PostSend(verbs.SendWR{}))
		b.expect(t, 3, verbs.Success)
	})
	t.Run("reads not enabled", func(t *testing.T) {
		x, _ := pairWith(t, plainFabrics[0], func(_ int, at *verbs.QPAttr) { at.MaxRdAtomic = 0 }, nil)
		wantErr(t, x.qp.PostSend(verbs.SendWR{Opcode: verbs.Read}), verbs.ErrInvalid)
	})
}

// TestQueueFull fills queues. The entries of a send queue are free when a completion that tells so has been taken, and no sooner, whether
// a peer has to take part or not.
func TestQueueFull(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := pairWith(t, f, nil, func(in *verbs.QPInit) { in.Cap.SendWR, in.Cap.RecvWR = 3, 3 })
		mem := b.reg(t, make([]byte, 8), allRights)
		src := a.reg(t, make([]byte, 8), verbs.LocalWrite)
		send := verbs.SendWR{}
		write := verbs.SendWR{Opcode: verbs.Write, SG: []verbs.SGE{src.sge()}, RemoteAddr: mem.Addr(), RKey: mem.RKey()}
		for range 3 {
			must(t, b.qp.PostRecv(verbs.RecvWR{ID: 1}))
		}
		wantErr(t, b.qp.PostRecv(verbs.RecvWR{}), verbs.ErrQueueFull)
		for i, wrs := range [][3]verbs.SendWR{{send, write, send}, {write, write, write}, {write, send, write}} {
			for k, wr := range wrs {
				wr.ID = uint64(10*i + k)
				if k == 1 {
					wr.Flags = verbs.Signaled
				}
				must(t, a.qp.PostSend(wr))
			}
			for _, wr := range wrs {
				if wr.Opcode == verbs.Send {
					b.expect(t, 1, verbs.Success)
				}
			}
			wantErr(t, a.qp.PostSend(write), verbs.ErrQueueFull)
			a.expect(t, uint64(10*i+1), verbs.Success)
			write.Flags = verbs.Signaled
			must(t, a.qp.PostSend(write)) // one of the two that are free
			a.expect(t, 0, verbs.Success)
			write.Flags = 0
		}
		for range 3 {
			must(t, a.qp.PostSend(write))
		}
		wantErr(t, a.qp.PostSend(write), verbs.ErrQueueFull) // for ever: none is signaled
		a.quiet(t, time.Millisecond)
		wantErr(t, a.qp.PostSend(write), verbs.ErrQueueFull)

		none := newEndOn(t, a.f, a.ctx, func(in *verbs.QPInit) { in.Cap = verbs.QPCap{} })
		none.bring(t, attrFor(none), verbs.RTS)
		wantErr(t, none.qp.PostSend(verbs.SendWR{}), verbs.ErrQueueFull)
		wantErr(t, none.qp.PostRecv(verbs.RecvWR{}), verbs.ErrQueueFull)
	})
}

// TestQueueAfterReset: a completion from before a RESET gives no entry of the new queue back.
func TestQueueAfterReset(t *testing.T) {
	a, b := pairWith(t, plainFabrics[0], nil, func(in *verbs.QPInit) { in.Cap.SendWR = 3 })
	mem, src := b.reg(t, make([]byte, 8), allRights), a.reg(t, make([]byte, 8), 0)
	write := verbs.SendWR{Opcode: verbs.Write, Flags: verbs.Signaled, SG: []verbs.SGE{src.sge()}, RemoteAddr: mem.Addr(), RKey: mem.RKey()}
	for range 3 {
		must(t, a.qp.PostSend(write))
	}
	for _, e := range []*end{a, b} {
		must(t, e.qp.Modify(verbs.QPAttr{State: verbs.Reset}, verbs.AttrState))
	}
	for i, e := range []*end{a, b} {
		e.bring(t, attrFor(e), verbs.Init)
		at := attrFor([]*end{b, a}[i])
		at.State = verbs.RTR
		retryBusy(t, func() error { return e.qp.Modify(at, maskRTR) })
		at.State = verbs.RTS
		must(t, e.qp.Modify(at, maskRTS))
	}
	write.Flags = 0
	for range 3 {
		must(t, a.qp.PostSend(write))
	}
	for range 3 {
		a.expect(t, 0, verbs.Success)
	}
	wantErr(t, a.qp.PostSend(write), verbs.ErrQueueFull)
}

func TestSignaling(t *testing.T) {
	for _, all := range []bool{false, true} {
		t.Run(fmt.Sprintf("all %v", all), func(t *testing.T) {
			a, b := pairWith(t, plainFabrics[0], nil, func(in *verbs.QPInit) { in.SignalAll = all })
			for i := range uint64(40) {
				must(t, b.qp.PostRecv(verbs.RecvWR{ID: i}))
				wr := verbs.SendWR{ID: i}
				if i%5 == 4 {
					wr.Flags = verbs.Signaled
				}
				must(t, a.qp.PostSend(wr))
			}
			for i := range uint64(40) {
				if all || i%5 == 4 {
					a.expect(t, i, verbs.Success)
				}
				b.expect(t, i, verbs.Success)
			}
			a.quiet(t, 0)
		})
	}
}

func TestInlineBuffersAreFree(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := pair(t, f)
		dst := b.reg(t, make([]byte, 128), allRights)
		src := pattern(128, 3) // not registered
		want := bytes.Clone(src)
		wr := verbs.SendWR{ID: 1, Flags: verbs.Inline | verbs.Signaled}
		for i := range 8 { // more pieces than MaxSGE
			wr.SG = append(wr.SG, verbs.SGE{Buf: src[i*16 : i*16+16]})
		}
		must(t, a.qp.PostSend(wr)) // no receive yet
		clear(src)
		must(t, b.qp.PostRecv(verbs.RecvWR{ID: 2, SG: []verbs.SGE{dst.sge()}}))
		b.expect(t, 2, verbs.Success)
		a.expect(t, 1, verbs.Success)
		if !bytes.Equal(dst.b, want) {
			t.Error("the receive has other data than what was posted")
		}
	})
}
