package verbs_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"outboard/verbs"
)

// tmModel is a tag-matching shared receive queue, executed step by step: entries in order of addition of which some wait.
type tmModel struct {
	limit          int
	entries        []tmModelEntry
	unmet, handled uint32
	want           []tmEvent // completions to come
}

type tmModelEntry struct {
	id, tag, mask uint64
	room          int
	waits         bool
}

// tmEvent is what is compared of a completion.
type tmEvent struct {
	ID     uint64
	Opcode verbs.WCOpcode
	Status verbs.Status
	Flags  verbs.WCFlags
	Bytes  int
	Tag    uint64
}

func (m *tmModel) sync(handled uint32) {
	m.handled = handled
	for i := range m.entries {
		if m.handled == m.unmet {
			m.entries[i].waits = false
		}
	}
}

// flags are those of a completion: what is added to f, for an operation or a receive.
func (m *tmModel) flags(op bool, f verbs.WCFlags) verbs.WCFlags {
	wait := false
	for _, e := range m.entries {
		wait = wait || e.waits
	}
	if op && m.handled != m.unmet || !op && wait {
		f |= verbs.TMSyncReq
	}
	return f
}

// match takes the entry for a tag.
func (m *tmModel) match(tag uint64) (e tmModelEntry, ok bool) {
	for i, e := range m.entries {
		if !e.waits && tag&e.mask == e.tag {
			m.entries = append(m.entries[:i:i], m.entries[i+1:]...)
			return e, true
		}
	}
	m.unmet++
	return e, false
}

func (m *tmModel) del(id uint64) bool {
	for i, e := range m.entries {
		if e.id == id {
			m.entries = append(m.entries[:i:i], m.entries[i+1:]...)
			return true
		}
	}
	return false
}

// tmProgram runs random steps on a real pair and on the model.
type tmProgram struct {
	*tmPair
	m        tmModel
	handles  map[uint64]uint32
	slot     int // of the next ordinary receive
	next     uint64
	received uint32 // messages that matched nothing, as polled
	last     []byte // data of the last message
	t        *testing.T
}

var tmTags, tmMasks = []uint64{1, 2, 0x101, 0x102, 1 << 63}, []uint64{allBits, 0xff, 0, 1 << 63}

func (p *tmProgram) step(t *rapid.T) {
	switch rapid.IntRange(0, 9).Draw(t, "step") {
	case 0, 1, 2, 3:
		p.add(t)
	case 4:
		p.remove(t)
	case 5:
		op := verbs.TMOp{ID: p.id(), Kind: verbs.TagSync, Flags: verbs.OpsSignaled, UnexpectedCnt: p.count(t)}
		must(p.t, p.srq.PostOps(&op))
		p.m.sync(op.UnexpectedCnt)
		p.m.want = append(p.m.want, tmEvent{ID: op.ID, Opcode: verbs.WCTMSync, Flags: p.m.flags(true, 0)})
	case 6, 7, 8:
		p.eager(t)
	default:
		p.rendezvous(t)
	}
	p.check(t)
}

func (p *tmProgram) id() uint64 { p.next++; return p.next + 1e6 }

// count is what software says it has handled: the truth, or an older number.
func (p *tmProgram) count(t *rapid.T) uint32 {
	n := p.received
	if n > 0 && rapid.IntRange(0, 3).Draw(t, "behind") == 0 {
		n--
	}
	return n
}

func (p *tmProgram) add(t *rapid.T) {
	mask := rapid.SampledFrom(tmMasks).Draw(t, "mask")
	tag := rapid.SampledFrom(tmTags).Draw(t, "tag") & mask
	room := rapid.SampledFrom([]int{3000, 3000, 40}).Draw(t, "room")
	id := p.id()
	off := int(p.next%64) * 3000
	op := verbs.TMOp{ID: id, Kind: verbs.TagAdd, Flags: verbs.OpsSignaled, RecvWRID: id, Tag: tag, Mask: mask, SG: []verbs.SGE{p.mem.part(off, room/2), p.mem.part(off+room/2, room-room/2)}}
	handled := p.m.handled
	if rapid.Bool().Draw(t, "sync") {
		op.Flags |= verbs.OpsSync
		op.UnexpectedCnt = p.count(t)
		handled = op.UnexpectedCnt
	}
	err := p.srq.PostOps(&op)
	if len(p.m.entries) == p.m.limit {
		wantErr(p.t, err, verbs.ErrQueueFull)
		return
	}
	must(p.t, err)
	p.handles[id] = op.Handle
	p.m.entries = append(p.m.entries, tmModelEntry{id, tag, mask, room, true})
	p.m.sync(handled)
	p.m.want = append(p.m.want, tmEvent{ID: id, Opcode: verbs.WCTMAdd, Flags: p.m.flags(true, 0)})
}

func (p *tmProgram) remove(t *rapid.T) {
	if p.next == 0 {
		return
	}
	id := rapid.Uint64Range(1, p.next).Draw(t, "entry") + 1e6
	op := verbs.TMOp{ID: p.id(), Kind: verbs.TagDel, Flags: verbs.OpsSignaled, Handle: p.handles[id]}
	must(p.t, p.srq.PostOps(&op))
	want := tmEvent{ID: op.ID, Opcode: verbs.WCTMDel, Flags: p.m.flags(true, 0)}
	if !p.m.del(id) {
		want.Status = verbs.TMErr
	}
	p.m.want = append(p.m.want, want)
}

// unexpected is the completion of a message that takes an ordinary receive.
func (p *tmProgram) unexpected(kind verbs.WCOpcode, msg []byte) {
	p.m.want = append(p.m.want, tmEvent{ID: recvID(p.slot), Opcode: kind, Flags: p.m.flags(false, 0), Bytes: len(msg)})
	p.slot = (p.slot + 1) % tmRecv
}

func (p *tmProgram) eager(t *rapid.T) {
	tag := rapid.SampledFrom(tmTags).Draw(t, "tag")
	n := rapid.SampledFrom([]int{0, 17, 40, 1008, 1009, 2900}).Draw(t, "bytes")
	for _, e := range p.m.entries { // one that is too long would end the program
		if !e.waits && tag&e.mask == e.tag {
			n = min(n, e.room)
			break
		}
	}
	p.last = pattern(n, byte(p.next))
	msg := eager(tag, p.last)
	if rapid.IntRange(0, 5).Draw(t, "no tag") == 0 {
		msg[0] = byte(verbs.TMNoTag)
		p.unexpected(verbs.WCTMNoTag, msg)
		p.send(p.t, msg, nil)
		return
	}
	p.send(p.t, msg, nil)
	e, ok := p.m.match(tag)
	switch {
	case !ok:
		p.unexpected(verbs.WCTMRecv, msg)
	case len(msg) <= p.mtu:
		p.m.want = append(p.m.want, tmEvent{ID: e.id, Opcode: verbs.WCTMRecv, Flags: p.m.flags(false, verbs.TMMatch|verbs.TMDataValid), Bytes: n, Tag: tag})
	default:
		p.m.want = append(p.m.want, tmEvent{ID: e.id, Opcode: verbs.WCTMRecv, Flags: p.m.flags(false, verbs.TMMatch), Tag: tag},
			tmEvent{ID: e.id, Opcode: verbs.WCTMRecv, Flags: p.m.flags(false, verbs.TMDataValid), Bytes: n})
	}
}

func (p *tmProgram) rendezvous(t *rapid.T) {
	tag := rapid.SampledFrom(tmTags).Draw(t, "tag")
	n := rapid.SampledFrom([]int{0, 40, 41, 2500}).Draw(t, "bytes")
	p.last = pattern(n, byte(p.next))
	copy(p.out.b[4096:], p.last)
	msg := p.rndv(tag, 4096, n, "more")
	must(p.t, p.a.qp.PostRecv(verbs.RecvWR{ID: 9, SG: []verbs.SGE{p.out.part(1<<14, 16)}}))
	wr := verbs.SendWR{ID: 5, Opcode: verbs.Send, Flags: verbs.Signaled | verbs.Inline, SG: []verbs.SGE{{Buf: msg}}}
	must(p.t, p.a.qp.PostSend(wr))
	fin := false
	e, ok := p.m.match(tag)
	switch {
	case !ok:
		p.unexpected(verbs.WCTMRecv, msg)
	case n > e.room:
		p.m.want = append(p.m.want, tmEvent{ID: e.id, Opcode: verbs.WCTMRecv, Status: verbs.TMRndvIncomplete,
			Flags: p.m.flags(false, verbs.TMMatch|verbs.TMDataValid), Bytes: min(len(msg), e.room), Tag: tag})
	default:
		fin = true
		p.m.want = append(p.m.want, tmEvent{ID: e.id, Opcode: verbs.WCTMRecv, Flags: p.m.flags(false, verbs.TMMatch), Tag: tag},
			tmEvent{ID: e.id, Opcode: verbs.WCTMRecv, Flags: p.m.flags(false, verbs.TMDataValid), Bytes: n})
	}
	ids := map[uint64]int{}
	for len(ids) < 1 || fin && len(ids) < 2 {
		wc := p.a.wait(p.t)
		if wc.Status != verbs.Success {
			t.Fatalf("sender: %+v", wc)
		}
		ids[wc.ID]++
	}
	if fin {
		p.a.sync()
		wantBytes(p.t, p.out.b[1<<14:][:16], verbs.TMH{Opcode: verbs.TMFin, AppCtx: ^uint32(tag), Tag: tag}.AppendTo(nil), "FIN")
	}
}

// check polls for what is to have completed, and compares.
func (p *tmProgram) check(t *rapid.T) {
	for len(p.m.want) > 0 {
		wc := p.b.wait(p.t)
		got := tmEvent{wc.ID, wc.Opcode, wc.Status, wc.Flags, wc.Bytes, wc.TM.Tag}
		if d := cmp.Diff(p.m.want[0], got); d != "" {
			t.Fatalf("completion, -want +got:\n%s", d)
		}
		p.m.want = p.m.want[1:]
		switch {
		case wc.ID >= recvID(0) && wc.ID < recvID(tmRecv):
			p.taken(p.t, wc)
			if wc.Opcode == verbs.WCTMRecv {
				p.received++
			}
		case wc.Opcode == verbs.WCTMRecv && wc.Flags&verbs.TMDataValid != 0 && wc.Status == verbs.Success:
			p.b.sync()
			p.placed(wc)
		}
	}
	p.b.quiet(p.t, 0)
}

// placed checks the data of a matched message.
func (p *tmProgram) placed(wc verbs.WC) {
	wantBytes(p.t, p.mem.b[int((wc.ID-1e6)%64)*3000:][:wc.Bytes], p.last, fmt.Sprintf("buffer %d", wc.ID))
}

// TestTMModel runs random programs one after the other on two contexts.
func TestTMModel(t *testing.T) {
	eachTM(t, func(t *testing.T, f fabricUnder) {
		a, b := f.context(t), f.context(t)
		rapid.Check(t, func(r *rapid.T) {
			limit := rapid.IntRange(1, 12).Draw(r, "tags")
			p := &tmProgram{tmPair: newTMPairOn(t, f, a, b, verbs.TMInit{MaxTags: limit}), m: tmModel{limit: limit}, handles: map[uint64]uint32{}, t: t}
			for range rapid.IntRange(1, 60).Draw(r, "steps") {
				p.step(r)
			}
			p.free(t)
		})
	})
}
