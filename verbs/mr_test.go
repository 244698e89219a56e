package verbs_test

import (
	"bytes"
	"errors"
	"testing"

	"outboard/verbs"
	"outboard/verbs/fabric"
	"outboard/verbs/internal/ib"
)

func TestRegMRRights(t *testing.T) {
	e := newEnd(t, plainFabrics[0])
	const L, W, R, A = verbs.LocalWrite, verbs.RemoteWrite, verbs.RemoteRead, verbs.RemoteAtomic
	for access := verbs.Access(0); access <= L|W|R|A; access++ {
		mr, err := e.ctx.RegMR(e.pd, make([]byte, 8), access)
		if ok := access&(W|A) == 0 || access&L != 0; ok {
			must(t, err)
			must(t, mr.Dereg())
		} else {
			wantErr(t, err, verbs.ErrInvalid)
		}
	}
	_, err := e.ctx.RegMR(e.pd, nil, 1<<9)
	wantErr(t, err, verbs.ErrInvalid)
}

func TestRegMRDomain(t *testing.T) {
	e, other := newEnd(t, plainFabrics[0]), newEnd(t, plainFabrics[0])
	dead, err := e.ctx.AllocPD()
	must(t, err)
	must(t, dead.Dealloc())
	for name, pd := range map[string]*verbs.PD{"none": nil, "of another context": other.pd, "deallocated": dead} {
		t.Run(name, func(t *testing.T) {
			_, err := e.ctx.RegMR(pd, make([]byte, 8), 0)
			wantErr(t, err, verbs.ErrInvalid)
			_, err = e.ctx.CreateQP(pd, verbs.QPInit{SendCQ: e.cq, RecvCQ: e.cq})
			wantErr(t, err, verbs.ErrInvalid)
		})
	}
}

func TestDeallocPD(t *testing.T) {
	e := newEnd(t, plainFabrics[0])
	pd, err := e.ctx.AllocPD()
	must(t, err)
	mr, err := e.ctx.RegMR(pd, nil, 0)
	must(t, err)
	qp, err := e.ctx.CreateQP(pd, verbs.QPInit{SendCQ: e.cq, RecvCQ: e.cq})
	must(t, err)
	wantErr(t, pd.Dealloc(), verbs.ErrBusy)
	must(t, mr.Dereg())
	wantErr(t, pd.Dealloc(), verbs.ErrBusy)
	must(t, qp.Destroy())
	must(t, pd.Dealloc())
	wantErr(t, pd.Dealloc(), verbs.ErrDestroyed)
}

func TestDeregMR(t *testing.T) {
	a, b := pair(t, plainFabrics[0])
	src, dst := a.reg(t, pattern(8, 1), 0), b.reg(t, make([]byte, 8), verbs.LocalWrite)

	t.Run("while a receive names it", func(t *testing.T) {
		must(t, b.qp.PostRecv(verbs.RecvWR{ID: 1, SG: []verbs.SGE{dst.sge()}}))
		wantErr(t, dst.Dereg(), verbs.ErrBusy)
	})
	t.Run("while a send names it", func(t *testing.T) {
		must(t, a.qp.PostSend(
			verbs.SendWR{ID: 2, Flags: verbs.Signaled, SG: []verbs.SGE{src.sge()}},
			verbs.SendWR{ID: 3, Flags: verbs.Signaled, SG: []verbs.SGE{src.sge()}})) // no receive for it
		b.expect(t, 1, verbs.Success)
		a.expect(t, 2, verbs.Success)
		wantErr(t, src.Dereg(), verbs.ErrBusy)
		must(t, dst.Dereg())
	})
	t.Run("after the flush", func(t *testing.T) {
		must(t, a.qp.Modify(verbs.QPAttr{State: verbs.Err}, verbs.AttrState))
		a.expect(t, 3, verbs.WRFlushErr)
		must(t, src.Dereg())
		wantErr(t, src.Dereg(), verbs.ErrDestroyed)
	})
	t.Run("after a reset", func(t *testing.T) {
		mr := b.reg(t, make([]byte, 8), verbs.LocalWrite)
		e := newEndOn(t, b.f, b.ctx, nil)
		e.bring(t, attrFor(e), verbs.Init)
		must(t, e.qp.PostRecv(verbs.RecvWR{SG: []verbs.SGE{mr.sge()}}, verbs.RecvWR{SG: []verbs.SGE{mr.sge(), mr.sge()}}))
		wantErr(t, mr.Dereg(), verbs.ErrBusy)
		must(t, e.qp.Modify(verbs.QPAttr{State: verbs.Reset}, verbs.AttrState))
		must(t, mr.Dereg())
	})
	t.Run("after the destruction of the queue pair", func(t *testing.T) {
		mr := b.reg(t, make([]byte, 8), verbs.LocalWrite)
		e := newEndOn(t, b.f, b.ctx, nil)
		e.bring(t, attrFor(e), verbs.Init)
		must(t, e.qp.PostRecv(verbs.RecvWR{SG: []verbs.SGE{mr.sge()}}))
		must(t, e.qp.Destroy())
		must(t, mr.Dereg())
	})
	t.Run("a key that is only guessed holds nothing", func(t *testing.T) {
		e := newEndOn(t, b.f, b.ctx, nil)
		e.bring(t, attrFor(e), verbs.Init)
		mr := b.reg(t, make([]byte, 8), verbs.LocalWrite)
		next := mr.LKey() + 1 // what the next registration will get
		must(t, mr.Dereg())
		must(t, e.qp.PostRecv(verbs.RecvWR{SG: []verbs.SGE{{Buf: mr.b, LKey: next}}}))
		mr = b.reg(t, make([]byte, 8), verbs.LocalWrite)
		if mr.LKey() != next {
			t.Fatalf("key %#x after %#x, want %#x", mr.LKey(), next-1, next)
		}
		must(t, e.qp.PostRecv(verbs.RecvWR{SG: []verbs.SGE{mr.sge()}}))
		must(t, e.qp.Modify(verbs.QPAttr{State: verbs.Err}, verbs.AttrState))
		must(t, mr.Dereg())
	})
}

// TestDeregMRWithGuessedKey: a request that was posted with the key that a region got only later does not hold the region until the NIC
// uses it, but from then on.
func TestDeregMRWithGuessedKey(t *testing.T) {
	for _, c := range []string{"receive", "read"} {
		t.Run(c, func(t *testing.T) {
			s := newSpeaker(t, speakerOptions{attr: verbs.QPAttr{PathMTU: 256, MaxRdAtomic: 1}, to: verbs.RTS})
			e := s.host
			k, err := e.ctx.CreateCounter()
			must(t, err)
			last := e.reg(t, nil, verbs.LocalWrite)
			must(t, last.Dereg())
			buf := make([]byte, 1024)
			sg := []verbs.SGE{{Buf: buf, LKey: verbs.IncRKey(last.LKey())}}
			switch c {
			case "receive":
				must(t, e.qp.PostRecv(verbs.RecvWR{SG: sg}))
			case "read":
				must(t, e.qp.PostSend(verbs.SendWR{Opcode: verbs.WaitCounter, Wait: &verbs.WaitFor{Counter: k, Threshold: 1}},
					verbs.SendWR{Opcode: verbs.Read, SG: sg}))
			}
			mr, err := e.ctx.RegMR(e.pd, buf, verbs.LocalWrite)
			must(t, err)
			if mr.LKey() != sg[0].LKey {
				t.Fatalf("key %#x, want %#x", mr.LKey(), sg[0].LKey)
			}
			must(t, s.say(s.header(ib.RCSendFirst, 0), make([]byte, 256)))
			must(t, k.Add(verbs.CounterValue{Success: 1}))
			s.run()
			wantErr(t, mr.Dereg(), verbs.ErrBusy)
			must(t, e.qp.Modify(verbs.QPAttr{State: verbs.Err}, verbs.AttrState))
			must(t, mr.Dereg())
		})
	}
}

func TestKeysChange(t *testing.T) {
	e := newEnd(t, plainFabrics[0])
	last := uint32(0)
	for range 600 { // the variant wraps around twice
		mr, err := e.ctx.RegMR(e.pd, nil, 0)
		must(t, err)
		if mr.RKey() == 0 || mr.RKey() == last || mr.LKey() != mr.RKey() {
			t.Fatalf("key %#x after %#x", mr.RKey(), last)
		}
		last = mr.RKey()
		must(t, mr.Dereg())
	}
}

func TestDeviceMemory(t *testing.T) {
	for _, f := range plainFabrics {
		t.Run(f.name, func(t *testing.T) {
			e := newEnd(t, f)
			b, err := e.ctx.AllocMem(5000)
			must(t, err)
			if !bytes.Equal(b, make([]byte, 5000)) {
				t.Error("memory is not zeroed")
			}
			mr, err := e.ctx.RegMR(e.pd, b[100:200], 0)
			must(t, err)
			wantErr(t, e.ctx.FreeMem(b), verbs.ErrBusy)
			must(t, mr.Dereg())
			must(t, e.ctx.FreeMem(b))
			wantErr(t, e.ctx.FreeMem(b), fabric.ErrNotOurs)
			wantErr(t, e.ctx.FreeMem(make([]byte, 10)), fabric.ErrNotOurs)
			for _, n := range []int{0, -1} {
				_, err := e.ctx.AllocMem(n)
				wantErr(t, err, verbs.ErrInvalid)
			}
			if _, err := e.ctx.AllocMem(1 << 50); !errors.Is(err, fabric.ErrNoMemory) {
				t.Errorf("1 PiB gave %v, want %v", err, fabric.ErrNoMemory)
			}
		})
	}
}

// localFault is a send or receive whose buffers are not what their keys say.
func TestLocalProtection(t *testing.T) {
	cases := []struct {
		name string
		sge  func(t *testing.T, e *end) verbs.SGE
		recv bool // only where the NIC writes
	}{
		{name: "unknown key", sge: func(t *testing.T, e *end) verbs.SGE { return verbs.SGE{Buf: make([]byte, 8), LKey: 0x123400} }},
		{name: "key zero", sge: func(t *testing.T, e *end) verbs.SGE { return verbs.SGE{Buf: make([]byte, 8)} }},
		{name: "reserved key", sge: func(t *testing.T, e *end) verbs.SGE {
			return verbs.SGE{Buf: make([]byte, 8), LKey: verbs.ReservedLKey}
		}},
		{name: "stale key", sge: func(t *testing.T, e *end) verbs.SGE {
			r := e.reg(t, make([]byte, 8), allRights)
			must(t, r.Dereg())
			e.reg(t, make([]byte, 8), allRights) // takes its place
			return r.sge()
		}},
		{name: "outside", sge: func(t *testing.T, e *end) verbs.SGE {
			mem := make([]byte, 64)
			mr, err := e.ctx.RegMR(e.pd, mem[8:56], allRights)
			must(t, err)
			return verbs.SGE{Buf: mem[50:58], LKey: mr.LKey()}
		}},
		{name: "before", sge: func(t *testing.T, e *end) verbs.SGE {
			mem := make([]byte, 64)
			mr, err := e.ctx.RegMR(e.pd, mem[8:56], allRights)
			must(t, err)
			return verbs.SGE{Buf: mem[7:15], LKey: mr.LKey()}
		}},
		{name: "other domain", sge: func(t *testing.T, e *end) verbs.SGE {
			pd, err := e.ctx.AllocPD()
			must(t, err)
			mem := make([]byte, 8)
			mr, err := e.ctx.RegMR(pd, mem, allRights)
			must(t, err)
			return verbs.SGE{Buf: mem, LKey: mr.LKey()}
		}},
		{name: "read-only", recv: true, sge: func(t *testing.T, e *end) verbs.SGE { return e.reg(t, make([]byte, 8), verbs.RemoteRead).sge() }},
	}
	for _, c := range cases {
		if !c.recv {
			t.Run("send/"+c.name, func(t *testing.T) {
				a, b := pair(t, plainFabrics[0])
				must(t, b.qp.PostRecv(verbs.RecvWR{ID: 1}, verbs.RecvWR{ID: 2}))
				must(t, a.qp.PostSend(verbs.SendWR{ID: 1, Flags: verbs.Signaled}, verbs.SendWR{ID: 2, SG: []verbs.SGE{c.sge(t, a)}}))
				a.expect(t, 1, verbs.Success)
				a.expect(t, 2, verbs.LocProtErr)
				if a.state() != verbs.Err {
					t.Errorf("requester in %v, want ERR", a.state())
				}
				b.expect(t, 1, verbs.Success)
				b.quiet(t, 0)
			})
		}
		t.Run("read/"+c.name, func(t *testing.T) {
			a, b := pair(t, plainFabrics[0])
			src := b.reg(t, make([]byte, 8), allRights)
			must(t, a.qp.PostSend(verbs.SendWR{ID: 2, Opcode: verbs.Read, RemoteAddr: src.Addr(), RKey: src.RKey(), SG: []verbs.SGE{c.sge(t, a)}}))
			a.expect(t, 2, verbs.LocProtErr)
		})
		t.Run("receive/"+c.name, func(t *testing.T) {
			a, b := pair(t, plainFabrics[0])
			sge := c.sge(t, b)
			must(t, b.qp.PostRecv(verbs.RecvWR{ID: 1, SG: []verbs.SGE{sge}}, verbs.RecvWR{ID: 2}))
			src := a.reg(t, pattern(8, 1), 0)
			must(t, a.qp.PostSend(verbs.SendWR{ID: 3, SG: []verbs.SGE{src.sge()}}))
			b.expect(t, 1, verbs.LocProtErr)
			b.expect(t, 2, verbs.WRFlushErr)
			a.expect(t, 3, verbs.RemOpErr)
			if !bytes.Equal(sge.Buf, make([]byte, 8)) {
				t.Error("the buffer was written")
			}
		})
	}
}
