package verbs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"outboard/verbs"
)

func TestWriteAndReadSizes(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := pairWith(t, f, func(_ int, at *verbs.QPAttr) { at.PathMTU = 256 }, nil)
		for _, n := range []int{0, 1, 8, 247, 248, 249, 256, 257, 504, 505, 4000, 70_000} {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				src, back := a.reg(t, pattern(n, 7), 0), a.reg(t, make([]byte, n), verbs.LocalWrite)
				mem := b.reg(t, make([]byte, n+2), allRights)
				must(t, b.qp.PostRecv(verbs.RecvWR{ID: 9}))
				must(t, a.qp.PostSend(
					verbs.SendWR{ID: 1, Opcode: verbs.Write, Flags: verbs.Signaled, SG: split(src, 4), RemoteAddr: mem.Addr() + 1, RKey: mem.RKey()},
					verbs.SendWR{ID: 2, Opcode: verbs.Read, Flags: verbs.Signaled, SG: split(back, 3), RemoteAddr: mem.Addr() + 1, RKey: mem.RKey()},
					verbs.SendWR{ID: 3, Opcode: verbs.WriteImm, Flags: verbs.Signaled | verbs.Fence, Imm: 77, SG: split(src, 2), RemoteAddr: mem.Addr() + 2, RKey: mem.RKey()}))
				for i, op := range []verbs.WCOpcode{verbs.WCWrite, verbs.WCRead, verbs.WCWrite} {
					if wc := a.expect(t, uint64(i+1), verbs.Success); wc.Opcode != op {
						t.Errorf("request %d completed as opcode %d, want %d", wc.ID, wc.Opcode, op)
					}
				}
				if wc := b.expect(t, 9, verbs.Success); wc.Opcode != verbs.WCRecvWriteImm || wc.Bytes != n || !wc.HasImm || wc.Imm != 77 {
					t.Errorf("receive completed as %+v, want a write of %d bytes with immediate 77", wc, n)
				}
				if !bytes.Equal(back.b, src.b) {
					t.Error("RDMA READ brought other data than was written")
				}
				if !bytes.Equal(mem.b[2:], src.b) || mem.b[0] != 0 {
					t.Error("RDMA WRITE with immediate left other data")
				}
			})
		}
	})
}

func TestZeroLengthNeedsNoKey(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := pair(t, f)
		must(t, b.qp.PostRecv(verbs.RecvWR{}))
		must(t, a.qp.PostSend(
			verbs.SendWR{ID: 1, Opcode: verbs.Write, Flags: verbs.Signaled, RemoteAddr: 5, RKey: 99},
			verbs.SendWR{ID: 2, Opcode: verbs.Read, Flags: verbs.Signaled, RemoteAddr: 5, RKey: 99},
			verbs.SendWR{ID: 3, Opcode: verbs.WriteImm, Flags: verbs.Signaled, RemoteAddr: 5, RKey: 99}))
		for id := range uint64(3) {
			a.expect(t, id+1, verbs.Success)
		}
	})
}

func TestAtomics(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := pair(t, f)
		mem, out := b.reg(t, make([]byte, 64), allRights), a.reg(t, make([]byte, 8), verbs.LocalWrite)
		value := uint64(1<<64 - 5)
		binary.NativeEndian.PutUint64(mem.b[8:], value)
		for i, c := range []verbs.SendWR{
			{Opcode: verbs.FetchAdd, Add: 10}, // wraps around
			{Opcode: verbs.FetchAdd, Add: 1<<64 - 1},
			{Opcode: verbs.CompareSwap, Compare: 4, Swap: 1 << 40},
			{Opcode: verbs.CompareSwap, Compare: 4, Swap: 9}, // does not match
			{Opcode: verbs.FetchAdd},
		} {
			c.ID, c.Flags, c.RemoteAddr, c.RKey = uint64(i), verbs.Signaled, mem.Addr()+8, mem.RKey()
			c.SG = []verbs.SGE{out.part(0, 3), out.part(3, 5)}
			b.sync()
			must(t, a.qp.PostSend(c))
			a.expect(t, uint64(i), verbs.Success)
			b.sync()
			if got := binary.NativeEndian.Uint64(out.b); got != value {
				t.Fatalf("%v %d returned %#x, want %#x", c.Opcode, i, got, value)
			}
			switch {
			case c.Opcode == verbs.FetchAdd:
				value += c.Add
			case c.Compare == value:
				value = c.Swap
			}
			if got := binary.NativeEndian.Uint64(mem.b[8:]); got != value {
				t.Fatalf("%v %d left %#x, want %#x", c.Opcode, i, got, value)
			}
		}
		if !bytes.Equal(mem.b[:8], make([]byte, 8)) || !bytes.Equal(mem.b[16:], make([]byte, 48)) {
			t.Error("atomics touched their neighbours")
		}
	})
}

// aim is what a bad request points at.
type aim struct {
	addr uint64
	key  uint32
}

// remoteFaults are the requests that a responder refuses.
var remoteFaults = []struct {
	name string
	ops  []verbs.Opcode
	want verbs.Status
	qp   verbs.Access // rights of the responder's queue pair
	none bool         // MAX_DEST_RD_ATOMIC 0
	aim  func(t *testing.T, b *end, mem region) aim
}{
	{name: "unknown key", ops: allOneSided, want: verbs.RemAccessErr, qp: allRights, aim: func(t *testing.T, b *end, m region) aim { return aim{m.Addr(), 0x55500} }},
	{name: "key zero", ops: allOneSided, want: verbs.RemAccessErr, qp: allRights, aim: func(t *testing.T, b *end, m region) aim { return aim{m.Addr(), 0} }},
	{name: "key of another variant", ops: allOneSided, want: verbs.RemAccessErr, qp: allRights, aim: func(t *testing.T, b *end, m region) aim { return aim{m.Addr(), m.RKey() ^ 0x80} }},
	{name: "stale key", ops: allOneSided, want: verbs.RemAccessErr, qp: allRights, aim: func(t *testing.T, b *end, m region) aim {
		old := b.reg(t, make([]byte, 64), allRights)
		must(t, old.Dereg())
		b.reg(t, make([]byte, 64), allRights) // takes its place
		return aim{old.addr(), old.RKey()}
	}},
	{name: "before the region", ops: allOneSided, want: verbs.RemAccessErr, qp: allRights, aim: func(t *testing.T, b *end, m region) aim { return aim{m.Addr() - 8, m.RKey()} }},
	{name: "past the region", ops: allOneSided, want: verbs.RemAccessErr, qp: allRights, aim: func(t *testing.T, b *end, m region) aim { return aim{m.Addr() + 64, m.RKey()} }},
	{name: "over the end of the region", ops: []verbs.Opcode{verbs.Write, verbs.WriteImm, verbs.Read}, want: verbs.RemAccessErr, qp: allRights,
		aim: func(t *testing.T, b *end, m region) aim { return aim{m.Addr() + 57, m.RKey()} }},
	{name: "end of the address space", ops: allOneSided, want: verbs.RemAccessErr, qp: allRights, aim: func(t *testing.T, b *end, m region) aim { return aim{1<<64 - 8, m.RKey()} }},
	{name: "region without the right", ops: allOneSided, want: verbs.RemAccessErr, qp: allRights, aim: func(t *testing.T, b *end, m region) aim {
		r := b.reg(t, make([]byte, 64), verbs.LocalWrite)
		return aim{r.Addr(), r.RKey()}
	}},
	{name: "write to a readable region", ops: []verbs.Opcode{verbs.Write, verbs.WriteImm, verbs.FetchAdd}, want: verbs.RemAccessErr, qp: allRights,
		aim: func(t *testing.T, b *end, m region) aim {
			r := b.reg(t, make([]byte, 64), verbs.RemoteRead)
			return aim{r.Addr(), r.RKey()}
		}},
	{name: "read of a writable region", ops: []verbs.Opcode{verbs.Read, verbs.CompareSwap}, want: verbs.RemAccessErr, qp: allRights,
		aim: func(t *testing.T, b *end, m region) aim {
			r := b.reg(t, make([]byte, 64), verbs.LocalWrite|verbs.RemoteWrite)
			return aim{r.Addr(), r.RKey()}
		}},
	{name: "region of another domain", ops: allOneSided, want: verbs.RemAccessErr, qp: allRights, aim: func(t *testing.T, b *end, m region) aim {
		pd, err := b.ctx.AllocPD()
		must(t, err)
		mr, err := b.ctx.RegMR(pd, m.b, allRights)
		must(t, err)
		return aim{mr.Addr(), mr.RKey()}
	}},
	{name: "queue pair without any right", ops: allOneSided, want: verbs.RemInvReqErr, aim: func(t *testing.T, b *end, m region) aim { return aim{m.Addr(), m.RKey()} }},
	{name: "queue pair that only reads", ops: []verbs.Opcode{verbs.Write, verbs.WriteImm, verbs.FetchAdd, verbs.CompareSwap}, want: verbs.RemInvReqErr, qp: verbs.RemoteRead,
		aim: func(t *testing.T, b *end, m region) aim { return aim{m.Addr(), m.RKey()} }},
	{name: "misaligned", ops: []verbs.Opcode{verbs.FetchAdd, verbs.CompareSwap}, want: verbs.RemInvReqErr, qp: allRights,
		aim: func(t *testing.T, b *end, m region) aim { return aim{m.Addr() + 4, m.RKey()} }},
	{name: "no responder resources", ops: []verbs.Opcode{verbs.Read, verbs.FetchAdd, verbs.CompareSwap}, want: verbs.RemInvReqErr, qp: allRights, none: true,
		aim: func(t *testing.T, b *end, m region) aim { return aim{m.Addr(), m.RKey()} }},
}

var allOneSided = []verbs.Opcode{verbs.Write, verbs.WriteImm, verbs.Read, verbs.FetchAdd, verbs.CompareSwap}

// addr is the address of the first byte, also after Dereg.
func (r region) addr() uint64 { return verbs.AddrOf(r.b) }

func TestRemoteFaults(t *testing.T) {
	for _, c := range remoteFaults {
		for _, op := range c.ops {
			t.Run(fmt.Sprintf("%s/%v", c.name, op), func(t *testing.T) {
				eachFabric(t, func(t *testing.T, f fabricUnder) {
					a, b := pairWith(t, f, func(side int, at *verbs.QPAttr) {
						if side == 1 {
							at.Access = c.qp
							if c.none {
								at.MaxDestRdAtomic = 0
							}
						}
					}, nil)
					mem := b.reg(t, pattern(64, 5), allRights)
					target := c.aim(t, b, mem)
					refusedAccess(t, a, b, mem, verbs.SendWR{Opcode: op, RemoteAddr: target.addr, RKey: target.key}, c.want)
				})
			})
		}
	}
}

// refusedAccess posts good sends around a bad request and checks what both sides see.
func refusedAccess(t *testing.T, a, b *end, mem region, wr verbs.SendWR, want verbs.Status) {
	t.Helper()
	before := bytes.Clone(mem.b)
	buf := a.reg(t, pattern(8, 77), verbs.LocalWrite)
	must(t, b.qp.PostRecv(verbs.RecvWR{ID: 100}, verbs.RecvWR{ID: 101}, verbs.RecvWR{ID: 102}))
	wr.ID, wr.SG = 2, []verbs.SGE{buf.sge()}
	good := verbs.SendWR{ID: 1, Flags: verbs.Signaled}
	bad := []verbs.SendWR{wr, {ID: 3}, {ID: 4, Flags: verbs.Signaled}}
	if a.f.lossy { // the refusal can be lost, and is not said twice: what is before it must be over
		must(t, a.qp.PostSend(good))
		a.expect(t, 1, verbs.Success)
		must(t, a.qp.PostSend(bad...))
	} else {
		must(t, a.qp.PostSend(append([]verbs.SendWR{good}, bad...)...))
		a.expect(t, 1, verbs.Success)
	}
	wc := a.wait(t)
	if wc.ID != 2 || wc.Status != want && !(a.f.lossy && wc.Status == verbs.RetryExcErr) {
		t.Fatalf("completion of request %d with %v (%s), want request 2 with %v", wc.ID, wc.Status, wc.Detail, want)
	}
	if wc.Detail == "" {
		t.Error("the failure has no detail")
	}
	a.expect(t, 3, verbs.WRFlushErr)
	a.expect(t, 4, verbs.WRFlushErr)
	b.expect(t, 100, verbs.Success)
	b.expect(t, 101, verbs.WRFlushErr)
	b.expect(t, 102, verbs.WRFlushErr)
	a.reaches(t, verbs.Err)
	b.reaches(t, verbs.Err)
	if !bytes.Equal(mem.b, before) {
		t.Error("the refused request changed the memory")
	}
	if !bytes.Equal(buf.b, pattern(8, 77)) {
		t.Error("the refused request changed the requester's buffer")
	}
	ev := b.ctx.AsyncEvents()
	typ := refusalEvent(want)
	if len(ev) != 1 || ev[0].Type != typ || ev[0].QPN != b.qp.QPN() || !errors.Is(ev[0].Err, want) {
		t.Errorf("the responder's events are %v, want one %v of queue pair %d with %v", ev, typ, b.qp.QPN(), want)
	}
}
