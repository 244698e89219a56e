package verbs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"outboard/verbs"
)

// A request that finds the queue empty has the effects, completions and errors that it has behind another.
func TestLoneRequests(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		for _, test := range []struct {
			name   string
			change func(wr *verbs.SendWR, local, mem region)
			post   error
			want   verbs.Status
		}{
			{"a write", func(*verbs.SendWR, region, region) {}, nil, verbs.Success},
			{"an inline write", func(wr *verbs.SendWR, _, _ region) { wr.Flags |= verbs.Inline; wr.SG[0].LKey = 0 }, nil, verbs.Success},
			{"a read", func(wr *verbs.SendWR, _, _ region) { wr.Opcode = verbs.Read }, nil, verbs.Success},
			{"a fenced read", func(wr *verbs.SendWR, _, _ region) { wr.Opcode = verbs.Read; wr.Flags |= verbs.Fence }, nil, verbs.Success},
			{"an addition", func(wr *verbs.SendWR, _, _ region) { wr.Opcode, wr.Add = verbs.FetchAdd, 3 }, nil, verbs.Success},
			{"a swap", func(wr *verbs.SendWR, _, mem region) {
				wr.Opcode, wr.Compare, wr.Swap = verbs.CompareSwap, binary.NativeEndian.Uint64(pattern(64, 2)[16:]), 9
			}, nil, verbs.Success},
			{"a swap of another value", func(wr *verbs.SendWR, _, _ region) { wr.Opcode, wr.Swap = verbs.CompareSwap, 9 }, nil, verbs.Success},
			{"an addition to 7 bytes", func(wr *verbs.SendWR, _, _ region) {
				wr.Opcode, wr.SG[0].Buf = verbs.FetchAdd, wr.SG[0].Buf[:7]
			}, verbs.ErrInvalid, 0},
			{"an addition beside the grid", func(wr *verbs.SendWR, _, _ region) { wr.Opcode = verbs.FetchAdd; wr.RemoteAddr += 4 }, nil, verbs.RemInvReqErr},
			{"an addition over the end", func(wr *verbs.SendWR, _, mem region) { wr.Opcode = verbs.FetchAdd; wr.RemoteAddr = mem.Addr() + 64 }, nil, verbs.RemAccessErr},
			{"a read that is inline", func(wr *verbs.SendWR, _, _ region) { wr.Opcode = verbs.Read; wr.Flags |= verbs.Inline }, verbs.ErrInvalid, 0},
			{"too much inline", func(wr *verbs.SendWR, _, _ region) {
				wr.Flags |= verbs.Inline
				wr.SG[0].Buf = make([]byte, defaultCap.Inline+1)
			}, verbs.ErrInvalid, 0},
			{"unknown flags", func(wr *verbs.SendWR, _, _ region) { wr.Flags |= 1 << 7 }, verbs.ErrInvalid, 0},
			{"an unknown lkey", func(wr *verbs.SendWR, _, _ region) { wr.SG[0].LKey = 0xabcdef }, nil, verbs.LocProtErr},
			{"memory beside the region", func(wr *verbs.SendWR, _, _ region) { wr.SG[0].Buf = make([]byte, 8) }, nil, verbs.LocProtErr},
			{"a read into memory for reading", func(wr *verbs.SendWR, _, _ region) { wr.Opcode = verbs.Read; wr.ID = 77 }, nil, verbs.LocProtErr},
			{"an unknown rkey", func(wr *verbs.SendWR, _, _ region) { wr.RKey ^= 1 }, nil, verbs.RemAccessErr},
			{"an address over the end", func(wr *verbs.SendWR, _, mem region) { wr.RemoteAddr = mem.Addr() + 57 }, nil, verbs.RemAccessErr},
			{"an address before the start", func(wr *verbs.SendWR, _, mem region) { wr.RemoteAddr = mem.Addr() - 1 }, nil, verbs.RemAccessErr},
		} {
			t.Run(test.name, func(t *testing.T) {
				a, b := pair(t, f)
				rights := verbs.LocalWrite
				if test.name == "a read into memory for reading" {
					rights = 0
				}
				local, mem := a.reg(t, pattern(64, 1), rights), b.reg(t, pattern(64, 2), allRights)
				was := [2][]byte{pattern(64, 1), pattern(64, 2)}
				wr := verbs.SendWR{ID: 5, Opcode: verbs.Write, Flags: verbs.Signaled, SG: []verbs.SGE{{Buf: local.b[8:16], LKey: local.LKey()}},
					RemoteAddr: mem.Addr() + 16, RKey: mem.RKey()}
				test.change(&wr, local, mem)
				if err := a.qp.PostSend(wr); !errors.Is(err, test.post) {
					t.Fatalf("post: %v, want %v", err, test.post)
				}
				if test.post == nil {
					wc := a.expect(t, wr.ID, test.want)
					if op := map[verbs.Opcode]verbs.WCOpcode{verbs.Write: verbs.WCWrite, verbs.Read: verbs.WCRead, verbs.FetchAdd: verbs.WCFetchAdd,
						verbs.CompareSwap: verbs.WCCompareSwap}[wr.Opcode]; test.want == verbs.Success && (wc.Opcode != op || wc.Bytes != 8 || wc.QPN != a.qp.QPN()) {
						t.Errorf("completed as %+v", wc)
					}
				}
				if test.post == nil && test.want == verbs.Success {
					was[0], was[1] = after(wr, was[0], was[1])
				}
				b.sync()
				if !bytes.Equal(local.b, was[0]) || !bytes.Equal(mem.b, was[1]) {
					t.Errorf("memory is other than it should be: %x %x", local.b, mem.b)
				}
			})
		}
	})
}

// after returns what a request of the test leaves in the local memory and in the peer's.
func after(wr verbs.SendWR, local, mem []byte) (newLocal, newMem []byte) {
	old := bytes.Clone(mem[16:24])
	value := binary.NativeEndian.Uint64(old)
	switch wr.Opcode {
	case verbs.Write:
		copy(mem[16:24], local[8:])
		return local, mem
	case verbs.FetchAdd:
		value += wr.Add
	case verbs.CompareSwap:
		if value == wr.Compare {
			value = wr.Swap
		}
	}
	copy(local[8:16], old)
	binary.NativeEndian.PutUint64(mem[16:], value)
	return local, mem
}

// Requests that need no completion do not fill the queue, and the next signaled one completes alone.
func TestLoneUnsignaled(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := pair(t, f)
		src, mem := a.reg(t, pattern(8, 1), 0), b.reg(t, make([]byte, 8), allRights)
		wr := verbs.SendWR{Opcode: verbs.Write, SG: []verbs.SGE{src.sge()}, RemoteAddr: mem.Addr(), RKey: mem.RKey()}
		for i := range 3 * defaultCap.SendWR {
			wr.ID, wr.Flags = uint64(i), 0
			if i%16 == 15 {
				wr.Flags = verbs.Signaled
			}
			must(t, a.qp.PostSend(wr))
			if i%16 == 15 {
				a.expect(t, uint64(i), verbs.Success)
			}
		}
		b.sync()
		if !bytes.Equal(mem.b, src.b) {
			t.Error("the data is not there")
		}
	})
}

// A queue pair without the right, or that grants no reads, refuses the lone request too, and both sides go to ERR.
func TestLoneNeedsRights(t *testing.T) {
	for _, op := range []verbs.Opcode{verbs.Write, verbs.Read} {
		t.Run(fmt.Sprint(op), func(t *testing.T) {
			eachFabric(t, func(t *testing.T, f fabricUnder) {
				a, b := pairWith(t, f, func(_ int, at *verbs.QPAttr) { at.Access = verbs.RemoteAtomic }, nil)
				src, mem := a.reg(t, make([]byte, 8), verbs.LocalWrite), b.reg(t, make([]byte, 8), allRights)
				must(t, a.qp.PostSend(verbs.SendWR{ID: 1, Opcode: op, SG: []verbs.SGE{src.sge()}, RemoteAddr: mem.Addr(), RKey: mem.RKey()}))
				a.expect(t, 1, verbs.RemInvReqErr)
				a.reaches(t, verbs.Err)
				b.reaches(t, verbs.Err)
			})
		})
	}
}

// A lone request to a queue pair that talks in packets goes by packets, also if nothing went there before: the peer's NIC counts it.
func TestLoneToPackets(t *testing.T) {
	for _, f := range plainFabrics {
		for op, ops := range map[verbs.Opcode]verbs.CounterOps{verbs.Write: verbs.CountRemoteWrite, verbs.Read: verbs.CountRemoteRead,
			verbs.FetchAdd: verbs.CountRemoteRead, verbs.CompareSwap: verbs.CountRemoteRead} {
			t.Run(f.name+" "+op.String(), func(t *testing.T) {
				f := f
				f.device = true
				a, b := newEnd(t, f), newEnd(t, f)
				k := counter(t, b.ctx)
				must(t, b.qp.AttachCounter(k, ops))
				a.connect(t, b)
				b.connect(t, a)
				src, mem := a.reg(t, make([]byte, 8), verbs.LocalWrite), b.reg(t, make([]byte, 8), allRights)
				for i := range uint64(2) {
					must(t, a.qp.PostSend(verbs.SendWR{ID: i, Opcode: op, Flags: verbs.Signaled, SG: []verbs.SGE{src.sge()}, RemoteAddr: mem.Addr(), RKey: mem.RKey()}))
					a.expect(t, i, verbs.Success)
					reads(t, k, ok(i+1))
				}
			})
		}
	}
}
