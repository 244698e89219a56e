package verbs

import (
	"encoding/binary"
	"errors"
	"time"

	"outboard/verbs/fabric"
)

// Opcodes of packets between queue pairs.
const (
	opSend       = iota + 1 // payload of a SEND
	opWrite                 // payload of an RDMA WRITE; the first packet begins with the total length
	opWriteImm              // end of an RDMA WRITE with immediate whose data is in place; payload: length
	opReadReq               // payload: length
	opReadResp              //
	opAtomicReq             // Aux: opcode; payload: two operands
	opAtomicResp            // payload: value before
	opNAK                   // Aux: status; the responder is in ERR
	opRNR                   // Aux: timer code; no receive is posted
	opFault                 // Aux: status; the requester's direct access failed and both are in ERR
)

// Flags of packets; fabric.AckNow is the seventh bit.
const (
	flagFirst = 1 << iota
	flagLast
	flagImm
	flagSolicited
)

// wqe is a posted send request.
type wqe struct {
	wr      SendWR // SG points into sendQueue.sge, or to one inline entry
	length  int
	sent    int    // bytes on the wire
	last    uint64 // Conn.Sent after its last packet; done when acknowledged
	got     int    // bytes of a response
	packets bool   // this request goes by packets, not by direct access
	reply   bool   // waits for a response
	replied bool
}

// sendQueue is a ring of requests: [tail,next) are on the wire, [next,head) wait.
type sendQueue struct {
	ring             []wqe
	sge              []SGE
	inline           []byte
	maxSGE           int
	maxInline        int
	head, next, tail uint64
	reads            int // responses awaited
	deadline         time.Time
	why              Status // of the deadline
}

func (s *sendQueue) init(c QPCap) {
	*s = sendQueue{ring: make([]wqe, c.SendWR), sge: make([]SGE, c.SendWR*max(c.SendSGE, 1)), inline: make([]byte, c.SendWR*c.Inline),
		maxSGE: c.SendSGE, maxInline: c.Inline}
}

func (s *sendQueue) at(i uint64) *wqe { return &s.ring[i%uint64(len(s.ring))] }

// PostSend posts requests to the send queue, in order. On an error the
// requests before Error.Index are posted and the rest are not.
//
// ErrState before RTS; in ERR requests are accepted and flushed.
// ErrQueueFull when the queue is full: an entry is free again when
// its request, or a later one, has completed.
func (q *QP) PostSend(wrs ...SendWR) error {
	q.ctx.mu.Lock()
	defer q.ctx.mu.Unlock()
	for i := range wrs {
		if err := q.postSend(&wrs[i]); err != nil {
			err.Index = i
			return err
		}
	}
	return nil
}

func (q *QP) postSend(wr *SendWR) *Error {
	n, err := q.checkSend(wr)
	if err != nil {
		return err
	}
	s := &q.sq
	i := int(s.head % uint64(len(s.ring)))
	w := &s.ring[i]
	*w = wqe{wr: *wr, length: n}
	w.wr.SG = s.sge[i*max(s.maxSGE, 1):][:0]
	if wr.Flags&Inline != 0 {
		buf := s.inline[i*s.maxInline:][:0]
		for _, g := range wr.SG {
			buf = append(buf, g.Buf...)
		}
		w.wr.SG = append(w.wr.SG, SGE{Buf: buf})
	} else {
		w.wr.SG = append(w.wr.SG, wr.SG...)
		q.ctx.hold(w.wr.SG, +1)
	}
	s.head++
	if q.state == Err {
		q.flush(WRFlushErr, "queue pair is in ERR")
		return nil
	}
	if q.progress() {
		q.wake()
	}
	return nil
}

// checkSend checks what a post can check at once and returns the length.
func (q *QP) checkSend(wr *SendWR) (int, *Error) {
	const op = "post_send"
	s := &q.sq
	switch {
	case q.dead:
		return 0, opErr(op, q.name(), ErrDestroyed, "destroyed")
	case q.state != RTS && q.state != Err:
		return 0, opErr(op, q.name(), ErrState, "state %v: expected RTS", q.state)
	case wr.Opcode >= numOpcodes:
		return 0, opErr(op, q.name(), ErrInvalid, "opcode %d", wr.Opcode)
	case wr.Flags&^(Signaled|Inline|Solicited|Fence) != 0:
		return 0, opErr(op, q.name(), ErrInvalid, "unknown flags %#x", uint8(wr.Flags))
	case s.head-s.tail == uint64(len(s.ring)):
		return 0, opErr(op, q.name(), ErrQueueFull, "%d requests outstanding", len(s.ring))
	case len(wr.SG) > s.maxSGE && wr.Flags&Inline == 0:
		return 0, opErr(op, q.name(), ErrInvalid, "%d scatter/gather entries: expected at most %d", len(wr.SG), s.maxSGE)
	}
	n := 0
	for _, g := range wr.SG {
		n += len(g.Buf)
	}
	switch {
	case n > q.ctx.limits.MaxMsg:
		return 0, opErr(op, q.name(), ErrLimit, "message of %d bytes: expected at most %d", n, q.ctx.limits.MaxMsg)
	case wr.Flags&Inline != 0 && wr.Opcode >= Read:
		return 0, opErr(op, q.name(), ErrInvalid, "%v cannot be inline", wr.Opcode)
	case wr.Flags&Inline != 0 && n > s.maxInline:
		return 0, opErr(op, q.name(), ErrInvalid, "%d bytes inline: expected at most %d", n, s.maxInline)
	case wr.Opcode >= Read && q.state == RTS && q.attr.MaxRdAtomic == 0:
		return 0, opErr(op, q.name(), ErrInvalid, "%v with MAX_QP_RD_ATOMIC 0", wr.Opcode)
	case wr.Opcode >= FetchAdd && n != 8:
		return 0, opErr(op, q.name(), ErrInvalid, "%v into %d bytes: expected 8", wr.Opcode, n)
	}
	return n, nil
}

// hold marks the regions of a list as used by work in flight.
func (c *Context) hold(sg []SGE, d int) {
	for _, g := range sg {
		if m := c.mrs.get(g.LKey); m != nil {
			m.users += d
		}
	}
}

// wake puts the queue pair on the list that poll runs.
func (q *QP) wake() {
	if !q.active {
		q.active = true
		q.ctx.active = append(q.ctx.active, q)
	}
}

// progress runs both halves of the queue pair as far as they go and reports
// whether work is left.
func (q *QP) progress() bool {
	q.respond()
	s := &q.sq
	if q.state == RTS {
		for s.next != s.head && q.transmit(s.at(s.next)) {
			s.next++
		}
	}
	if s.tail != s.head {
		q.retire()
		q.checkDeadline()
	}
	return (s.tail != s.head && q.state == RTS) || q.rx.pending()
}

// transmit puts a request on the wire, or executes it directly, and reports whether it is all done
// with: the caller goes on to the next. A request that fails takes the queue pair to ERR.
func (q *QP) transmit(w *wqe) bool {
	if w.sent == 0 && !w.reply {
		if w.wr.Flags&Fence != 0 && q.sq.reads > 0 {
			return false
		}
		if st, why := q.checkLocal(w); st != Success {
			if q.retire(); q.sq.tail != q.sq.next {
				return false // earlier requests complete first
			}
			q.fail(st, why)
			return false
		}
	}
	if w.wr.Opcode >= Write && w.sent < w.length && q.direct != nil && !w.packets {
		if q.sq.reads > 0 || !q.init.relaxed && q.conn.Acked() != q.conn.Sent() {
			return false // the peer executes in order: what is on the wire comes first
		}
		if !q.runDirect(w) {
			return false
		}
		if !w.packets && w.wr.Opcode != WriteImm {
			return true
		}
	}
	switch w.wr.Opcode {
	case Send, SendImm:
		return q.sendSegments(w, opSend)
	case Write:
		return w.length == 0 || q.sendSegments(w, opWrite)
	case WriteImm:
		if w.packets && w.sent < w.length && !q.sendSegments(w, opWrite) {
			return false
		}
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], uint64(w.length))
		return q.sendLast(w, fabric.Header{Op: opWriteImm, Flags: w.sendFlags() | flagLast | fabric.AckNow, Imm: w.wr.Imm}, n[:])
	case Read:
		if w.length == 0 {
			return true
		}
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], uint64(w.length))
		return q.sendRequest(w, fabric.Header{Op: opReadReq, Flags: fabric.AckNow, Addr: w.wr.RemoteAddr, Key: w.wr.RKey}, n[:])
	default:
		var n [16]byte
		a, b := w.wr.Add, uint64(0)
		if w.wr.Opcode == CompareSwap {
			a, b = w.wr.Compare, w.wr.Swap
		}
		binary.LittleEndian.PutUint64(n[:], a)
		binary.LittleEndian.PutUint64(n[8:], b)
		return q.sendRequest(w, fabric.Header{Op: opAtomicReq, Flags: fabric.AckNow, Aux: uint16(w.wr.Opcode), Addr: w.wr.RemoteAddr, Key: w.wr.RKey}, n[:])
	}
}

func (w *wqe) sendFlags() uint8 {
	var f uint8
	if w.wr.Opcode == SendImm || w.wr.Opcode == WriteImm {
		f |= flagImm
	}
	if w.wr.Flags&Solicited != 0 {
		f |= flagSolicited
	}
	return f
}

// checkLocal checks the scatter/gather list against the regions.
func (q *QP) checkLocal(w *wqe) (Status, string) {
	if w.wr.Flags&Inline != 0 {
		return Success, ""
	}
	need := Access(0)
	if w.wr.Opcode >= Read {
		need = LocalWrite
	}
	return q.ctx.checkSG(w.wr.SG, q.pd, need)
}

// sendSegments sends the data of w in packets of the path MTU, from w.sent on. An empty message is one packet.
func (q *QP) sendSegments(w *wqe, op uint8) bool {
	for {
		h := fabric.Header{Op: op, Imm: w.wr.Imm}
		var reth [8]byte
		var a []byte
		room := q.attr.PathMTU
		if w.sent == 0 {
			h.Flags |= flagFirst
			if op == opWrite {
				binary.LittleEndian.PutUint64(reth[:], uint64(w.length))
				a, room = reth[:], room-len(reth)
			}
		}
		n := min(room, w.length-w.sent)
		if op == opWrite {
			h.Addr, h.Key = w.wr.RemoteAddr+uint64(w.sent), w.wr.RKey
		}
		if w.sent+n == w.length {
			h.Flags |= flagLast | w.sendFlags() | fabric.AckNow
		}
		if !q.conn.Send(&h, a, q.ctx.gather(w.wr.SG, w.sent, n)) {
			return false
		}
		w.sent += n
		if w.sent == w.length {
			w.last = q.conn.Sent()
			return true
		}
	}
}

func (q *QP) sendLast(w *wqe, h fabric.Header, payload []byte) bool {
	if !q.conn.Send(&h, payload, nil) {
		return false
	}
	w.last = q.conn.Sent()
	return true
}

// sendRequest sends a request that has a response; as many as MaxRdAtomic may be in flight.
func (q *QP) sendRequest(w *wqe, h fabric.Header, payload []byte) bool {
	if q.sq.reads >= int(q.attr.MaxRdAtomic) || !q.sendLast(w, h, payload) {
		return false
	}
	w.reply = true
	q.sq.reads++
	return true
}

// gather returns n bytes of the list from byte off on: in place if one entry holds them.
func (c *Context) gather(sg []SGE, off, n int) []byte {
	for len(sg) > 0 && off >= len(sg[0].Buf) && n > 0 {
		off -= len(sg[0].Buf)
		sg = sg[1:]
	}
	if n == 0 {
		return nil
	}
	if off+n <= len(sg[0].Buf) {
		return sg[0].Buf[off : off+n]
	}
	out := c.stage[:0]
	for len(out) < n {
		b := sg[0].Buf[off:]
		out = append(out, b[:min(len(b), n-len(out))]...)
		sg, off = sg[1:], 0
	}
	return out
}

// runDirect executes w by reaching into the peer's memory. It returns false if w cannot go on
// now, or failed. If the memory must be reached by packets it sets w.packets.
func (q *QP) runDirect(w *wqe) bool {
	g := q.conn.PeerGrant()
	if !g.Ready {
		return false
	}
	need := RemoteWrite
	switch w.wr.Opcode {
	case Read:
		need = RemoteRead
	case FetchAdd, CompareSwap:
		need = RemoteAtomic
		if w.wr.RemoteAddr%8 != 0 {
			return q.failDirect(RemInvReqErr, "atomic on an address that is not a multiple of 8")
		}
	}
	if Access(g.Access)&need == 0 {
		return q.failDirect(accessStatus(w.wr.Opcode), "the peer's queue pair does not allow "+w.wr.Opcode.String())
	}
	r, ok := q.direct.Enter(w.wr.RKey)
	if ok {
		if st, why := checkRegion(&r, g.PD, need, w.wr.RemoteAddr, uint64(w.length)); st != Success {
			q.direct.Leave()
			return q.failDirect(st, why)
		}
		err := q.moveDirect(w, &r)
		q.direct.Leave()
		switch {
		case err == nil:
			w.sent = w.length
			return true
		case errors.Is(err, fabric.ErrRefused):
			w.packets = true
			return true
		case errors.Is(err, fabric.ErrPeerDied), errors.Is(err, fabric.ErrPeerClosed):
			q.fail(RetryExcErr, err.Error())
			return false
		default:
			return q.failDirect(RemOpErr, err.Error())
		}
	}
	return q.failDirect(RemAccessErr, "no region has this rkey")
}

// accessStatus: a queue pair without the right is an invalid request for an atomic or read it never
// enabled (IBTA 9.7.4.1.5), like rxe.
func accessStatus(o Opcode) Status {
	if o >= FetchAdd {
		return RemInvReqErr
	}
	return RemAccessErr
}

// failDirect reports a failed access to both sides.
func (q *QP) failDirect(st Status, why string) bool {
	h := fabric.Header{Op: opFault, Flags: fabric.AckNow, Aux: uint16(st)}
	q.conn.Send(&h, nil, nil) // best effort: without room the peer only learns later
	q.fail(st, why)
	return false
}

func checkRegion(r *fabric.Region, pd uint32, need Access, addr, n uint64) (Status, string) {
	switch {
	case r.PD != pd:
		return RemAccessErr, "the region is of another protection domain than the peer's queue pair"
	case Access(r.Access)&need != need:
		return RemAccessErr, "the region does not allow the access"
	case addr < r.Base || n > r.Len || addr-r.Base > r.Len-n:
		return RemAccessErr, "address range outside the region"
	}
	return Success, ""
}

func (q *QP) moveDirect(w *wqe, r *fabric.Region) error {
	addr := w.wr.RemoteAddr
	switch w.wr.Opcode {
	case FetchAdd:
		old, err := q.direct.FetchAdd(r, addr, w.wr.Add)
		q.ctx.scatter64(w.wr.SG, old, err)
		return err
	case CompareSwap:
		old, err := q.direct.CompareSwap(r, addr, w.wr.Compare, w.wr.Swap)
		q.ctx.scatter64(w.wr.SG, old, err)
		return err
	}
	for _, g := range w.wr.SG {
		var err error
		if w.wr.Opcode == Read {
			err = q.direct.ReadAt(r, g.Buf, addr)
		} else {
			err = q.direct.WriteAt(r, g.Buf, addr)
		}
		if err != nil {
			return err
		}
		addr += uint64(len(g.Buf))
	}
	return nil
}

func (c *Context) scatter64(sg []SGE, v uint64, err error) {
	if err == nil {
		var b [8]byte
		binary.NativeEndian.PutUint64(b[:], v)
		scatter(sg, 0, b[:])
	}
}

// scatter writes p into the list from byte off on; the caller has checked that it fits.
func scatter(sg []SGE, off int, p []byte) {
	for _, g := range sg {
		if off >= len(g.Buf) {
			off -= len(g.Buf)
			continue
		}
		n := copy(g.Buf[off:], p)
		p, off = p[n:], 0
		if len(p) == 0 {
			return
		}
	}
}

// retire completes requests, oldest first, as far as they are done.
func (q *QP) retire() {
	s := &q.sq
	for s.tail != s.next {
		w := s.at(s.tail)
		if w.reply && !w.replied || !w.reply && w.last > q.conn.Acked() {
			return
		}
		s.deadline = time.Time{}
		q.complete(w, Success, "")
	}
}

// complete ends the oldest request.
func (q *QP) complete(w *wqe, st Status, detail string) {
	q.sq.tail++
	if w.wr.Flags&Inline == 0 {
		q.ctx.hold(w.wr.SG, -1)
	}
	if st != Success || w.wr.Flags&Signaled != 0 || q.init.SignalAll {
		q.init.SendCQ.push(WC{ID: w.wr.ID, Status: st, Opcode: wcOpcodes[w.wr.Opcode], QPN: q.QPN(), Bytes: w.length, Detail: detail}, false)
	}
	clear(w.wr.SG)
}

// flush completes all work: the oldest send with st, everything else as flushed.
func (q *QP) flush(st Status, detail string) {
	s := &q.sq
	q.retire()
	for s.tail != s.head {
		q.complete(s.at(s.tail), st, detail)
		st, detail = WRFlushErr, "flushed: "+detail
	}
	s.next = s.head
	s.reads = 0
	for q.rq.tail != q.rq.head {
		q.rq.complete(q, WC{Status: WRFlushErr, Detail: detail}, false)
	}
	q.rx.drop()
}

// release forgets all work without completions.
func (q *QP) release() {
	s := &q.sq
	for ; s.tail != s.head; s.tail++ {
		if w := s.at(s.tail); w.wr.Flags&Inline == 0 {
			q.ctx.hold(w.wr.SG, -1)
		}
	}
	s.next = s.head
	for ; q.rq.tail != q.rq.head; q.rq.tail++ {
		q.ctx.hold(q.rq.at(q.rq.tail).SG, -1)
	}
	q.rx.drop()
}

// checkDeadline gives up on a peer that does not answer: one whose queue pair is not ready, or that
// has no receive posted.
func (q *QP) checkDeadline() {
	s := &q.sq
	if q.state != RTS || s.tail == s.head {
		return
	}
	if s.deadline.IsZero() {
		if d := q.ackTimeout(); d > 0 && !q.conn.PeerGrant().Ready {
			s.deadline, s.why = q.ctx.clock().Add(d), RetryExcErr
		}
		return
	}
	if s.why == RetryExcErr && q.conn.PeerGrant().Ready {
		s.deadline = time.Time{}
		return
	}
	if q.ctx.clock().After(s.deadline) {
		q.fail(s.why, "gave up after the last retry")
	}
}
