package verbs_test

import (
	"fmt"
	"testing"

	"outboard/verbs"
)

// tmPair is a sender and a receiver with a tag-matching shared receive queue, whose completions go to b.cq.
type tmPair struct {
	a, b *end
	srq  *verbs.SRQ
	mem  region // of b, for tagged buffers
	recv region // of b, for ordinary receives: slots of tmSlot bytes, one for each request
	out  region // of a, messages
	mtu  int    // bytes of a packet
}

const (
	tmMem  = 1 << 18
	tmSlot = 8 << 10
	tmRecv = 8 // ordinary receives
)

func newTMPair(t testing.TB, f fabricUnder, in verbs.TMInit) *tmPair {
	t.Helper()
	return newTMPairOn(t, f, f.context(t), f.context(t), in)
}

func newTMPairOn(t testing.TB, f fabricUnder, a, bctx *verbs.Context, in verbs.TMInit) *tmPair {
	t.Helper()
	p := &tmPair{mtu: 1024, a: newEndOn(t, f, a, nil), b: &end{ctx: bctx, f: f}}
	if p.a.ctx.FabricAttr().MTU <= 1024 {
		p.mtu = 512 // the packets' headers take some of it
	}
	b := p.b
	var err error
	b.pd, err = b.ctx.AllocPD()
	must(t, err)
	b.cq, err = b.ctx.CreateCQ(1024, nil)
	must(t, err)
	if in.MaxTags == 0 {
		in.MaxTags = 64
	}
	if in.MaxOps == 0 {
		in.MaxOps = 64
	}
	in.CQ = b.cq
	p.srq, err = b.ctx.CreateSRQ(b.pd, verbs.SRQInit{MaxWR: 64, MaxSGE: 4, TM: &in})
	must(t, err)
	b.qp, err = b.ctx.CreateQP(b.pd, verbs.QPInit{SendCQ: b.cq, RecvCQ: b.cq, SRQ: p.srq})
	must(t, err)
	p.mem = b.reg(t, make([]byte, tmMem), verbs.LocalWrite)
	p.recv = b.reg(t, make([]byte, tmRecv*tmSlot), verbs.LocalWrite)
	p.out = p.a.reg(t, make([]byte, tmMem), verbs.LocalWrite|verbs.RemoteRead)
	p.connect(t, p.a, b, nil)
	for i := range tmRecv {
		p.postRecv(t, i)
	}
	return p
}

// free destroys everything: nothing is in use.
func (p *tmPair) free(t testing.TB) {
	t.Helper()
	must(t, p.b.qp.Destroy())
	must(t, p.a.qp.Destroy())
	must(t, p.srq.Destroy())
	for _, e := range []*end{p.a, p.b} {
		must(t, e.cq.Destroy())
	}
	for _, r := range []region{p.mem, p.recv, p.out} {
		must(t, r.Dereg())
		if p.b.f.device {
			c := p.b.ctx
			if r.MR == p.out.MR {
				c = p.a.ctx
			}
			must(t, c.FreeMem(r.b))
		}
	}
	must(t, p.a.pd.Dealloc())
	must(t, p.b.pd.Dealloc())
}

// connect connects two ends, with short waits for receives.
func (p *tmPair) connect(t testing.TB, a, b *end, change func(*verbs.QPAttr)) {
	t.Helper()
	for _, e := range [][2]*end{{a, b}, {b, a}} {
		at := attrFor(e[1])
		at.MinRNRTimer = 12 // 0.64 ms
		if p.b.f.lossy {
			at.Timeout = 12 // 17 ms: the side that nobody polls needs some of them under the race detector
		}
		if change != nil {
			change(&at)
		}
		e[0].bring(t, at, verbs.RTS)
	}
}

// recvID is the request of the ordinary receive with slot i.
func recvID(i int) uint64 { return 1000 + uint64(i) }

func (p *tmPair) postRecv(t testing.TB, i int) {
	t.Helper()
	must(t, p.srq.PostRecv(verbs.RecvWR{ID: recvID(i), SG: []verbs.SGE{p.recv.part(i*tmSlot, tmSlot)}}))
}

// taken is what the ordinary receive of a completion got; it is posted again.
func (p *tmPair) taken(t testing.TB, wc verbs.WC) []byte {
	t.Helper()
	i := int(wc.ID - recvID(0))
	if i < 0 || i >= tmRecv {
		t.Fatalf("completion %+v, want one of an ordinary receive", wc)
	}
	p.b.sync()
	b := append([]byte(nil), p.recv.b[i*tmSlot:][:wc.Bytes]...)
	p.postRecv(t, i)
	return b
}

// add adds a buffer and checks the completion of the operation.
func (p *tmPair) add(t testing.TB, id, tag, mask uint64, sg ...verbs.SGE) (handle uint32) {
	t.Helper()
	op := verbs.TMOp{ID: id + 1e6, Kind: verbs.TagAdd, Flags: verbs.OpsSignaled, RecvWRID: id, SG: sg, Tag: tag, Mask: mask}
	p.op(t, &op, verbs.WCTMAdd, verbs.Success, 0)
	if op.Handle == 0 {
		t.Fatal("handle 0")
	}
	return op.Handle
}

// op posts a signaled operation and checks its completion.
func (p *tmPair) op(t testing.TB, op *verbs.TMOp, kind verbs.WCOpcode, st verbs.Status, flags verbs.WCFlags) {
	t.Helper()
	op.Flags |= verbs.OpsSignaled
	must(t, p.srq.PostOps(op))
	if wc := p.b.expect(t, op.ID, st); wc.Opcode != kind || wc.Flags != flags {
		t.Fatalf("completion of %v with %v, flags %#x, want %v, %#x", op.Kind, wc.Opcode, wc.Flags, kind, flags)
	}
}

func (p *tmPair) del(t testing.TB, handle uint32, st verbs.Status, flags verbs.WCFlags) {
	t.Helper()
	p.op(t, &verbs.TMOp{ID: 7e6, Kind: verbs.TagDel, Handle: handle}, verbs.WCTMDel, st, flags)
}

func (p *tmPair) sync(t testing.TB, count uint32) {
	t.Helper()
	p.op(t, &verbs.TMOp{ID: 8e6, Kind: verbs.TagSync, UnexpectedCnt: count}, verbs.WCTMSync, verbs.Success, 0)
}

// send sends a message from end e, which has registered out.
func (p *tmPair) send(t testing.TB, msg []byte, change func(*verbs.SendWR)) {
	t.Helper()
	copy(p.out.b, msg)
	wr := verbs.SendWR{ID: 5, Opcode: verbs.Send, Flags: verbs.Signaled, SG: []verbs.SGE{p.out.part(0, len(msg))}}
	if change != nil {
		change(&wr)
	}
	must(t, p.a.qp.PostSend(wr))
	p.a.expect(t, 5, verbs.Success)
}

func eager(tag uint64, data []byte) []byte {
	return append(verbs.TMH{Opcode: verbs.TMEager, AppCtx: ^uint32(tag), Tag: tag}.AppendTo(nil), data...)
}

// rndv is a rendezvous request for the sender's memory from off on.
func (p *tmPair) rndv(tag uint64, off, n int, more string) []byte {
	m := verbs.TMH{Opcode: verbs.TMRndv, AppCtx: ^uint32(tag), Tag: tag}.AppendTo(nil)
	m = verbs.RVH{Addr: p.out.Addr() + uint64(off), RKey: p.out.RKey(), Len: uint32(n)}.AppendTo(m)
	return append(m, more...)
}

// matched checks a completion of a tagged buffer.
func (p *tmPair) matched(t testing.TB, wc verbs.WC, id uint64, flags verbs.WCFlags, info verbs.TMInfo, n int) {
	t.Helper()
	if wc.ID != id || wc.Status != verbs.Success || wc.Opcode != verbs.WCTMRecv || wc.Flags != flags || wc.TM != info || wc.Bytes != n ||
		wc.QPN != p.b.qp.QPN() || wc.SrcQP != p.a.qp.QPN() {
		t.Fatalf("completion %+v, want request %d, flags %#x, %+v, %d bytes from QP %#x at %#x", wc, id, flags, info, n, p.a.qp.QPN(), p.b.qp.QPN())
	}
	p.b.sync()
}

// received waits for an eager message that matched, in one packet or in more.
func (p *tmPair) received(t testing.TB, id uint64, handle uint32, tag uint64, n int) {
	t.Helper()
	info := verbs.TMInfo{Tag: tag, AppCtx: ^uint32(tag), Handle: handle}
	if n+verbs.TMHSize <= p.mtu {
		p.matched(t, p.b.wait(t), id, verbs.TMMatch|verbs.TMDataValid, info, n)
		return
	}
	p.matched(t, p.b.wait(t), id, verbs.TMMatch, info, 0)
	p.matched(t, p.b.wait(t), id, verbs.TMDataValid, verbs.TMInfo{Handle: handle}, n)
}

// unexpected waits for a message that took an ordinary receive, and returns it.
func (p *tmPair) unexpected(t testing.TB, kind verbs.WCOpcode, flags verbs.WCFlags) []byte {
	t.Helper()
	wc := p.b.wait(t)
	if wc.Status != verbs.Success || wc.Opcode != kind || wc.Flags != flags || wc.TM != (verbs.TMInfo{}) {
		t.Fatalf("completion %+v, want %v with flags %#x", wc, kind, flags)
	}
	return p.taken(t, wc)
}

// tmFabrics are the wires for tag matching, which always goes by packets.
var tmFabrics = append([]fabricUnder{
	{name: "tight ring", open: openTight},
	{name: "shm device memory", open: openShm, device: true},
	{name: "lossy", open: openLossy, lossy: true},
}, plainFabrics...)

func eachTM(t *testing.T, f func(t *testing.T, f fabricUnder)) {
	for _, under := range tmFabrics {
		t.Run(under.name, func(t *testing.T) { f(t, under) })
	}
}

// sized names a case by its size.
func sized(n int) string { return fmt.Sprintf("%d bytes", n) }
