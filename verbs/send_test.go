package verbs_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outboard/verbs"
)

// split cuts memory into a list of pieces of growing length, some of them empty.
func split(r region, pieces int) (sg []verbs.SGE) {
	off := 0
	for i := range pieces {
		n := len(r.b) * i / (pieces * pieces)
		if i == pieces-1 {
			n = len(r.b) - off
		}
		sg = append(sg, r.part(off, n))
		off += n
	}
	return sg
}

func TestSendSizes(t *testing.T) {
	const mtu = 256
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := pairWith(t, f, func(_ int, at *verbs.QPAttr) { at.PathMTU = mtu }, nil)
		for _, n := range []int{0, 1, 95, 96, 97, mtu - 1, mtu, mtu + 1, 2*mtu - 1, 2 * mtu, 2*mtu + 1, 5000, 70_000} {
			for _, imm := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d bytes, immediate %v", n, imm), func(t *testing.T) {
					src, dst := a.reg(t, pattern(n, byte(n)), 0), b.reg(t, make([]byte, n+4), verbs.LocalWrite)
					must(t, b.qp.PostRecv(verbs.RecvWR{ID: 1, SG: split(dst, 3)}))
					wr := verbs.SendWR{ID: 2, Flags: verbs.Signaled, SG: split(src, 4)}
					want := verbs.WC{ID: 1, Opcode: verbs.WCRecv, QPN: b.qp.QPN(), SrcQP: a.qp.QPN(), Bytes: n}
					if imm {
						wr.Opcode, wr.Imm = verbs.SendImm, 0xdeadbeef
						want.Imm, want.HasImm = 0xdeadbeef, true
					}
					must(t, a.qp.PostSend(wr))
					if d := cmp.Diff(want, b.wait(t)); d != "" {
						t.Errorf("receive completion: %s", d)
					}
					if wc := a.expect(t, 2, verbs.Success); wc.Opcode != verbs.WCSend || wc.QPN != a.qp.QPN() {
						t.Errorf("send completion %+v", wc)
					}
					if !bytes.Equal(dst.b[:n], src.b) || !bytes.Equal(dst.b[n:], make([]byte, 4)) {
						t.Error("the receive has other data, or more, than what was sent")
					}
				})
			}
		}
	})
}

func TestMessageLongerThanTheReceive(t *testing.T) {
	for _, c := range []struct{ message, room int }{{1, 0}, {9, 8}, {1025, 1024}, {3000, 1024}, {3000, 2999}} {
		t.Run(fmt.Sprintf("%d into %d", c.message, c.room), func(t *testing.T) {
			eachFabric(t, func(t *testing.T, f fabricUnder) {
				a, b := pair(t, f)
				src, dst := a.reg(t, pattern(c.message, 1), 0), b.reg(t, make([]byte, c.room), verbs.LocalWrite)
				must(t, b.qp.PostRecv(verbs.RecvWR{ID: 1, SG: []verbs.SGE{dst.sge()}}, verbs.RecvWR{ID: 2}))
				must(t, a.qp.PostSend(verbs.SendWR{ID: 3, SG: []verbs.SGE{src.sge()}}, verbs.SendWR{ID: 4}))
				b.expect(t, 1, verbs.LocLenErr)
				b.expect(t, 2, verbs.WRFlushErr)
				a.expect(t, 3, verbs.RemInvReqErr)
				a.expect(t, 4, verbs.WRFlushErr)
				a.reaches(t, verbs.Err)
				b.reaches(t, verbs.Err)
			})
		})
	}
}

func TestLoopback(t *testing.T) {
	for _, f := range allFabrics {
		t.Run(f.name, func(t *testing.T) {
			t.Run("a queue pair connected to itself", func(t *testing.T) {
				e := newEnd(t, f)
				e.connect(t, e)
				exchange(t, e, e)
			})
			t.Run("two queue pairs of one context", func(t *testing.T) {
				a := newEnd(t, f)
				b := newEndOn(t, f, a.ctx, nil)
				a.connect(t, b)
				b.connect(t, a)
				exchange(t, a, b)
				exchange(t, b, a)
			})
			t.Run("a refusal at a queue pair connected to itself", func(t *testing.T) {
				e := newEnd(t, f)
				e.connect(t, e)
				must(t, e.qp.PostSend(verbs.SendWR{ID: 1, Opcode: verbs.Write, RKey: 0x7700, SG: []verbs.SGE{e.reg(t, make([]byte, 8), 0).sge()}}))
				if wc := e.wait(t); wc.Status != verbs.RemAccessErr && wc.Status != verbs.WRFlushErr {
					t.Errorf("completed with %v", wc.Status)
				}
				e.reaches(t, verbs.Err)
			})
		})
	}
}

// exchange runs one operation of each kind from a to b.
func exchange(t *testing.T, a, b *end) {
	t.Helper()
	local := a.reg(t, pattern(2000, 9), verbs.LocalWrite)
	remote := b.reg(t, make([]byte, 4096), allRights)
	wr := func(op verbs.Opcode, off, n int) verbs.SendWR {
		return verbs.SendWR{ID: uint64(op), Opcode: op, Flags: verbs.Signaled, Imm: 5, SG: []verbs.SGE{local.part(off, n)},
			RemoteAddr: remote.Addr(), RKey: remote.RKey(), Add: 3, Compare: 3, Swap: 8}
	}
	must(t, b.qp.PostRecv(verbs.RecvWR{ID: 100, SG: []verbs.SGE{remote.part(2048, 2048)}}))
	must(t, a.qp.PostSend(wr(verbs.Send, 0, 2000)))
	got := map[uint64]verbs.WC{}
	collect := func(want ...uint64) {
		t.Helper()
		for range want {
			for _, e := range []*end{a, b} {
				if _, err := e.cq.Poll(nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		for len(got) < len(want) {
			for _, e := range []*end{a, b} {
				var wc [4]verbs.WC
				n, err := e.cq.Poll(wc[:])
				must(t, err)
				for _, w := range wc[:n] {
					got[w.ID] = w
				}
			}
		}
		for _, id := range want {
			if w, ok := got[id]; !ok || w.Status != verbs.Success {
				t.Fatalf("completions %+v, want %d with success", got, id)
			}
		}
		clear(got)
	}
	collect(100, uint64(verbs.Send))
	if !bytes.Equal(remote.b[2048:4048], local.b) {
		t.Fatal("SEND: other data")
	}
	must(t, a.qp.PostSend(wr(verbs.Write, 8, 1900)))
	collect(uint64(verbs.Write))
	if !bytes.Equal(remote.b[:1900], local.b[8:1908]) {
		t.Fatal("RDMA WRITE: other data")
	}
	must(t, a.qp.PostSend(wr(verbs.Read, 0, 100)))
	collect(uint64(verbs.Read))
	if !bytes.Equal(remote.b[:100], local.b[:100]) {
		t.Fatal("RDMA READ: other data")
	}
	clear(remote.b[:8])
	must(t, a.qp.PostSend(wr(verbs.FetchAdd, 0, 8), wr(verbs.CompareSwap, 8, 8)))
	collect(uint64(verbs.FetchAdd), uint64(verbs.CompareSwap))
	if v := []byte{8, 0, 0, 0, 0, 0, 0, 0}; !bytes.Equal(remote.b[:8], v) || local.b[0] != 0 || local.b[8] != 3 {
		t.Fatalf("atomics left %v and returned %d, %d; want 8 and 0, 3", remote.b[:8], local.b[0], local.b[8])
	}
	must(t, b.qp.PostRecv(verbs.RecvWR{ID: 101}))
	must(t, a.qp.PostSend(wr(verbs.WriteImm, 0, 1500)))
	collect(101, uint64(verbs.WriteImm))
}
