package verbs

// postLone executes a WRITE or READ that finds the send queue empty, if that can be done at once and goes well: without a place
// in the queue, since it would leave it again before the call returns. Otherwise it does nothing and returns false: the queue
// does what postLone can't, and finds out what is wrong. The rules are those of checkSend, checkSG and runDirect.
func (q *QP) postLone(wr *SendWR) bool {
	if q.mover == nil || q.state != RTS || q.init.Managed || q.counters != nil || q.sq.head != q.sq.tail || len(wr.SG) != 1 || wr.Flags&^(Signaled|Inline|Solicited|Fence) != 0 {
		return false
	}
	buf := wr.SG[0].Buf
	switch {
	case wr.Opcode == Write && wr.Flags&Inline != 0:
		if len(buf) > q.sq.maxInline {
			return false
		}
	case wr.Opcode == Write && q.sq.maxSGE > 0 && q.local(&wr.SG[0], 0):
	case wr.Opcode == Read && q.sq.maxSGE > 0 && wr.Flags&Inline == 0 && q.attr.MaxRdAtomic > 0 && q.local(&wr.SG[0], LocalWrite):
	default:
		return false
	}
	if len(buf) > q.ctx.limits.MaxMsg || !q.mover.Move(wr.RKey, uint32(neededRight(wr.Opcode)), windowOfQP, wr.RemoteAddr, buf, wr.Opcode == Write) {
		return false
	}
	if wr.Flags&Signaled != 0 || q.init.SignalAll {
		q.init.SendCQ.push(WC{ID: wr.ID, Opcode: opcodes[wr.Opcode].wc, QPN: q.qpn, Bytes: len(buf)}, false)
	}
	return true
}

// local tells whether the region that an entry's key names is good for it.
func (q *QP) local(g *SGE, need Access) bool {
	m := q.ctx.keys.mr(g.LKey)
	return m != nil && m.pd == q.pd && m.access&need == need && m.covers(AddrOf(g.Buf), uint64(len(g.Buf)))
}
