package verbs_test

import (
	"bytes"
	"errors"
	"testing"

	"outboard/verbs"
)

// rig is two contexts with two connections: a[i] with b[i]. Each side has one protection domain.
type rig struct {
	a, b [2]*end
}

func newRig(t testing.TB, f fabricUnder) *rig {
	t.Helper()
	r := &rig{}
	for _, side := range []*[2]*end{&r.a, &r.b} {
		side[0] = newEndOn(t, f, f.context(t), nil)
		side[1] = side[0].sibling(t)
	}
	for i := range r.a {
		r.a[i].connect(t, r.b[i])
		r.b[i].connect(t, r.a[i])
	}
	return r
}

// sibling is another side in e's context and protection domain.
func (e *end) sibling(t testing.TB) *end {
	t.Helper()
	s := &end{ctx: e.ctx, pd: e.pd, f: e.f}
	var err error
	s.cq, err = e.ctx.CreateCQ(256, nil)
	must(t, err)
	s.qp, err = e.ctx.CreateQP(e.pd, verbs.QPInit{SendCQ: s.cq, RecvCQ: s.cq, Cap: defaultCap})
	must(t, err)
	return s
}

const windowRights = verbs.RemoteRead | verbs.RemoteWrite | verbs.RemoteAtomic

// binds makes a window of a part of a region through e's queue pair and returns its key.
func (e *end) binds(t testing.TB, w *verbs.MW, mem region, off, n int, access verbs.Access) (key uint32) {
	t.Helper()
	b := verbs.MWBind{MW: w, MR: mem.MR, Buf: mem.b[off : off+n], Access: access}
	if w.Type() == verbs.MWType1 {
		var err error
		key, err = w.Bind(e.qp, 70, verbs.Signaled, b)
		must(t, err)
		if w.RKey() != key {
			t.Errorf("key %#x after a bind that returned %#x", w.RKey(), key)
		}
	} else {
		key = verbs.IncRKey(w.RKey())
		b.RKey = key
		must(t, e.qp.PostSend(verbs.SendWR{ID: 70, Opcode: verbs.BindMW, Flags: verbs.Signaled, Bind: &b}))
	}
	if wc := e.expect(t, 70, verbs.Success); wc.Opcode != verbs.WCBindMW {
		t.Errorf("bind completed as %v, want BIND_MW", wc.Opcode)
	}
	return key
}

func (e *end) newWindow(t testing.TB, typ verbs.MWType) *verbs.MW {
	t.Helper()
	w, err := e.ctx.AllocMW(e.pd, typ)
	must(t, err)
	return w
}

// reaches8 writes, adds to and reads back 8 bytes with a key, all of which the owner e of mem sees at off.
func reaches8(t testing.TB, a, e *end, key uint32, addr uint64, mem region, off int) {
	t.Helper()
	src, back := a.reg(t, pattern(8, byte(off)+3), verbs.LocalWrite), a.reg(t, make([]byte, 8), verbs.LocalWrite)
	e.sync()
	must(t, a.qp.PostSend(
		verbs.SendWR{ID: 1, Opcode: verbs.Write, SG: []verbs.SGE{src.sge()}, RemoteAddr: addr, RKey: key},
		verbs.SendWR{ID: 2, Opcode: verbs.FetchAdd, SG: []verbs.SGE{back.sge()}, RemoteAddr: addr, RKey: key},
		verbs.SendWR{ID: 3, Opcode: verbs.Read, Flags: verbs.Signaled, SG: []verbs.SGE{back.sge()}, RemoteAddr: addr, RKey: key}))
	a.expect(t, 3, verbs.Success)
	e.sync()
	if !bytes.Equal(back.b, src.b) || !bytes.Equal(mem.b[off:off+8], src.b) {
		t.Errorf("wrote %x, read back %x, the memory is %x", src.b, back.b, mem.b[off:off+8])
	}
	must(t, src.Dereg())
	must(t, back.Dereg())
}

// refusalLost tells whether a request can have failed so because the wire lost its refusal, which is not said twice.
func (e *end) refusalLost(wc verbs.WC) bool { return e.f.lossy && wc.Status == verbs.RetryExcErr }

// isRefused has a request refused by the responder b: both queue pairs end in ERR, and b gets an event.
func isRefused(t testing.TB, a, b *end, wr verbs.SendWR, n int, want verbs.Status) {
	t.Helper()
	buf := a.reg(t, make([]byte, n), verbs.LocalWrite)
	wr.ID, wr.SG = 50, []verbs.SGE{buf.sge()}
	must(t, a.qp.PostSend(wr))
	if wc := a.wait(t); wc.ID != 50 || wc.Status != want && !a.refusalLost(wc) || wc.Detail == "" {
		t.Fatalf("completion of request %d with %v (%q), want request 50 with %v and a detail", wc.ID, wc.Status, wc.Detail, want)
	}
	a.reaches(t, verbs.Err)
	b.reaches(t, verbs.Err)
	var found bool
	for _, ev := range b.ctx.AsyncEvents() {
		found = found || ev.Type == verbs.EventQPAccessErr && ev.QPN == b.qp.QPN() && errors.Is(ev.Err, want)
	}
	if !found {
		t.Errorf("no QP_ACCESS_ERR of queue pair %#x with %v", b.qp.QPN(), want)
	}
}

// reconnect takes the queue pairs of a connection back from ERR.
func (r *rig) reconnect(t testing.TB, i int) {
	t.Helper()
	for _, e := range []*end{r.a[i], r.b[i]} {
		must(t, e.qp.Modify(verbs.QPAttr{State: verbs.Reset}, verbs.AttrState))
	}
	r.a[i].connectSoon(t, r.b[i])
	r.b[i].connectSoon(t, r.a[i])
}

// connectSoon is connect for a queue pair whose last peer may not have left.
func (e *end) connectSoon(t testing.TB, peer *end) {
	t.Helper()
	e.bring(t, attrFor(peer), verbs.Init)
	a := attrFor(peer)
	a.State = verbs.RTR
	err := e.qp.Modify(a, maskRTR)
	for errors.Is(err, verbs.ErrBusy) {
		_, _ = peer.cq.Poll(nil) // runs the NIC, which lets the last peer go
		_, _ = e.cq.Poll(nil)
		err = e.qp.Modify(a, maskRTR)
	}
	must(t, err)
	a.State = verbs.RTS
	must(t, e.qp.Modify(a, maskRTS))
}
