package verbs_test

import (
	"bytes"
	"testing"

	"outboard/verbs"
)

func TestRereg(t *testing.T) {
	for _, c := range []struct {
		name string
		// rereg changes a region of 64 bytes that has all rights, and returns its memory.
		rereg  func(t *testing.T, b *end, mem region) []byte
		access verbs.Access
	}{
		{"access", func(t *testing.T, b *end, mem region) []byte {
			must(t, mem.Rereg(verbs.ReregAccess, nil, nil, verbs.RemoteRead))
			return mem.b
		}, verbs.RemoteRead},
		{"no access of peers", func(t *testing.T, b *end, mem region) []byte {
			must(t, mem.Rereg(verbs.ReregAccess, nil, nil, verbs.LocalWrite))
			return mem.b
		}, 0},
		{"memory", func(t *testing.T, b *end, mem region) []byte {
			other := b.reg(t, pattern(32, 9), 0)
			must(t, mem.Rereg(verbs.ReregTranslation, nil, other.b, 0))
			must(t, other.Dereg())
			return other.b
		}, allRights},
		{"a part of the memory", func(t *testing.T, b *end, mem region) []byte {
			must(t, mem.Rereg(verbs.ReregTranslation, nil, mem.b[8:40], 0))
			return mem.b[8:40]
		}, allRights},
		{"domain and back", func(t *testing.T, b *end, mem region) []byte {
			pd, err := b.ctx.AllocPD()
			must(t, err)
			must(t, mem.Rereg(verbs.ReregPD, pd, nil, 0))
			wantErr(t, pd.Dealloc(), verbs.ErrBusy)
			must(t, mem.Rereg(verbs.ReregPD, b.pd, nil, 0))
			must(t, pd.Dealloc())
			return mem.b
		}, allRights},
		{"everything", func(t *testing.T, b *end, mem region) []byte {
			other := b.reg(t, pattern(32, 9), 0)
			must(t, mem.Rereg(verbs.ReregTranslation|verbs.ReregPD|verbs.ReregAccess, b.pd, other.b, verbs.RemoteRead|verbs.ZeroBased))
			return other.b
		}, verbs.RemoteRead | verbs.ZeroBased},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachFabric(t, func(t *testing.T, f fabricUnder) {
				r := newRig(t, f)
				a, b := r.a[0], r.b[0]
				mem := b.reg(t, pattern(64, 1), allRights)
				old, oldAddr := mem.RKey(), mem.Addr()
				now := c.rereg(t, b, mem)
				base := verbs.AddrOf(now)
				if c.access&verbs.ZeroBased != 0 {
					base = 0
				}
				if mem.Len() != len(now) || mem.Addr() != base || mem.RKey() == old || mem.LKey() != mem.RKey() {
					t.Errorf("region of %d bytes at %#x with keys %#x and %#x after %#x", mem.Len(), mem.Addr(), mem.RKey(), mem.LKey(), old)
				}
				isRefused(t, a, b, verbs.SendWR{Opcode: verbs.Read, RemoteAddr: oldAddr + 8, RKey: old}, 8, verbs.RemAccessErr)
				r.reconnect(t, 0)
				for op, right := range map[verbs.Opcode]verbs.Access{verbs.Read: verbs.RemoteRead, verbs.Write: verbs.RemoteWrite} {
					wr := verbs.SendWR{Opcode: op, RemoteAddr: mem.Addr(), RKey: mem.RKey()}
					if c.access&right == 0 {
						isRefused(t, a, b, wr, 8, verbs.RemAccessErr)
						r.reconnect(t, 0)
						continue
					}
					buf := a.reg(t, make([]byte, len(now)), verbs.LocalWrite)
					wr.SG, wr.Flags = []verbs.SGE{buf.sge()}, verbs.Signaled
					b.sync()
					must(t, a.qp.PostSend(wr))
					a.expect(t, 0, verbs.Success)
					if b.sync(); !bytes.Equal(buf.b, now) {
						t.Errorf("%v: %x and %x differ", op, buf.b, now)
					}
				}
				must(t, b.qp.PostSend(verbs.SendWR{ID: 8, Opcode: verbs.Write, Flags: verbs.Signaled, SG: []verbs.SGE{{Buf: now[:0], LKey: mem.LKey()}}}))
				b.expect(t, 8, verbs.Success)
				must(t, mem.Dereg())
			})
		})
	}
}

// TestReregDomain has a region leave the domain of its peers' queue pair.
func TestReregDomain(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		r := newRig(t, f)
		mem := r.b[0].reg(t, pattern(64, 1), allRights)
		pd, err := r.b[0].ctx.AllocPD()
		must(t, err)
		must(t, mem.Rereg(verbs.ReregPD, pd, nil, 0))
		isRefused(t, r.a[0], r.b[0], verbs.SendWR{Opcode: verbs.Read, RemoteAddr: mem.Addr(), RKey: mem.RKey()}, 8, verbs.RemAccessErr)
		must(t, r.b[1].qp.PostSend(verbs.SendWR{ID: 1, Opcode: verbs.Write, SG: []verbs.SGE{mem.sge()}}))
		r.b[1].expect(t, 1, verbs.LocProtErr)
	})
}

func TestReregErrors(t *testing.T) {
	r := newRig(t, plainFabrics[0])
	a, b := r.a[0], r.b[0]
	dead, err := b.ctx.AllocPD()
	must(t, err)
	must(t, dead.Dealloc())
	mem := b.reg(t, pattern(64, 1), allRights)
	key := mem.RKey()
	const T, P, A = verbs.ReregTranslation, verbs.ReregPD, verbs.ReregAccess
	for name, c := range map[string]struct {
		mask   verbs.ReregMask
		pd     *verbs.PD
		access verbs.Access
	}{
		"no flags":                          {0, nil, 0},
		"unknown flags":                     {1 << 3, nil, 0},
		"unknown flags among others":        {A | 1<<7, nil, 0},
		"access that does not change":       {P, b.pd, verbs.RemoteRead},
		"unknown access":                    {A, nil, 1 << 12},
		"remote write without local write":  {A, nil, verbs.RemoteWrite},
		"remote atomic without local write": {T | A, nil, verbs.RemoteAtomic},
		"no domain":                         {P, nil, 0},
		"domain of another context":         {T | P, a.pd, 0},
		"dead domain":                       {P | A, dead, allRights},
	} {
		t.Run(name, func(t *testing.T) {
			wantErr(t, mem.Rereg(c.mask, c.pd, make([]byte, 8), c.access), verbs.ErrInvalid)
			if mem.RKey() != key || mem.Len() != 64 || mem.Addr() != verbs.AddrOf(mem.b) {
				t.Errorf("region of %d bytes at %#x with key %#x, want it as it was", mem.Len(), mem.Addr(), mem.RKey())
			}
			reaches8(t, a, b, key, mem.Addr(), mem, 0)
		})
	}
	t.Run("in use", func(t *testing.T) {
		must(t, b.qp.PostRecv(verbs.RecvWR{ID: 1, SG: []verbs.SGE{mem.sge()}}))
		wantErr(t, mem.Rereg(A, nil, nil, allRights), verbs.ErrBusy)
		reaches8(t, a, b, key, mem.Addr(), mem, 0)
		must(t, a.qp.PostSend(verbs.SendWR{}))
		b.expect(t, 1, verbs.Success)
		must(t, mem.Rereg(A, nil, nil, allRights))
	})
	t.Run("deregistered", func(t *testing.T) {
		must(t, mem.Dereg())
		wantErr(t, mem.Rereg(A, nil, nil, allRights), verbs.ErrDestroyed)
	})
}

// TestReregKeys changes a region so often that its key comes back; it is never one that was good a moment before, nor 0.
func TestReregKeys(t *testing.T) {
	e := newEnd(t, plainFabrics[0])
	mem := e.reg(t, make([]byte, 8), allRights)
	for range 600 {
		last := mem.RKey()
		must(t, mem.Rereg(verbs.ReregAccess, nil, nil, allRights))
		if mem.RKey() == last || mem.RKey() == 0 {
			t.Fatalf("key %#x after %#x", mem.RKey(), last)
		}
	}
}

// TestEmptyRegions registers, binds and names no bytes.
func TestEmptyRegions(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		for name, buf := range map[string][]byte{"nil": nil, "empty": {}} {
			for _, access := range []verbs.Access{allRights, allRights | verbs.ZeroBased} {
				t.Run(name, func(t *testing.T) {
					r := newRig(t, f)
					a, b := r.a[0], r.b[0]
					mr, err := b.ctx.RegMR(b.pd, buf, access)
					must(t, err)
					must(t, a.qp.PostSend(verbs.SendWR{ID: 1, Opcode: verbs.Write, Flags: verbs.Signaled, RemoteAddr: mr.Addr(), RKey: mr.RKey()}))
					a.expect(t, 1, verbs.Success)
					isRefused(t, a, b, verbs.SendWR{Opcode: verbs.Write, RemoteAddr: mr.Addr(), RKey: mr.RKey()}, 1, verbs.RemAccessErr)
					must(t, mr.Rereg(verbs.ReregTranslation, nil, make([]byte, 8), 0))
					must(t, mr.Rereg(verbs.ReregTranslation, nil, buf, 0))
					must(t, mr.Dereg())
				})
			}
		}
	})
}
