package verbs

import "outboard/verbs/fabric"

// The terms of the three rights. A peer that talks in packets sees the requests itself, and a window of one queue pair
// takes a look at its number: both are not for here.
var (
	loneWrite   = loneTerms(RemoteWrite)
	loneRead    = loneTerms(RemoteRead)
	loneAtomics = loneTerms(RemoteAtomic)
)

func loneTerms(need Access) fabric.Terms {
	return fabric.Terms{Need: uint32(need), BarGrant: grantPackets, BarRegion: windowOfQP}
}

// postLone executes a one-sided request that finds the send queue empty, if that can be done at once and goes well: it is not written
// into the queue, since it would leave it again before the call returns. Otherwise it does nothing and returns false: the queue
// does what postLone can't, and finds out what is wrong. The rules are those of checkSend, checkLocal and runDirect.
func (q *QP) postLone(wr *SendWR) bool {
	if q.mover == nil || q.state != RTS || q.init.Managed || q.counters != nil || q.sq.head != q.sq.tail || q.sq.full() ||
		len(wr.SG) != 1 || wr.Flags&^(Signaled|Inline|Solicited|Fence) != 0 {
		return false
	}
	if wr.Flags&Inline != 0 {
		if wr.Opcode != Write || len(wr.SG[0].Buf) > q.sq.maxInline {
			return false
		}
	} else if q.sq.maxSGE == 0 || !q.local(&wr.SG[0], wr.Opcode) {
		return false
	}
	buf, moved := wr.SG[0].Buf, false
	switch {
	case len(buf) > q.ctx.limits.MaxMsg:
	case wr.Opcode == Write:
		moved = q.mover.Move(wr.RKey, &loneWrite, wr.RemoteAddr, buf, true)
	case q.attr.MaxRdAtomic == 0:
	case wr.Opcode == Read:
		moved = q.mover.Move(wr.RKey, &loneRead, wr.RemoteAddr, buf, false)
	default:
		moved = q.loneAtomic(wr)
	}
	if !moved {
		return false
	}
	q.sq.pass()
	if wr.Flags&Signaled != 0 || q.init.SignalAll {
		q.init.SendCQ.pushSend(q, WC{ID: wr.ID, Opcode: opcodes[wr.Opcode].wc, QPN: q.qpn, Bytes: len(buf)})
	}
	return true
}

// loneAtomic is postLone of an atomic; it returns false for anything else, and for those with masks.
func (q *QP) loneAtomic(wr *SendWR) (moved bool) {
	if len(wr.SG[0].Buf) != 8 || wr.RemoteAddr%8 != 0 {
		return false
	}
	var old uint64
	switch wr.Opcode {
	case FetchAdd:
		old, moved = q.mover.FetchAddAt(wr.RKey, &loneAtomics, wr.RemoteAddr, wr.Add)
	case CompareSwap:
		old, moved = q.mover.CompareSwapAt(wr.RKey, &loneAtomics, wr.RemoteAddr, wr.Compare, wr.Swap)
	}
	if moved {
		q.ctx.scatter64(wr.SG, old)
	}
	return moved
}

// local tells whether the region that an entry's key names is good for an operation.
func (q *QP) local(g *SGE, o Opcode) bool {
	need := Access(0)
	if o != Write { // the data comes here
		need = LocalWrite
	}
	m := q.ctx.keys.mr(g.LKey)
	return m != nil && m.pd == q.pd && m.access&need == need && m.covers(AddrOf(g.Buf), uint64(len(g.Buf)))
}
