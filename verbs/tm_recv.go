package verbs

import (
	"fmt"

	"outboard/verbs/internal/ib"
)

// tmMessage is what a message for a tag-matching shared receive queue turned out to be.
type tmMessage struct {
	kind  tmKind
	tmh   TMH
	rvh   RVH
	entry *tmEntry // of a rendezvous, while its request is looked at
	info  TMInfo   // of a matched one
}

type tmKind uint8

const (
	tmNone tmKind = iota // of a queue pair that matches no tags
	tmEager
	tmRendezvous
	tmUnexpected
	tmNoTag
)

// matchTag finds the receive of a message from its first packet. It returns false if the message was refused, or must come again. Nothing
// has changed then if it must come again.
func (q *QP) matchTag(h *ib.Header, p []byte) bool {
	x, t := &q.rx, q.srq.tm
	m := &x.tm
	var why string
	m.tmh, m.rvh, why = parseTM(p)
	rndv := m.tmh.Opcode == TMRndv
	switch {
	case why != "":
		return q.refuse(RemInvReqErr, why)
	case rndv && (!h.Opcode.Ends() || len(p) > q.ctx.limits.MaxTMRndvHdr):
		return q.refuse(RemInvReqErr, fmt.Sprintf("rendezvous request of %d bytes or more: expected at most %d",
			len(p), q.ctx.limits.MaxTMRndvHdr))
	case rndv && !q.sq.room(t.init.MaxTags):
		return q.notReady()
	}
	var e *tmEntry
	m.kind = tmNoTag
	if rndv || m.tmh.Opcode == TMEager {
		m.kind = tmUnexpected
		e = t.match(m.tmh.Tag)
	}
	if e == nil {
		if !q.takeReceive() {
			return q.notReady()
		}
		if m.kind == tmUnexpected {
			t.unmet++
		}
		return true
	}
	m.info = TMInfo{Tag: m.tmh.Tag, AppCtx: m.tmh.AppCtx, Handle: e.handle}
	x.own.ID, x.own.held = e.wrID, e.held
	x.own.SG = append(x.own.SG[:0], e.sg...)
	x.receive = &x.own
	if m.kind = tmRendezvous; !rndv {
		m.kind = tmEager
		t.recycle(e)
		return true
	}
	e.solicited, m.entry = h.Solicited, e
	return true
}

// tmMatched completes the match of an eager message of which more packets come. It returns false if that failed.
func (q *QP) tmMatched() bool {
	if m := &q.rx.tm; m.kind == tmEager {
		q.tmPush(WC{ID: q.rx.receive.ID, Opcode: WCTMRecv, Flags: TMMatch | q.srq.tm.syncFlag(), TM: m.info}, false)
	}
	return q.state != Err
}

// tmDone puts into the completion of a message what is special about tag matching; split says that there was another before.
func (q *QP) tmDone(wc *WC, split bool) {
	m := &q.rx.tm
	if m.kind == tmNone {
		return
	}
	wc.Opcode = WCTMRecv
	wc.Flags |= q.srq.tm.syncFlag()
	switch {
	case m.kind == tmNoTag:
		wc.Opcode = WCTMNoTag
	case m.kind == tmEager && split:
		wc.Flags |= TMDataValid
		wc.TM.Handle = m.info.Handle
	case m.kind == tmEager:
		wc.Flags |= TMMatch | TMDataValid
		wc.TM = m.info
	}
}

// tmPush adds a completion to the queue of the shared receive queue.
func (q *QP) tmPush(wc WC, solicited bool) {
	wc.QPN, wc.SrcQP = q.qpn, q.attr.DestQPN
	q.recvCQ().push(wc, solicited)
}

// rendezvous serves a matched request: with an RDMA READ, or, if its buffer is too small, by leaving it to software.
func (q *QP) rendezvous(h *ib.Header, p []byte) bool {
	x := &q.rx
	m, t := &x.tm, q.srq.tm
	e := m.entry
	m.entry = nil
	wc := WC{ID: e.wrID, Opcode: WCTMRecv, Flags: TMMatch | t.syncFlag(), TM: m.info}
	if why := q.takeExtra(h, &wc); why != "" {
		return q.badInvalidate(why)
	}
	q.ctx.hw.RDMARecvs++
	n, room := int(m.rvh.Len), lenSG(e.sg)
	switch {
	case n > room && room < TMHSize+RVHSize:
		t.recycle(e)
		return q.tooLong(fmt.Sprintf("rendezvous of %d bytes: the buffer has %d, and the headers need %d", n, room, TMHSize+RVHSize))
	case n > room:
		t.recycle(e)
		scatter(x.receive.SG, 0, p[:min(room, len(p))])
		wc.Status, wc.Bytes = TMRndvIncomplete, min(room, len(p))
		wc.Detail = fmt.Sprintf("rendezvous of %d bytes: the buffer has %d", n, room)
		wc.Flags |= TMDataValid
		q.completeReceive(wc, h.Solicited)
		return q.state != Err
	}
	if q.tmPush(wc, h.Solicited); q.state == Err {
		return false // the completion was lost, and the receive flushed
	}
	x.receive = nil // the READ has it now
	clear(x.own.SG)
	e.sg = cutSG(e.sg, n)
	fin := TMH{Opcode: TMFin, AppCtx: m.tmh.AppCtx, Tag: m.tmh.Tag}
	fin.AppendTo(e.fin[:0])
	e.handle = m.info.Handle
	q.postOwn(wqe{wr: SendWR{Opcode: Read, SG: e.sg, RemoteAddr: m.rvh.Addr, RKey: m.rvh.RKey}, held: x.own.held, length: n, tm: e})
	return true
}

// cutSG shortens a list to n bytes, keeping the number of entries, whose regions are held.
func cutSG(sg []SGE, n int) []SGE {
	for i := range sg {
		k := min(n, len(sg[i].Buf))
		sg[i].Buf = sg[i].Buf[:k]
		n -= k
	}
	return sg
}

// tmSent goes on with a rendezvous after one of its requests, which has left the send queue.
func (q *QP) tmSent(w *wqe, st Status, detail string) {
	e, n := w.tm, w.length
	if w.wr.Opcode != Read {
		q.srq.tm.recycle(e)
		return
	}
	if q.counters != nil {
		q.counters.count(CountRecv, st)
	}
	wc := WC{ID: e.wrID, Status: st, Opcode: WCTMRecv, Flags: TMDataValid | q.srq.tm.syncFlag(),
		Bytes: n, TM: TMInfo{Handle: e.handle}, Detail: detail}
	q.tmPush(wc, e.solicited)
	if st != Success || q.state == Err {
		q.srq.tm.recycle(e)
		return
	}
	e.finSG[0] = SGE{Buf: e.fin[:]}
	q.postOwn(wqe{wr: SendWR{Opcode: Send, Flags: Inline, SG: e.finSG[:]}, length: TMHSize, tm: e})
}

// ownSends is the number of requests of the NIC's own for which a send queue has room at first.
const ownSends = 16

// sendCap are the sizes of the send queue: it is the NIC's own if tags are matched.
func (q *QP) sendCap() QPCap {
	if q.srq.matchesTags() {
		return QPCap{SendWR: ownSends}
	}
	return q.init.Cap
}

// room tells whether there is room for a request, and makes some if there may be up to limit of them.
func (s *sendQueue) room(limit int) bool {
	n := len(s.ring)
	switch {
	case s.head-s.tail < uint64(n):
		return true
	case n >= limit:
		return false
	}
	ring := make([]wqe, min(2*n, limit))
	for i := s.tail; i != s.head; i++ {
		ring[i%uint64(len(ring))] = *s.at(i)
	}
	s.ring = ring
	return true
}

// postOwn posts a request of the NIC's own; there is room.
func (q *QP) postOwn(w wqe) {
	s := &q.sq
	*s.at(s.head) = w
	s.head++
	q.wake()
}
