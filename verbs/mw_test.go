package verbs_test

import (
	"bytes"
	"testing"

	"outboard/verbs"
)

var bothTypes = []verbs.MWType{verbs.MWType1, verbs.MWType2}

func TestWindowReaches(t *testing.T) {
	for _, typ := range bothTypes {
		t.Run(typ.String(), func(t *testing.T) {
			eachFabric(t, func(t *testing.T, f fabricUnder) {
				r := newRig(t, f)
				a, b := r.a[0], r.b[0]
				mem := b.reg(t, pattern(64, 1), verbs.LocalWrite|verbs.MWBindAccess) // a window has rights that its region lacks
				w := b.newWindow(t, typ)
				key := b.binds(t, w, mem, 16, 24, windowRights)
				reaches8(t, a, b, key, mem.Addr()+16, mem, 16)
				reaches8(t, a, b, key, mem.Addr()+32, mem, 32)
				if typ == verbs.MWType1 {
					reaches8(t, r.a[1], b, key, mem.Addr()+24, mem, 24)
				}
				before := bytes.Clone(mem.b)
				isRefused(t, a, b, verbs.SendWR{Opcode: verbs.Write, RemoteAddr: mem.Addr() + 33, RKey: key}, 8, verbs.RemAccessErr)
				r.reconnect(t, 0)
				isRefused(t, a, b, verbs.SendWR{Opcode: verbs.Read, RemoteAddr: mem.Addr() + 15, RKey: key}, 8, verbs.RemAccessErr)
				if r.reconnect(t, 0); !bytes.Equal(mem.b, before) {
					t.Error("a refused access changed the memory")
				}
				reaches8(t, a, b, key, mem.Addr()+16, mem, 16) // a window stays bound while its queue pair is reset
			})
		})
	}
}

func TestWindowRights(t *testing.T) {
	ops := map[verbs.Opcode]verbs.Access{verbs.Write: verbs.RemoteWrite, verbs.WriteImm: verbs.RemoteWrite, verbs.Read: verbs.RemoteRead,
		verbs.FetchAdd: verbs.RemoteAtomic, verbs.CompareSwap: verbs.RemoteAtomic}
	for _, typ := range bothTypes {
		for op, right := range ops {
			t.Run(typ.String()+"/"+op.String(), func(t *testing.T) {
				eachFabric(t, func(t *testing.T, f fabricUnder) {
					r := newRig(t, f)
					mem := r.b[0].reg(t, pattern(8, 1), allRights|verbs.MWBindAccess)
					w := r.b[0].newWindow(t, typ)
					key := r.b[0].binds(t, w, mem, 0, 8, windowRights&^right)
					must(t, r.b[0].qp.PostRecv(verbs.RecvWR{}))
					isRefused(t, r.a[0], r.b[0], verbs.SendWR{Opcode: op, RemoteAddr: mem.Addr(), RKey: key}, 8, verbs.RemAccessErr)
				})
			})
		}
	}
}

// TestWindowOfAnotherQueuePair has a window of type 2 reached through a queue pair that did not bind it.
func TestWindowOfAnotherQueuePair(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		r := newRig(t, f)
		mem := r.b[0].reg(t, pattern(8, 1), allRights|verbs.MWBindAccess)
		key := r.b[0].binds(t, r.b[0].newWindow(t, verbs.MWType2), mem, 0, 8, windowRights)
		isRefused(t, r.a[1], r.b[1], verbs.SendWR{Opcode: verbs.Read, RemoteAddr: mem.Addr(), RKey: key}, 8, verbs.RemAccessErr)
		reaches8(t, r.a[0], r.b[0], key, mem.Addr(), mem, 0)
	})
}

// TestWindowEnds lists what takes a window's memory away from its peers.
func TestWindowEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		typ  verbs.MWType
		end  func(t *testing.T, r *rig, w *verbs.MW, mem region) // of connection 0
	}{
		{"bound to nothing", verbs.MWType1, func(t *testing.T, r *rig, w *verbs.MW, mem region) { r.b[0].binds(t, w, mem, 0, 0, 0) }},
		{"bound to nothing of no region", verbs.MWType1, func(t *testing.T, r *rig, w *verbs.MW, mem region) {
			_, err := w.Bind(r.b[0].qp, 1, verbs.Signaled, verbs.MWBind{})
			must(t, err)
			r.b[0].expect(t, 1, verbs.Success)
		}},
		{"bound again", verbs.MWType1, func(t *testing.T, r *rig, w *verbs.MW, mem region) {
			key := r.b[0].binds(t, w, mem, 8, 8, windowRights)
			reaches8(t, r.a[0], r.b[0], key, mem.Addr()+8, mem, 8)
		}},
		{"bound without rights", verbs.MWType1, func(t *testing.T, r *rig, w *verbs.MW, mem region) { r.b[0].binds(t, w, mem, 0, 8, 0) }},
		{"deallocated, type 1", verbs.MWType1, func(t *testing.T, r *rig, w *verbs.MW, mem region) { must(t, w.Dealloc()) }},
		{"deallocated, type 2", verbs.MWType2, func(t *testing.T, r *rig, w *verbs.MW, mem region) { must(t, w.Dealloc()) }},
		{"another in its place", verbs.MWType2, func(t *testing.T, r *rig, w *verbs.MW, mem region) {
			must(t, w.Dealloc())
			key := r.b[0].binds(t, r.b[0].newWindow(t, verbs.MWType2), mem, 8, 8, windowRights)
			if (key^w.RKey())>>8 != 0 || key == w.RKey() {
				t.Fatalf("key %#x after %#x, want another variant of it", key, w.RKey())
			}
		}},
		{"invalidated here", verbs.MWType2, func(t *testing.T, r *rig, w *verbs.MW, mem region) { invalidate(t, r, w.RKey()) }},
		{"invalidated and bound again", verbs.MWType2, func(t *testing.T, r *rig, w *verbs.MW, mem region) {
			invalidate(t, r, w.RKey())
			key := r.b[0].binds(t, w, mem, 8, 8, windowRights)
			reaches8(t, r.a[0], r.b[0], key, mem.Addr()+8, mem, 8)
		}},
		{"invalidated by the peer", verbs.MWType2, func(t *testing.T, r *rig, w *verbs.MW, mem region) {
			a, b := r.a[0], r.b[0]
			data, room := a.reg(t, pattern(3000, 4), 0), b.reg(t, make([]byte, 3000), verbs.LocalWrite)
			must(t, b.qp.PostRecv(verbs.RecvWR{ID: 5, SG: []verbs.SGE{room.sge()}}))
			must(t, a.qp.PostSend(verbs.SendWR{ID: 6, Opcode: verbs.SendInv, Flags: verbs.Signaled, InvKey: w.RKey(), SG: []verbs.SGE{data.sge()}}))
			a.expect(t, 6, verbs.Success)
			wc := b.expect(t, 5, verbs.Success)
			if wc.Opcode != verbs.WCRecv || wc.Flags&verbs.WithInv == 0 || wc.InvKey != w.RKey() || wc.Bytes != 3000 || wc.HasImm {
				t.Errorf("receive completed as %+v, want 3000 bytes that invalidated %#x", wc, w.RKey())
			}
			if !bytes.Equal(room.b, data.b) {
				t.Error("other data arrived")
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachFabric(t, func(t *testing.T, f fabricUnder) {
				r := newRig(t, f)
				mem := r.b[0].reg(t, pattern(16, 1), allRights|verbs.MWBindAccess)
				w := r.b[0].newWindow(t, c.typ)
				key := r.b[0].binds(t, w, mem, 0, 8, windowRights)
				reaches8(t, r.a[0], r.b[0], key, mem.Addr(), mem, 0)
				c.end(t, r, w, mem)
				before := bytes.Clone(mem.b)
				isRefused(t, r.a[0], r.b[0], verbs.SendWR{Opcode: verbs.Write, RemoteAddr: mem.Addr(), RKey: key}, 8, verbs.RemAccessErr)
				if !bytes.Equal(mem.b, before) {
					t.Error("the refused access changed the memory")
				}
			})
		})
	}
}

// invalidate has the owner of a window of type 2 invalidate it.
func invalidate(t *testing.T, r *rig, key uint32) {
	t.Helper()
	must(t, r.b[0].qp.PostSend(verbs.SendWR{ID: 71, Opcode: verbs.LocalInv, Flags: verbs.Signaled, InvKey: key}))
	if wc := r.b[0].expect(t, 71, verbs.Success); wc.Opcode != verbs.WCLocalInv {
		t.Errorf("completed as %v, want LOCAL_INV", wc.Opcode)
	}
}

// TestWindowsGoWithTheirQueuePair has a queue pair get the number of one that had a window of type 2.
func TestWindowsGoWithTheirQueuePair(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		r := newRig(t, f)
		a, b := r.a[0], r.b[0]
		mem := b.reg(t, pattern(8, 1), allRights|verbs.MWBindAccess)
		key := b.binds(t, b.newWindow(t, verbs.MWType2), mem, 0, 8, windowRights)
		wantErr(t, mem.Dereg(), verbs.ErrBusy)
		qpn := b.qp.QPN()
		must(t, a.qp.Destroy())
		must(t, b.qp.Destroy())
		for b = b.sibling(t); b.qp.QPN() != qpn; b = b.sibling(t) {
		}
		a = a.sibling(t)
		a.connectSoon(t, b)
		b.connectSoon(t, a)
		isRefused(t, a, b, verbs.SendWR{Opcode: verbs.Read, RemoteAddr: mem.Addr(), RKey: key}, 8, verbs.RemAccessErr)
		must(t, mem.Dereg())
	})
}

// TestZeroBased has the memory of regions and windows begin at remote address 0.
func TestZeroBased(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		for _, c := range []struct {
			name string
			make func(t *testing.T, b *end) (mem region, key uint32)
		}{
			{"region", func(t *testing.T, b *end) (region, uint32) {
				mem := b.reg(t, pattern(32, 1), allRights|verbs.ZeroBased)
				if mem.Addr() != 0 {
					t.Errorf("region at %#x, want 0", mem.Addr())
				}
				return mem, mem.RKey()
			}},
			{"window", func(t *testing.T, b *end) (region, uint32) {
				mem := b.reg(t, pattern(48, 1), allRights|verbs.MWBindAccess)
				key := b.binds(t, b.newWindow(t, verbs.MWType2), mem, 16, 32, windowRights|verbs.ZeroBased)
				return region{mem.MR, mem.b[16:]}, key
			}},
		} {
			t.Run(c.name, func(t *testing.T) {
				r := newRig(t, f)
				a, b := r.a[0], r.b[0]
				mem, key := c.make(t, b)
				reaches8(t, a, b, key, 0, mem, 0)
				reaches8(t, a, b, key, 24, mem, 24)
				for _, addr := range []uint64{25, 32, 1<<64 - 8, verbs.AddrOf(mem.b)} {
					isRefused(t, a, b, verbs.SendWR{Opcode: verbs.Read, RemoteAddr: addr, RKey: key}, 8, verbs.RemAccessErr)
					r.reconnect(t, 0)
				}
				// Scatter/gather entries name the memory as ever.
				src := a.reg(t, pattern(8, 9), 0)
				must(t, b.qp.PostRecv(verbs.RecvWR{ID: 4, SG: []verbs.SGE{mem.part(8, 8)}}))
				must(t, a.qp.PostSend(verbs.SendWR{SG: []verbs.SGE{src.sge()}}))
				if b.expect(t, 4, verbs.Success); !bytes.Equal(mem.b[8:16], src.b) {
					t.Error("other data arrived")
				}
			})
		}
		t.Run("atomic on memory that is not aligned", func(t *testing.T) {
			r := newRig(t, f)
			whole := r.b[0].reg(t, pattern(24, 1), allRights)
			mr, err := r.b[0].ctx.RegMR(r.b[0].pd, whole.b[4:], allRights|verbs.ZeroBased)
			must(t, err)
			isRefused(t, r.a[0], r.b[0], verbs.SendWR{Opcode: verbs.FetchAdd, Add: 1, RemoteAddr: 8, RKey: mr.RKey()}, 8, verbs.RemOpErr)
			if !bytes.Equal(whole.b, pattern(24, 1)) {
				t.Error("the refused atomic changed the memory")
			}
		})
	})
}

// TestWindowKeyIsNoLKey has a scatter/gather entry name a window.
func TestWindowKeyIsNoLKey(t *testing.T) {
	for _, typ := range bothTypes {
		r := newRig(t, plainFabrics[0])
		b := r.b[0]
		mem := b.reg(t, pattern(8, 1), allRights|verbs.MWBindAccess)
		key := b.binds(t, b.newWindow(t, typ), mem, 0, 8, windowRights)
		must(t, b.qp.PostSend(verbs.SendWR{ID: 1, Opcode: verbs.Write, SG: []verbs.SGE{{Buf: mem.b, LKey: key}}}))
		b.expect(t, 1, verbs.LocProtErr)
	}
}
