package verbs_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"outboard/verbs"
)

// The model executes a program of work requests one after the other on plain slices. What the queue
// pairs do must look the same: memory on both sides, completions, and their order.

const modelMem = 2400 // bytes of remote memory of one queue pair; the program's slots of local memory are as long

// step is one request of a program.
type step struct {
	op     verbs.Opcode
	flags  verbs.SendFlags
	off, n int // remote bytes
	cuts   int // pieces of the local list
	imm    uint32
	add    uint64
	mask   verbs.AtomicMask
	badKey bool
}

var modelOps = []verbs.Opcode{verbs.Send, verbs.SendImm, verbs.Write, verbs.WriteImm, verbs.Read, verbs.FetchAdd, verbs.CompareSwap,
	verbs.MaskedFetchAdd, verbs.MaskedCompareSwap}

func drawStep(t *rapid.T) step {
	s := step{
		op:   rapid.SampledFrom(modelOps).Draw(t, "op"),
		cuts: rapid.IntRange(1, 4).Draw(t, "cuts"),
		imm:  rapid.Uint32().Draw(t, "imm"),
		add:  rapid.Uint64Range(0, 3).Draw(t, "operand"),
		n:    rapid.OneOf(rapid.IntRange(0, 100), rapid.SampledFrom([]int{247, 248, 249, 255, 256, 257, 512, 513}), rapid.IntRange(0, 1200)).Draw(t, "bytes"),
	}
	if rapid.Bool().Draw(t, "signaled") {
		s.flags |= verbs.Signaled
	}
	switch {
	case s.op >= verbs.FetchAdd:
		s.n = 8
		s.off = 8 * rapid.IntRange(0, 3).Draw(t, "word")
	default:
		s.off = rapid.IntRange(0, modelMem-s.n).Draw(t, "offset")
	}
	if s.op >= verbs.MaskedFetchAdd {
		s.add = rapid.Uint64().Draw(t, "masked operand")
		s.mask = verbs.AtomicMask{Compare: rapid.Uint64().Draw(t, "compared bits") & 0x1020, Swap: rapid.Uint64().Draw(t, "swapped bits"), Add: rapid.Uint64().Draw(t, "field ends")}
	}
	if s.op < verbs.Read && s.n <= defaultCap.Inline && rapid.Bool().Draw(t, "inline") {
		s.flags |= verbs.Inline
	}
	if s.op >= verbs.Write && s.n > 0 && rapid.IntRange(0, 39).Draw(t, "bad key") == 0 {
		s.badKey = true
	}
	return s
}

// drawProgram draws steps; what follows a read or an atomic, but a read, is fenced: its order is not defined
// otherwise (IBTA 10.8.3.3).
func drawProgram(t *rapid.T) (p []step) {
	for i := range rapid.IntRange(1, 24).Draw(t, "steps") {
		s := drawStep(t)
		if i > 0 && p[i-1].op >= verbs.Read && s.op != verbs.Read {
			s.flags |= verbs.Fence
		}
		p = append(p, s)
	}
	return p
}

// outcome is what a program does.
type outcome struct {
	Sends, Recvs  []completion
	Remote, Local []byte
	Received      []byte
}

type completion struct {
	ID     uint64
	Status verbs.Status
	Bytes  int
	Imm    uint32
}

func localData(i, n int) []byte { return pattern(n, byte(i*13+1)) }

// model runs a program sequentially.
func model(p []step, receives int) outcome {
	o := outcome{Remote: pattern(modelMem, 200), Local: make([]byte, len(p)*modelMem), Received: make([]byte, receives*modelMem)}
	failed := false
	for i, s := range p {
		local := o.Local[i*modelMem:][:s.n]
		if s.op < verbs.Read {
			copy(local, localData(i, s.n))
		}
		id := uint64(i)
		switch {
		case failed:
			o.Sends = append(o.Sends, completion{ID: id, Status: verbs.WRFlushErr})
			continue
		case s.badKey:
			failed = true
			o.Sends = append(o.Sends, completion{ID: id, Status: verbs.RemAccessErr})
			continue
		}
		modelStep(&o, s, local)
		if s.flags&verbs.Signaled != 0 {
			o.Sends = append(o.Sends, completion{ID: id})
		}
	}
	for failed && len(o.Recvs) < receives {
		o.Recvs = append(o.Recvs, completion{ID: uint64(len(o.Recvs)), Status: verbs.WRFlushErr})
	}
	return o
}

func modelStep(o *outcome, s step, local []byte) {
	k := len(o.Recvs)
	remote := o.Remote[s.off:]
	switch s.op {
	case verbs.Send, verbs.SendImm:
		copy(o.Received[k*modelMem:], local)
		c := completion{ID: uint64(k), Bytes: s.n}
		if s.op == verbs.SendImm {
			c.Imm = s.imm
		}
		o.Recvs = append(o.Recvs, c)
	case verbs.Write:
		copy(remote, local)
	case verbs.WriteImm:
		copy(remote, local)
		o.Recvs = append(o.Recvs, completion{ID: uint64(k), Bytes: s.n, Imm: s.imm})
	case verbs.Read:
		copy(local, remote)
	default:
		old := binary.NativeEndian.Uint64(remote)
		binary.NativeEndian.PutUint64(local, old)
		switch {
		case s.op == verbs.FetchAdd:
			binary.NativeEndian.PutUint64(remote, old+s.add)
		case s.op == verbs.MaskedFetchAdd:
			binary.NativeEndian.PutUint64(remote, addFields(old, s.add, s.mask.Add))
		case s.op == verbs.MaskedCompareSwap:
			if (old^s.add)&s.mask.Compare == 0 {
				binary.NativeEndian.PutUint64(remote, old&^s.mask.Swap|uint64(s.imm)&s.mask.Swap)
			}
		case old == s.add:
			binary.NativeEndian.PutUint64(remote, uint64(s.imm))
		}
	}
}

// addFields adds bit by bit, and carries nothing out of a bit that is set in ends.
func addFields(a, b, ends uint64) (sum uint64) {
	carry := uint64(0)
	for bit := uint64(1); bit != 0; bit <<= 1 {
		n := carry
		for _, v := range []uint64{a, b} {
			if v&bit != 0 {
				n++
			}
		}
		if n&1 != 0 {
			sum |= bit
		}
		if carry = n >> 1; ends&bit != 0 {
			carry = 0
		}
	}
	return sum
}

// program is one queue pair with the memory of a program.
type program struct {
	a, b                    *end
	remote, local, received region
	p                       []step
	receives                int
	got                     outcome
}

func newProgram(t testing.TB, a, b *end, p []step) *program {
	m := &program{a: a, b: b, p: p}
	for _, s := range p {
		if s.op <= verbs.SendImm || s.op == verbs.WriteImm {
			m.receives++
		}
	}
	m.remote = b.reg(t, pattern(modelMem, 200), allRights)
	m.received = b.reg(t, make([]byte, max(m.receives, 1)*modelMem), verbs.LocalWrite)
	m.local = a.reg(t, make([]byte, len(p)*modelMem), verbs.LocalWrite)
	return m
}

// start posts everything: receives late for every second program, so that messages wait for them.
func (m *program) start(t testing.TB, late bool) {
	post := func() {
		for i := range m.receives {
			must(t, m.b.qp.PostRecv(verbs.RecvWR{ID: uint64(i), SG: split(region{m.received.MR, m.received.b[i*modelMem:][:modelMem]}, 3)}))
		}
	}
	if !late {
		post()
	}
	for i, s := range m.p {
		local := region{m.local.MR, m.local.b[i*modelMem:][:s.n]}
		if s.op < verbs.Read {
			copy(local.b, localData(i, s.n))
		}
		wr := verbs.SendWR{ID: uint64(i), Opcode: s.op, Flags: s.flags, SG: split(local, s.cuts), Imm: s.imm,
			RemoteAddr: m.remote.Addr() + uint64(s.off), RKey: m.remote.RKey(), Mask: &s.mask, Add: s.add, Compare: s.add, Swap: uint64(s.imm)}
		if s.badKey {
			wr.RKey ^= 0x40
		}
		must(t, m.a.qp.PostSend(wr))
	}
	if late {
		post()
	}
}

// refusalLost handles a lossy wire on which the refusal of a request was lost, and with it the acknowledgement of those before it: a
// queue pair in ERR says nothing twice (IBTA 10.3.1.6), so the first of them fails for want of an answer. What the peer did is the same.
func (m *program) refusalLost(want *outcome) {
	k := slices.IndexFunc(m.got.Sends, func(c completion) bool { return c.Status == verbs.RetryExcErr })
	if !m.a.f.lossy || !m.fails() || k < 0 {
		return
	}
	first := m.got.Sends[k].ID
	want.Sends = slices.DeleteFunc(want.Sends, func(c completion) bool { return c.ID >= first })
	want.Sends = append(want.Sends, completion{ID: first, Status: verbs.RetryExcErr})
	for id := first + 1; id < uint64(len(m.p)); id++ {
		want.Sends = append(want.Sends, completion{ID: id, Status: verbs.WRFlushErr})
	}
	copy(want.Local[first*modelMem:], m.got.Local[first*modelMem:])
}

// fails tells whether a request of the program is refused. Then all after it complete.
func (m *program) fails() bool {
	return slices.ContainsFunc(m.p, func(s step) bool { return s.badKey })
}

// run collects as many completions as the model has, and looks for more.
func (m *program) run(t testing.TB, want outcome) {
	take := func(e *end, n int) (cs []completion) {
		last := uint64(len(m.p) - 1)
		for len(cs) < n || e == m.a && m.fails() && cs[len(cs)-1].ID != last {
			wc := e.wait(t)
			c := completion{ID: wc.ID, Status: wc.Status}
			if (wc.Opcode == verbs.WCRecv || wc.Opcode == verbs.WCRecvWriteImm) && wc.Status == verbs.Success {
				c.Bytes, c.Imm = wc.Bytes, wc.Imm
			}
			cs = append(cs, c)
		}
		e.quiet(t, 0)
		return cs
	}
	m.got.Sends = take(m.a, len(want.Sends))
	m.got.Recvs = take(m.b, len(want.Recvs))
	// A last signaled request tells that the unsignaled ones before it are done.
	if m.a.state() == verbs.RTS {
		must(t, m.a.qp.PostSend(verbs.SendWR{ID: 999, Opcode: verbs.Write, Flags: verbs.Signaled | verbs.Fence}))
		m.a.expect(t, 999, verbs.Success)
	}
	m.b.sync()
	m.got.Remote, m.got.Local = bytes.Clone(m.remote.b), bytes.Clone(m.local.b)
	m.got.Received = bytes.Clone(m.received.b[:m.receives*modelMem])
}

// differ says where two outcomes differ.
func differ(want, got outcome) string {
	if d := cmp.Diff([][]completion{want.Sends, want.Recvs}, [][]completion{got.Sends, got.Recvs}); d != "" {
		return "completions: " + d
	}
	for _, m := range []struct {
		name      string
		want, got []byte
	}{{"remote memory", want.Remote, got.Remote}, {"local memory", want.Local, got.Local}, {"received data", want.Received, got.Received}} {
		for i := range m.want {
			if m.want[i] != m.got[i] {
				return fmt.Sprintf("%s: byte %d of request %d is %#x, want %#x", m.name, i%modelMem, i/modelMem, m.got[i], m.want[i])
			}
		}
	}
	return ""
}

// TestAgainstModel runs random programs on two queue pairs between the same contexts at once.
func TestAgainstModel(t *testing.T) {
	eachFabric(t, func(t *testing.T, f fabricUnder) {
		a, b := newEnd(t, f), newEnd(t, f)
		rapid.Check(t, func(r *rapid.T) {
			var ms []*program
			mtu := rapid.SampledFrom([]int{256, 512, 1024}).Draw(r, "MTU")
			late := rapid.Bool().Draw(r, "late receives")
			for range 2 {
				x, y := newEndOn(t, f, a.ctx, nil), newEndOn(t, f, b.ctx, nil)
				ax, ay := attrFor(y), attrFor(x)
				ax.PathMTU, ay.PathMTU = mtu, mtu
				x.bring(t, ax, verbs.RTS)
				y.bring(t, ay, verbs.RTS)
				ms = append(ms, newProgram(t, x, y, drawProgram(r)))
			}
			for _, m := range ms {
				m.start(t, late)
			}
			for i, m := range ms {
				want := model(m.p, m.receives)
				m.run(t, want)
				m.refusalLost(&want)
				if d := differ(want, m.got); d != "" {
					r.Errorf("queue pair %d of program %+v:\n%s", i, m.p, d)
				}
				m.free(t)
			}
		})
	})
}

// free gives everything back: nothing may be in use.
func (m *program) free(t testing.TB) {
	for _, e := range []*end{m.a, m.b} {
		must(t, e.qp.Destroy())
		must(t, e.cq.Destroy())
	}
	for _, r := range []region{m.remote, m.received, m.local} {
		must(t, r.Dereg())
	}
	for _, e := range []*end{m.a, m.b} {
		must(t, e.pd.Dealloc())
	}
	if m.a.f.device {
		must(t, m.b.ctx.FreeMem(m.remote.b))
		must(t, m.b.ctx.FreeMem(m.received.b))
		must(t, m.a.ctx.FreeMem(m.local.b))
	}
}
