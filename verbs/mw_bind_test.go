package verbs_test

import (
	"testing"

	"outboard/verbs"
)

// bindCase is a bind that something is wrong with.
type bindCase struct {
	name string
	typ  verbs.MWType
	bind func(t *testing.T, r *rig, mem region, w *verbs.MW) verbs.MWBind // RKey as it should be, unless it is set
}

// post posts the bind through q in the way of its type.
func (c *bindCase) post(t *testing.T, q *verbs.QP, w *verbs.MW, b verbs.MWBind) error {
	if c.typ == verbs.MWType1 {
		_, err := w.Bind(q, 1, verbs.Signaled, b)
		return err
	}
	if b.RKey == 0 {
		b.RKey = verbs.IncRKey(w.RKey())
	}
	if b.MW == nil {
		b.MW = w
	}
	return q.PostSend(verbs.SendWR{ID: 1, Opcode: verbs.BindMW, Flags: verbs.Signaled, Bind: &b})
}

// TestBindFails lists binds that are posted, and fail when their turn comes.
func TestBindFails(t *testing.T) {
	all := func(t *testing.T, r *rig, mem region, access verbs.Access) verbs.MWBind {
		return verbs.MWBind{MR: mem.MR, Buf: mem.b, Access: access}
	}
	type cases = []bindCase
	var list cases
	for _, typ := range bothTypes {
		list = append(list, cases{
			{"region without MW_BIND", typ, func(t *testing.T, r *rig, _ region, _ *verbs.MW) verbs.MWBind {
				return all(t, r, r.b[0].reg(t, make([]byte, 8), allRights), verbs.RemoteRead)
			}},
			{"remote write to a read-only region", typ, func(t *testing.T, r *rig, _ region, _ *verbs.MW) verbs.MWBind {
				return all(t, r, r.b[0].reg(t, make([]byte, 8), verbs.RemoteRead|verbs.MWBindAccess), verbs.RemoteWrite)
			}},
			{"atomics on a read-only region", typ, func(t *testing.T, r *rig, _ region, _ *verbs.MW) verbs.MWBind {
				return all(t, r, r.b[0].reg(t, make([]byte, 8), verbs.MWBindAccess), verbs.RemoteAtomic)
			}},
			{"zero-based region", typ, func(t *testing.T, r *rig, _ region, _ *verbs.MW) verbs.MWBind {
				return all(t, r, r.b[0].reg(t, make([]byte, 8), allRights|verbs.MWBindAccess|verbs.ZeroBased), verbs.RemoteRead)
			}},
			{"region of another domain", typ, func(t *testing.T, r *rig, mem region, _ *verbs.MW) verbs.MWBind {
				pd, err := r.b[0].ctx.AllocPD()
				must(t, err)
				mr, err := r.b[0].ctx.RegMR(pd, mem.b, allRights|verbs.MWBindAccess)
				must(t, err)
				return verbs.MWBind{MR: mr, Buf: mem.b}
			}},
			{"over the end of the region", typ, func(t *testing.T, r *rig, mem region, _ *verbs.MW) verbs.MWBind {
				mr, err := r.b[0].ctx.RegMR(r.b[0].pd, mem.b[:63], allRights|verbs.MWBindAccess)
				must(t, err)
				return verbs.MWBind{MR: mr, Buf: mem.b[8:64], Access: windowRights}
			}},
			{"before the region", typ, func(t *testing.T, r *rig, mem region, _ *verbs.MW) verbs.MWBind {
				mr, err := r.b[0].ctx.RegMR(r.b[0].pd, mem.b[1:], allRights|verbs.MWBindAccess)
				must(t, err)
				return verbs.MWBind{MR: mr, Buf: mem.b[:8], Access: windowRights}
			}},
		}...)
	}
	list = append(list, cases{
		{"bound already", verbs.MWType2, func(t *testing.T, r *rig, mem region, w *verbs.MW) verbs.MWBind {
			r.b[0].binds(t, w, mem, 0, 8, windowRights)
			return all(t, r, mem, windowRights)
		}},
		{"bound already through another queue pair", verbs.MWType2, func(t *testing.T, r *rig, mem region, w *verbs.MW) verbs.MWBind {
			r.b[1].binds(t, w, mem, 0, 8, windowRights)
			return all(t, r, mem, windowRights)
		}},
		{"no bytes", verbs.MWType2, func(t *testing.T, r *rig, mem region, w *verbs.MW) verbs.MWBind { return verbs.MWBind{MR: mem.MR} }},
		{"no region", verbs.MWType2, func(t *testing.T, r *rig, mem region, w *verbs.MW) verbs.MWBind { return verbs.MWBind{} }},
		{"key of another index", verbs.MWType2, func(t *testing.T, r *rig, mem region, w *verbs.MW) verbs.MWBind {
			b := all(t, r, mem, windowRights)
			b.RKey = w.RKey() + 256
			return b
		}},
	}...)
	for _, c := range list {
		t.Run(c.name+"/"+c.typ.String(), func(t *testing.T) {
			for _, packets := range []bool{false, true} {
				r := newRig(t, fabricUnder{open: openInproc, opts: verbs.Options{Packets: packets}})
				mem := r.b[0].reg(t, pattern(64, 1), allRights|verbs.MWBindAccess)
				w := r.b[0].newWindow(t, c.typ)
				must(t, c.post(t, r.b[0].qp, w, c.bind(t, r, mem, w)))
				if wc := r.b[0].expect(t, 1, verbs.MWBindErr); wc.Detail == "" {
					t.Error("the failure has no detail")
				}
				r.b[0].reaches(t, verbs.Err)
				must(t, w.Dealloc())
				must(t, mem.Dereg()) // nothing is left of the bind that failed
			}
		})
	}
	t.Run("window of another domain", func(t *testing.T) {
		for _, typ := range bothTypes {
			r := newRig(t, plainFabrics[0])
			pd, err := r.b[0].ctx.AllocPD()
			must(t, err)
			w, err := r.b[0].ctx.AllocMW(pd, typ)
			must(t, err)
			mem := r.b[0].reg(t, pattern(64, 1), allRights|verbs.MWBindAccess)
			c := bindCase{typ: typ}
			must(t, c.post(t, r.b[0].qp, w, all(t, r, mem, windowRights)))
			r.b[0].expect(t, 1, verbs.MWBindErr)
		}
	})
}

// TestBindRefused lists binds that are not even posted.
func TestBindRefused(t *testing.T) {
	other := newEnd(t, plainFabrics[0])
	theirs := other.reg(t, make([]byte, 8), allRights|verbs.MWBindAccess)
	list := []bindCase{
		{"dead region", 0, func(t *testing.T, r *rig, mem region, _ *verbs.MW) verbs.MWBind {
			dead := r.b[0].reg(t, make([]byte, 8), allRights|verbs.MWBindAccess)
			must(t, dead.Dereg())
			return verbs.MWBind{MR: dead.MR, Buf: dead.b}
		}},
		{"region of another context", 0, func(t *testing.T, r *rig, mem region, _ *verbs.MW) verbs.MWBind {
			return verbs.MWBind{MR: theirs.MR, Buf: theirs.b}
		}},
		{"bytes of no region", 0, func(t *testing.T, r *rig, mem region, _ *verbs.MW) verbs.MWBind { return verbs.MWBind{Buf: mem.b} }},
		{"local write", 0, func(t *testing.T, r *rig, mem region, _ *verbs.MW) verbs.MWBind {
			return verbs.MWBind{MR: mem.MR, Buf: mem.b, Access: verbs.LocalWrite}
		}},
		{"unknown rights", 0, func(t *testing.T, r *rig, mem region, _ *verbs.MW) verbs.MWBind {
			return verbs.MWBind{MR: mem.MR, Buf: mem.b, Access: 1 << 20}
		}},
		{"zero-based", verbs.MWType1, func(t *testing.T, r *rig, mem region, _ *verbs.MW) verbs.MWBind {
			return verbs.MWBind{MR: mem.MR, Buf: mem.b, Access: verbs.ZeroBased}
		}},
		{"dead window", 0, func(t *testing.T, r *rig, mem region, w *verbs.MW) verbs.MWBind {
			must(t, w.Dealloc())
			return verbs.MWBind{MR: mem.MR, Buf: mem.b}
		}},
	}
	for _, c := range list {
		types := bothTypes
		if c.typ != 0 {
			types = []verbs.MWType{c.typ}
		}
		for _, typ := range types {
			t.Run(c.name+"/"+typ.String(), func(t *testing.T) {
				r := newRig(t, plainFabrics[0])
				mem := r.b[0].reg(t, pattern(64, 1), allRights|verbs.MWBindAccess)
				w := r.b[0].newWindow(t, typ)
				key := w.RKey()
				c.typ = typ
				wantErr(t, c.post(t, r.b[0].qp, w, c.bind(t, r, mem, w)), verbs.ErrInvalid)
				if w.RKey() != key || r.b[0].state() != verbs.RTS {
					t.Errorf("key %#x and state %v, want %#x and RTS", w.RKey(), r.b[0].state(), key)
				}
				r.b[0].quiet(t, 0)
			})
		}
	}
	r := newRig(t, plainFabrics[0])
	b := r.b[0]
	mem := b.reg(t, pattern(64, 1), allRights|verbs.MWBindAccess)
	one, two := b.newWindow(t, verbs.MWType1), b.newWindow(t, verbs.MWType2)
	bind := verbs.MWBind{MR: mem.MR, Buf: mem.b}
	ud, err := b.ctx.CreateQP(b.pd, verbs.QPInit{Type: verbs.UD, SendCQ: b.cq, RecvCQ: b.cq, Cap: defaultCap})
	must(t, err)
	must(t, ud.Modify(verbs.QPAttr{State: verbs.Init, Port: 1}, verbs.AttrState|verbs.AttrPKeyIndex|verbs.AttrPort|verbs.AttrQKey))
	must(t, ud.Modify(verbs.QPAttr{State: verbs.RTR}, verbs.AttrState))
	must(t, ud.Modify(verbs.QPAttr{State: verbs.RTS}, verbs.AttrState|verbs.AttrSQPSN))
	wr := func(w *verbs.MW) verbs.SendWR {
		return verbs.SendWR{Opcode: verbs.BindMW, Bind: &verbs.MWBind{MW: w, MR: mem.MR, Buf: mem.b, RKey: verbs.IncRKey(one.RKey())}}
	}
	for name, post := range map[string]func() error{
		"type 2 by MW.Bind":                func() error { _, err := two.Bind(b.qp, 1, 0, bind); return err },
		"type 1 by a work request":         func() error { return b.qp.PostSend(wr(one)) },
		"no binding":                       func() error { return b.qp.PostSend(verbs.SendWR{Opcode: verbs.BindMW}) },
		"no window":                        func() error { return b.qp.PostSend(wr(nil)) },
		"no queue pair":                    func() error { _, err := one.Bind(nil, 1, 0, bind); return err },
		"queue pair of another context":    func() error { _, err := one.Bind(r.a[0].qp, 1, 0, bind); return err },
		"window of another context":        func() error { return r.a[0].qp.PostSend(wr(two)) },
		"inline":                           func() error { _, err := one.Bind(b.qp, 1, verbs.Inline, bind); return err },
		"on a queue pair of type UD":       func() error { _, err := one.Bind(ud, 1, 0, bind); return err },
		"type 2, on a queue pair of UD":    func() error { return ud.PostSend(wr(two)) },
		"type 0":                           func() error { _, err := b.ctx.AllocMW(b.pd, 0); return err },
		"type 3":                           func() error { _, err := b.ctx.AllocMW(b.pd, 3); return err },
		"window of no domain":              func() error { _, err := b.ctx.AllocMW(nil, 1); return err },
		"window of a domain of another":    func() error { _, err := b.ctx.AllocMW(other.pd, 1); return err },
		"window with a list of its memory": func() error { w := wr(two); w.SG = []verbs.SGE{mem.sge()}; return b.qp.PostSend(w) },
	} {
		t.Run(name, func(t *testing.T) { wantErr(t, post(), verbs.ErrInvalid) })
	}
	must(t, one.Dealloc())
	must(t, two.Dealloc())
	must(t, mem.Dereg())
}

// keyCase is a key that is no bound window of type 2 of connection 0.
var keyCases = []struct {
	name string
	key  func(t *testing.T, r *rig, mem region) uint32
}{
	{"of a region", func(t *testing.T, r *rig, mem region) uint32 { return mem.RKey() }},
	{"of type 1", func(t *testing.T, r *rig, mem region) uint32 {
		return r.b[0].binds(t, r.b[0].newWindow(t, verbs.MWType1), mem, 0, 8, windowRights)
	}},
	{"not bound", func(t *testing.T, r *rig, mem region) uint32 { return r.b[0].newWindow(t, verbs.MWType2).RKey() }},
	{"invalidated before", func(t *testing.T, r *rig, mem region) uint32 {
		key := r.b[0].binds(t, r.b[0].newWindow(t, verbs.MWType2), mem, 0, 8, windowRights)
		invalidate(t, r, key)
		return key
	}},
	{"of another variant", func(t *testing.T, r *rig, mem region) uint32 {
		return r.b[0].binds(t, r.b[0].newWindow(t, verbs.MWType2), mem, 0, 8, windowRights) ^ 0x80
	}},
	{"bound to another queue pair", func(t *testing.T, r *rig, mem region) uint32 {
		return r.b[1].binds(t, r.b[1].newWindow(t, verbs.MWType2), mem, 0, 8, windowRights)
	}},
	{"of nothing", func(t *testing.T, r *rig, mem region) uint32 { return 0xabcdef12 }},
	{"zero", func(t *testing.T, r *rig, mem region) uint32 { return 0 }},
}

func TestInvalidateFails(t *testing.T) {
	for _, c := range keyCases {
		t.Run(c.name, func(t *testing.T) {
			eachFabric(t, func(t *testing.T, f fabricUnder) {
				t.Run("here", func(t *testing.T) {
					r := newRig(t, f)
					mem := r.b[0].reg(t, pattern(8, 1), allRights|verbs.MWBindAccess)
					must(t, r.b[0].qp.PostSend(verbs.SendWR{ID: 2, Opcode: verbs.LocalInv, InvKey: c.key(t, r, mem)}))
					r.b[0].expect(t, 2, verbs.MWBindErr)
					r.b[0].reaches(t, verbs.Err)
					reaches8(t, r.a[1], r.b[1], mem.RKey(), mem.Addr(), mem, 0)
				})
				t.Run("by the peer", func(t *testing.T) {
					r := newRig(t, f)
					mem := r.b[0].reg(t, pattern(8, 1), allRights|verbs.MWBindAccess)
					key := c.key(t, r, mem)
					must(t, r.b[0].qp.PostRecv(verbs.RecvWR{ID: 1}, verbs.RecvWR{ID: 2}))
					isRefused(t, r.a[0], r.b[0], verbs.SendWR{Opcode: verbs.SendInv, InvKey: key}, 0, verbs.RemInvReqErr)
					r.b[0].expect(t, 1, verbs.RemInvReqErr)
					r.b[0].expect(t, 2, verbs.WRFlushErr)
					reaches8(t, r.a[1], r.b[1], mem.RKey(), mem.Addr(), mem, 0)
				})
			})
		})
	}
}

// TestWindowLifetime checks who holds whom.
func TestWindowLifetime(t *testing.T) {
	for _, typ := range bothTypes {
		t.Run(typ.String(), func(t *testing.T) {
			r := newRig(t, plainFabrics[0])
			b := r.b[0]
			pd, err := b.ctx.AllocPD()
			must(t, err)
			idle, err := b.ctx.AllocMW(pd, typ)
			must(t, err)
			wantErr(t, pd.Dealloc(), verbs.ErrBusy)
			must(t, idle.Dealloc())
			wantErr(t, idle.Dealloc(), verbs.ErrDestroyed)
			must(t, pd.Dealloc())

			mem, next := b.reg(t, pattern(8, 1), allRights|verbs.MWBindAccess), b.reg(t, pattern(8, 1), allRights|verbs.MWBindAccess)
			w := b.newWindow(t, typ)
			old := b.binds(t, w, mem, 0, 8, windowRights)
			wantErr(t, mem.Dereg(), verbs.ErrBusy)
			wantErr(t, mem.Rereg(verbs.ReregAccess, nil, nil, allRights), verbs.ErrBusy)
			if typ == verbs.MWType2 {
				invalidate(t, r, old)
				must(t, mem.Rereg(verbs.ReregAccess, nil, nil, allRights))
			}

			// A bind that waits behind a READ that is not answered holds both.
			must(t, b.qp.Modify(verbs.QPAttr{State: verbs.SQD}, verbs.AttrState))
			bind := verbs.MWBind{MW: w, MR: next.MR, Buf: next.b, Access: windowRights, RKey: verbs.IncRKey(w.RKey())}
			if typ == verbs.MWType1 {
				key, err := w.Bind(b.qp, 9, verbs.Signaled, bind)
				must(t, err)
				if key == old || key != w.RKey() {
					t.Errorf("key %#x, and %#x of the window, want a new one at once", key, w.RKey())
				}
				reaches8(t, r.a[1], r.b[1], old, mem.Addr(), mem, 0) // until the bind is executed
			} else {
				must(t, b.qp.PostSend(verbs.SendWR{ID: 9, Opcode: verbs.BindMW, Flags: verbs.Signaled, Bind: &bind}))
			}
			bind = verbs.MWBind{} // it was copied
			wantErr(t, w.Dealloc(), verbs.ErrBusy)
			wantErr(t, next.Dereg(), verbs.ErrBusy)
			wantErr(t, next.Rereg(verbs.ReregAccess, nil, nil, allRights), verbs.ErrBusy)
			must(t, b.qp.Modify(verbs.QPAttr{State: verbs.RTS}, verbs.AttrState))
			b.expect(t, 9, verbs.Success)
			must(t, mem.Dereg())
			reaches8(t, r.a[0], b, w.RKey(), next.Addr(), next, 0)

			// What is flushed, or vanishes, holds nothing.
			for _, to := range []verbs.State{verbs.Err, verbs.Reset} {
				must(t, b.qp.Modify(verbs.QPAttr{State: verbs.SQD}, verbs.AttrState))
				v := b.newWindow(t, typ)
				c := bindCase{typ: typ}
				must(t, c.post(t, b.qp, v, verbs.MWBind{MR: next.MR, Buf: next.b}))
				wantErr(t, v.Dealloc(), verbs.ErrBusy)
				must(t, b.qp.Modify(verbs.QPAttr{State: to}, verbs.AttrState))
				must(t, v.Dealloc())
				if to == verbs.Err {
					b.expect(t, 1, verbs.WRFlushErr)
					r.reconnect(t, 0)
				}
			}
			must(t, w.Dealloc())
			must(t, next.Dereg())
		})
	}
}

// TestWindowsAtClose closes a context with windows that are bound.
func TestWindowsAtClose(t *testing.T) {
	r := newRig(t, plainFabrics[0])
	mem := r.b[0].reg(t, pattern(8, 1), allRights|verbs.MWBindAccess)
	var ws []*verbs.MW
	for _, typ := range bothTypes {
		w := r.b[0].newWindow(t, typ)
		r.b[0].binds(t, w, mem, 0, 8, windowRights)
		ws = append(ws, w)
	}
	must(t, r.b[0].ctx.Close())
	for _, w := range ws {
		wantErr(t, w.Dealloc(), verbs.ErrDestroyed)
	}
	wantErr(t, mem.Dereg(), verbs.ErrDestroyed)
	_, err := r.b[0].ctx.AllocMW(r.b[0].pd, verbs.MWType1)
	wantErr(t, err, verbs.ErrDestroyed)
}

// TestUnboundKeyReachesNothing has peers use the key that a window is allocated with.
func TestUnboundKeyReachesNothing(t *testing.T) {
	for _, typ := range bothTypes {
		t.Run(typ.String(), func(t *testing.T) {
			eachFabric(t, func(t *testing.T, f fabricUnder) {
				r := newRig(t, f)
				isRefused(t, r.a[0], r.b[0], verbs.SendWR{Opcode: verbs.Read, RKey: r.b[0].newWindow(t, typ).RKey()}, 8, verbs.RemAccessErr)
			})
		})
	}
}

// TestIncRKey goes through all variants of a key.
func TestIncRKey(t *testing.T) {
	key := uint32(0x12345678)
	for i := range uint32(300) {
		if want := 0x12345600 | (0x78+i)&0xff; key != want {
			t.Fatalf("key %#x after %d steps, want %#x", key, i, want)
		}
		key = verbs.IncRKey(key)
	}
	e := newEnd(t, plainFabrics[0])
	for range 3 { // no variant of a window's key is 0, not even of the first object's
		if w := e.newWindow(t, verbs.MWType2); w.RKey()>>8 == 0 {
			t.Errorf("window with key %#x", w.RKey())
		}
	}
}
