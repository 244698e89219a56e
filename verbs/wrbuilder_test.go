package verbs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"outboard/verbs"
)

// TestBuilderOperations posts one list with every operation that changes something at the peer, and checks what it does.
func TestBuilderOperations(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := pairWith(t, f, func(_ int, at *verbs.QPAttr) { at.Timeout = 13 }, nil)
		free := newEndOn(t, f, a.ctx, managed)
		gate := counter(t, a.ctx)
		src, back := a.reg(t, pattern(3000, 1), verbs.LocalWrite), a.reg(t, make([]byte, 3000), verbs.LocalWrite)
		dst, inbox := b.reg(t, make([]byte, 4096), allRights), b.reg(t, make([]byte, 16384), verbs.LocalWrite)
		words := b.reg(t, verbs.Bytes([]uint64{10, 20, 0x00ff_0000, 0x0101}), allRights)
		for i := range 5 {
			must(t, b.qp.PostRecv(verbs.RecvWR{ID: uint64(100 + i), SG: []verbs.SGE{inbox.part(i*3072, 3072)}}))
		}
		w := a.qp.Start()
		w.Flags = verbs.Signaled
		next := func() { w.ID++ }
		w.Wait(gate, 1)
		next()
		w.Send()
		w.SetSGE(src.part(0, 3000))
		next()
		w.SendImm(7)
		w.SetSGEList([]verbs.SGE{src.part(10, 5), src.part(100, 6)})
		next()
		w.Write(dst.RKey(), dst.Addr())
		w.SetInline([]byte("inline"))
		next()
		w.WriteImm(dst.RKey(), dst.Addr()+100, 8)
		w.SetInlineList([][]byte{[]byte("in"), []byte("-"), []byte("line")})
		next()
		w.Flags |= verbs.Fence
		w.FetchAdd(words.RKey(), words.Addr(), 5)
		w.SetSGE(back.part(0, 8))
		next()
		w.CompareSwap(words.RKey(), words.Addr()+8, 20, 21)
		w.SetSGE(back.part(8, 8))
		next()
		w.MaskedCompareSwap(words.RKey(), words.Addr()+16, 0x00ff_ffff, 0x0012_3456, verbs.AtomicMask{Compare: 0xff_0000, Swap: 0xffff})
		w.SetSGE(back.part(16, 8))
		next()
		w.MaskedFetchAdd(words.RKey(), words.Addr()+24, 0x01ff, verbs.AtomicMask{Add: 0x8080})
		w.SetSGE(back.part(24, 8))
		next()
		w.Read(dst.RKey(), dst.Addr())
		w.SetSGE(back.part(1000, 6))
		next()
		w.Enable(free.qp, 1)
		next()
		w.Send()

		a.quiet(t, time.Millisecond)
		must(t, w.Complete())
		a.quiet(t, time.Millisecond)
		must(t, gate.Add(ok(1)))
		for i, op := range []verbs.WCOpcode{verbs.WCWait, verbs.WCSend, verbs.WCSend, verbs.WCWrite, verbs.WCWrite, verbs.WCFetchAdd, verbs.WCCompareSwap,
			verbs.WCMaskedCompareSwap, verbs.WCMaskedFetchAdd, verbs.WCRead, verbs.WCSendEnable, verbs.WCSend} {
			if wc := a.expect(t, uint64(i), verbs.Success); wc.Opcode != op {
				t.Errorf("completion %d of %v, want %v", i, wc.Opcode, op)
			}
		}
		for i, want := range []struct {
			n   int
			imm uint32
		}{{3000, 0}, {11, 7}, {7, 8}, {0, 0}} {
			if wc := b.expect(t, uint64(100+i), verbs.Success); wc.Bytes != want.n || wc.Imm != want.imm {
				t.Errorf("receive %d of %d bytes with immediate %d, want %+v", i, wc.Bytes, wc.Imm, want)
			}
		}
		a.sync()
		for _, c := range []struct {
			name      string
			got, want []byte
		}{
			{"SEND", inbox.b[:3000], pattern(3000, 1)},
			{"SEND of a list", inbox.b[3072:3083], slices.Concat(src.b[10:15], src.b[100:106])},
			{"WRITE inline", dst.b[:6], []byte("inline")},
			{"WRITE of an inline list", dst.b[100:107], []byte("in-line")},
			{"READ", back.b[1000:1006], []byte("inline")},
			{"values before", back.b[:32], verbs.Bytes([]uint64{10, 20, 0x00ff_0000, 0x0101})},
			{"words", words.b, verbs.Bytes([]uint64{15, 21, 0x00ff_3456, 0x0200})},
		} {
			if !bytes.Equal(c.got, c.want) {
				t.Errorf("%s: %x, want %x", c.name, c.got, c.want)
			}
		}
	})
}

// TestBuilderCopies changes what the setters were given before Complete, and what Complete posted before it has left.
func TestBuilderCopies(t *testing.T) {
	a, b := pair(t, plainFabrics[0])
	src, dst := a.reg(t, []byte("abcd"), 0), b.reg(t, make([]byte, 12), verbs.LocalWrite)
	must(t, b.qp.PostRecv(verbs.RecvWR{SG: []verbs.SGE{dst.part(0, 4)}}, verbs.RecvWR{SG: []verbs.SGE{dst.part(4, 4)}}))
	gate := counter(t, a.ctx)
	inline, list := []byte("wxyz"), []verbs.SGE{src.sge()}
	w := a.qp.Start()
	w.Wait(gate, 1)
	w.Send()
	w.SetInline(inline)
	w.Send()
	w.SetSGEList(list)
	clear(inline)
	list[0] = verbs.SGE{}
	must(t, w.Complete())
	w.Wait(nil, 99) // the same memory for the next list
	w.Send()
	w.SetInline([]byte("----"))
	w.Abort()
	must(t, gate.Add(ok(1)))
	b.expect(t, 0, verbs.Success)
	b.expect(t, 0, verbs.Success)
	if got := string(dst.b[:8]); got != "wxyzabcd" {
		t.Errorf("received %q", got)
	}
}

// TestBuilderMistakes has lists with one mistake, behind a request that is good: nothing of them may be posted.
func TestBuilderMistakes(t *testing.T) {
	a, b := pair(t, plainFabrics[0])
	ud := newEndOn(t, a.f, a.ctx, func(in *verbs.QPInit) { in.Type = verbs.UD })
	fresh := newEndOn(t, a.f, a.ctx, nil)
	gone := newEndOn(t, a.f, a.ctx, nil)
	must(t, gone.qp.Destroy())
	five := make([]verbs.SGE, 5)
	for _, c := range []struct {
		name  string
		qp    *verbs.QP
		build func(w *verbs.WRBuilder)
		index int
		want  error
	}{
		{"two data setters", a.qp, func(w *verbs.WRBuilder) { w.Send(); w.SetSGE(verbs.SGE{}); w.SetInline(nil) }, 1, verbs.ErrInvalid},
		{"a mistake, and a good request", a.qp, func(w *verbs.WRBuilder) { w.Send(); w.SetSGEList(nil); w.SetSGEList(nil); w.Send() }, 1, verbs.ErrInvalid},
		{"data of a WAIT", a.qp, func(w *verbs.WRBuilder) { w.Wait(nil, 0); w.SetSGE(verbs.SGE{}) }, 1, verbs.ErrInvalid},
		{"destination on a connection", a.qp, func(w *verbs.WRBuilder) { w.Send(); w.SetUD(verbs.UDDest{}) }, 1, verbs.ErrInvalid},
		{"too much inline", a.qp, func(w *verbs.WRBuilder) { w.Send(); w.SetInline(make([]byte, 129)) }, 1, verbs.ErrInvalid},
		{"too much in an inline list", a.qp, func(w *verbs.WRBuilder) { w.Send(); w.SetInlineList([][]byte{make([]byte, 100), make([]byte, 29)}) }, 1, verbs.ErrInvalid},
		{"too many pieces", a.qp, func(w *verbs.WRBuilder) { w.Send(); w.Send(); w.SetSGEList(five) }, 2, verbs.ErrInvalid},
		{"inline READ", a.qp, func(w *verbs.WRBuilder) { w.Read(0, 0); w.SetInline(nil) }, 1, verbs.ErrInvalid},
		{"atomic into nothing", a.qp, func(w *verbs.WRBuilder) { w.FetchAdd(0, 0, 1) }, 1, verbs.ErrInvalid},
		{"WAIT for nothing", a.qp, func(w *verbs.WRBuilder) { w.Wait(nil, 1) }, 1, verbs.ErrInvalid},
		{"unknown flags", a.qp, func(w *verbs.WRBuilder) { w.Flags = 1 << 7; w.Send() }, 1, verbs.ErrInvalid},
		{"more than fit", a.qp, func(w *verbs.WRBuilder) {
			for range 70 {
				w.Send()
			}
		}, 64, verbs.ErrQueueFull},
		{"operation that the type lacks", ud.qp, func(w *verbs.WRBuilder) { w.Write(0, 0) }, 0, verbs.ErrState},
		{"before RTS", fresh.qp, func(w *verbs.WRBuilder) { w.Send() }, 0, verbs.ErrState},
		{"destroyed", gone.qp, func(w *verbs.WRBuilder) { w.Send() }, 0, verbs.ErrDestroyed},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := c.qp.Start()
			w.Send()
			c.build(w)
			err := w.Complete()
			wantErr(t, err, c.want)
			var e *verbs.Error
			if errors.As(err, &e) && (e.Index != c.index || e.Op != "wr_complete") {
				t.Errorf("%s of request %d, want wr_complete of %d: %v", e.Op, e.Index, c.index, err)
			}
			must(t, w.Complete()) // empty now, and good for the next list
		})
	}
	t.Run("a setter before any request", func(t *testing.T) {
		for _, set := range []func(*verbs.WRBuilder){
			func(w *verbs.WRBuilder) { w.SetSGE(verbs.SGE{}) }, func(w *verbs.WRBuilder) { w.SetSGEList(nil) },
			func(w *verbs.WRBuilder) { w.SetInline(nil) }, func(w *verbs.WRBuilder) { w.SetInlineList(nil) },
			func(w *verbs.WRBuilder) { w.SetUD(verbs.UDDest{}) },
		} {
			w := a.qp.Start()
			set(w)
			w.Send()
			wantErr(t, w.Complete(), verbs.ErrInvalid)
		}
	})
	must(t, b.qp.PostRecv(verbs.RecvWR{ID: 1}, verbs.RecvWR{ID: 2}))
	must(t, a.qp.PostSend(verbs.SendWR{}))
	b.expect(t, 1, verbs.Success)
	b.quiet(t, time.Millisecond) // of all the lists nothing came
}

func TestBuilderDatagrams(t *testing.T) {
	f := plainFabrics[0]
	ctx := f.context(t)
	up := func() *end {
		e := newEndOn(t, f, ctx, func(in *verbs.QPInit) { in.Type = verbs.UD })
		at := verbs.QPAttr{Port: 1, State: verbs.Init, QKey: 5}
		must(t, e.qp.Modify(at, verbs.AttrState|verbs.AttrPKeyIndex|verbs.AttrPort|verbs.AttrQKey))
		at.State = verbs.RTR
		must(t, e.qp.Modify(at, verbs.AttrState))
		at.State = verbs.RTS
		must(t, e.qp.Modify(at, verbs.AttrState|verbs.AttrSQPSN))
		return e
	}
	a, b := up(), up()
	ah, err := ctx.CreateAH(a.pd, verbs.AHAttr{Addr: ctx.Addr(), Port: 1})
	must(t, err)
	dst := b.reg(t, make([]byte, 100), verbs.LocalWrite)
	must(t, b.qp.PostRecv(verbs.RecvWR{SG: []verbs.SGE{dst.sge()}}))
	w := a.qp.Start()
	w.SendImm(3)
	w.SetInline([]byte("datagram"))
	w.SetUD(verbs.UDDest{AH: ah, QPN: b.qp.QPN(), QKey: 5})
	must(t, w.Complete())
	if wc := b.expect(t, 0, verbs.Success); wc.Imm != 3 || string(dst.b[verbs.GRHLen:wc.Bytes]) != "datagram" {
		t.Errorf("%+v with %q", wc, dst.b[verbs.GRHLen:wc.Bytes])
	}
	w.Send()
	wantErr(t, w.Complete(), verbs.ErrInvalid)
	w.Write(0, 0)
	wantErr(t, w.Complete(), verbs.ErrInvalid)
}

// TestBuilderAgainstModel posts random lists, some of them with mistakes, and compares what arrives with what must.
func TestBuilderAgainstModel(t *testing.T) {
	for _, f := range plainFabrics {
		t.Run(f.name, func(t *testing.T) {
			a, b := pair(t, f)
			inbox := b.reg(t, make([]byte, 64*8), verbs.LocalWrite)
			seq := uint64(0)
			w := a.qp.Start()
			rapid.Check(t, func(rt *rapid.T) {
				for range rapid.IntRange(1, 4).Draw(rt, "lists") {
					first, n := seq, rapid.IntRange(0, 70).Draw(rt, "length")
					bad := rapid.IntRange(0, 2*n).Draw(rt, "mistake at")
					send := func(i, n int) {
						w.ID, w.Flags = uint64(i), 0
						if i == n-1 {
							w.Flags = verbs.Signaled
						}
						w.Send()
					}
					for i := range n {
						send(i, n)
						if i == bad {
							w.SetSGEList(make([]verbs.SGE, 5))
						} else {
							w.SetInline(binary.BigEndian.AppendUint64(nil, first+uint64(i)))
						}
					}
					if rapid.IntRange(0, 5).Draw(rt, "abort") == 0 {
						w.Abort()
						continue
					}
					for i := range min(n, 64) {
						must(t, b.qp.PostRecv(verbs.RecvWR{ID: uint64(i), SG: []verbs.SGE{inbox.part(i*8, 8)}}))
					}
					err := w.Complete()
					var e *verbs.Error
					posted := n
					switch wrong := min(bad, 64); {
					case wrong >= n:
						must(t, err)
						seq += uint64(n)
					case !errors.As(err, &e) || e.Index != wrong:
						rt.Fatalf("%d requests with a mistake in %d: %v", n, bad, err)
					default:
						posted = min(n, 64)
						for i := range posted { // what takes the receives, if nothing of the list does
							send(i, posted)
							w.SetInline(binary.BigEndian.AppendUint64(nil, first+uint64(i)))
						}
						must(t, w.Complete())
						seq += uint64(posted)
					}
					for i := range posted {
						b.expect(t, uint64(i), verbs.Success)
						if got := binary.BigEndian.Uint64(inbox.b[i*8:]); got != first+uint64(i) {
							rt.Fatalf("message %d, want %d", got, first+uint64(i))
						}
					}
					if posted > 0 { // entries are free when their requests have completed
						a.expect(t, uint64(posted-1), verbs.Success)
					}
				}
			})
		})
	}
}

// TestBuildersTogether has several goroutines post lists to one queue pair: each list stays together.
func TestBuildersTogether(t *testing.T) {
	a, b := pair(t, plainFabrics[0])
	const workers, lists, length = 4, 20, 4
	var wg sync.WaitGroup
	for g := range uint64(workers) {
		wg.Go(func() {
			w := a.qp.Start()
			for l := range uint64(lists) {
				for {
					w.Flags = verbs.Signaled // one of each list: its completion frees them all
					for i := range uint64(length) {
						w.SendImm(uint32(g<<16 | l<<8 | i))
						w.Flags = 0
					}
					err := w.Complete()
					if err == nil {
						break
					}
					if !errors.Is(err, verbs.ErrQueueFull) {
						t.Error(err)
						return
					}
					time.Sleep(50 * time.Microsecond)
				}
			}
		})
	}
	var imms []uint32
	for i := range workers * lists * length {
		must(t, b.qp.PostRecv(verbs.RecvWR{ID: uint64(i)}))
		imms = append(imms, b.expect(t, uint64(i), verbs.Success).Imm)
		_, err := a.cq.Poll(make([]verbs.WC, 4))
		must(t, err)
	}
	wg.Wait()
	for i := 0; i < len(imms); i += length {
		for k := range length {
			if imms[i+k] != imms[i]+uint32(k) || imms[i]&0xff != 0 {
				t.Fatalf("message %d: %#x, in the list of %#x", i+k, imms[i+k], imms[i])
			}
		}
	}
}

func TestBuilderDoesNotAllocate(t *testing.T) {
	a, b := pair(t, plainFabrics[0])
	src, dst := a.reg(t, make([]byte, 8), 0), b.reg(t, make([]byte, 8), allRights)
	k := counter(t, a.ctx)
	var wcs [8]verbs.WC
	w := a.qp.Start()
	recv := verbs.RecvWR{}
	n := testing.AllocsPerRun(200, func() {
		must(t, b.qp.PostRecv(recv))
		w.Flags = 0
		w.Wait(k, 0)
		w.Write(dst.RKey(), dst.Addr())
		w.SetSGE(src.sge())
		w.Flags = verbs.Signaled
		w.Send()
		w.SetInline(src.b[:0])
		must(t, w.Complete())
		for _, e := range []*end{b, a} {
			for got := 0; got == 0; {
				var err error
				if got, err = e.cq.Poll(wcs[:]); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
	if n > 0.5 {
		t.Errorf("%v allocations a list", n)
	}
}

// TestBuilderWindows binds a memory window, and has it invalidated from this side and from the peer's.
func TestBuilderWindows(t *testing.T) {
	for _, f := range plainFabrics {
		t.Run(f.name, func(t *testing.T) {
			a, b := pair(t, f)
			mem := b.reg(t, make([]byte, 16), verbs.LocalWrite|verbs.MWBindAccess)
			mw, err := b.ctx.AllocMW(b.pd, verbs.MWType2)
			must(t, err)
			w, v := a.qp.Start(), b.qp.Start()
			w.Flags, v.Flags = verbs.Signaled, verbs.Signaled
			for round := range uint64(2) {
				key := verbs.IncRKey(mw.RKey())
				v.ID = round
				v.BindMW(verbs.MWBind{MW: mw, MR: mem.MR, Buf: mem.b, Access: verbs.RemoteWrite, RKey: key})
				must(t, v.Complete())
				if wc := b.expect(t, round, verbs.Success); wc.Opcode != verbs.WCBindMW {
					t.Errorf("completion of %v, want BIND_MW", wc.Opcode)
				}
				w.ID = round
				w.Write(key, verbs.AddrOf(mem.b))
				w.SetInline([]byte{byte(round + 1)})
				must(t, w.Complete())
				a.expect(t, round, verbs.Success)
				if round == 0 {
					must(t, b.qp.PostRecv(verbs.RecvWR{ID: 9}))
					w.SendInv(key)
					must(t, w.Complete())
					a.expect(t, round, verbs.Success)
					if wc := b.expect(t, 9, verbs.Success); wc.InvKey != key || wc.Flags&verbs.WithInv == 0 {
						t.Errorf("%+v, want one that invalidates %#x", wc, key)
					}
				} else {
					v.LocalInv(key)
					must(t, v.Complete())
					if wc := b.expect(t, round, verbs.Success); wc.Opcode != verbs.WCLocalInv {
						t.Errorf("completion of %v, want LOCAL_INV", wc.Opcode)
					}
				}
				if mem.b[0] != byte(round+1) {
					t.Errorf("round %d wrote %d", round, mem.b[0])
				}
			}
			must(t, mw.Dealloc())
		})
	}
}
