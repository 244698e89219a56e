package verbs

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"
	"unsafe"

	"outboard/verbs/fabric"
)

// recvQueue is the ring of posted receives.
type recvQueue struct {
	ring       []RecvWR
	sge        []SGE
	maxSGE     int
	head, tail uint64
}

func (r *recvQueue) init(c QPCap) {
	*r = recvQueue{ring: make([]RecvWR, c.RecvWR), sge: make([]SGE, c.RecvWR*max(c.RecvSGE, 1)), maxSGE: c.RecvSGE}
}

func (r *recvQueue) at(i uint64) *RecvWR { return &r.ring[i%uint64(len(r.ring))] }

// complete ends the oldest posted receive.
func (r *recvQueue) complete(q *QP, wc WC, solicited bool) {
	w := r.at(r.tail)
	r.tail++
	q.ctx.hold(w.SG, -1)
	wc.ID, wc.QPN, wc.SrcQP = w.ID, q.QPN(), q.attr.DestQPN
	q.init.RecvCQ.push(wc, solicited)
	clear(w.SG)
}

// PostRecv posts buffers for arriving SENDs and immediates, in order. On an
// error the requests before Error.Index are posted. Not in RESET; in ERR they are flushed.
func (q *QP) PostRecv(wrs ...RecvWR) error {
	q.ctx.mu.Lock()
	defer q.ctx.mu.Unlock()
	for i := range wrs {
		if err := q.postRecv(&wrs[i]); err != nil {
			err.Index = i
			return err
		}
	}
	return nil
}

func (q *QP) postRecv(wr *RecvWR) *Error {
	const op = "post_recv"
	r := &q.rq
	switch {
	case q.dead:
		return opErr(op, q.name(), ErrDestroyed, "destroyed")
	case q.state == Reset:
		return opErr(op, q.name(), ErrState, "state RESET: expected INIT or later")
	case r.head-r.tail == uint64(len(r.ring)):
		return opErr(op, q.name(), ErrQueueFull, "%d receives outstanding", len(r.ring))
	case len(wr.SG) > r.maxSGE:
		return opErr(op, q.name(), ErrInvalid, "%d scatter/gather entries: expected at most %d", len(wr.SG), r.maxSGE)
	}
	i := int(r.head % uint64(len(r.ring)))
	w := &r.ring[i]
	w.ID = wr.ID
	w.SG = append(r.sge[i*max(r.maxSGE, 1):][:0], wr.SG...)
	q.ctx.hold(w.SG, +1)
	r.head++
	if q.state == Err {
		q.flush(WRFlushErr, "queue pair is in ERR")
	}
	return nil
}

// checkSG checks a list against the regions that its keys name.
func (c *Context) checkSG(sg []SGE, pd *PD, need Access) (Status, string) {
	for _, g := range sg {
		if len(g.Buf) == 0 || g.LKey == reservedKey {
			continue
		}
		m := c.mrs.get(g.LKey)
		switch {
		case m == nil:
			return LocProtErr, "no region has this lkey"
		case m.pd != pd:
			return LocProtErr, "the region is of another protection domain than the queue pair"
		case m.access&need != need:
			return LocProtErr, "the region does not allow local write"
		case !m.covers(AddrOf(g.Buf), uint64(len(g.Buf))):
			return LocProtErr, "buffer outside the region of its lkey"
		}
	}
	return Success, ""
}

// A Sink takes the SEND messages of a queue pair on the NIC, in place of posted receives.
// Its methods are called under the NIC's lock, by whichever goroutine runs the NIC;
// they must not block and must not call methods that lock.
type Sink interface {
	// Packet is the next packet of the connection, in order. false leaves it on the wire, to
	// be presented again; the connection waits meanwhile.
	Packet(p *Packet) bool
	// Down says that the queue pair went to ERR.
	Down(tag int32, err error)
}

// A Packet is a piece of an arriving SEND message. The payload lies in the wire: it is valid until
// Sink.Packet returns, and is the peer's data: check it before use.
type Packet struct {
	Tag         int32 // QPInit.Tag of the queue pair
	First, Last bool
	HasImm      bool
	Imm         uint32
	Offset      int // of this payload in the message
	Payload     []byte
}

// inbound is the responder's state.
type inbound struct {
	owner  *QP
	offset int  // in the SEND being received
	inSend bool // between a first and a last packet
	rnr    bool // the peer was told that no receive is posted

	// the RDMA WRITE being received
	key       uint32
	addr      uint64
	remaining uint64

	replies []reply // reads and atomics to answer
	nak     Status
	naked   bool // the NAK is on the wire
}

type reply struct {
	key       uint32
	addr      uint64
	remaining uint64
	atomic    bool
	value     uint64
}

func (x *inbound) pending() bool { return len(x.replies) > 0 || x.nak != Success && !x.naked }

func (x *inbound) drop() { x.replies = x.replies[:0] }

// arrive takes one packet. It reports false if the packet must wait.
func (q *QP) arrive(h *fabric.Header, p []byte) bool {
	switch q.state {
	case RTR, RTS:
	default:
		// Before RTR the wire keeps the packet; in ERR it is never
		// accepted, because acceptance is the acknowledgement.
		return false
	}
	if h.Op == opSend {
		if q.init.Sink != nil {
			return q.sinkPacket(h, p)
		}
		return q.recvSend(h, p)
	}
	switch h.Op {
	case opWrite:
		return q.recvWrite(h, p)
	case opWriteImm:
		return q.recvWriteImm(h, p)
	case opReadReq:
		return q.recvReadReq(h, p)
	case opAtomicReq:
		return q.recvAtomic(h, p)
	case opReadResp, opAtomicResp:
		q.recvResponse(h, p)
	case opNAK, opFault:
		q.recvNAK(h)
	case opRNR:
		q.recvRNR(uint8(h.Aux))
	default:
		return q.reject(RemInvReqErr, "unknown opcode")
	}
	return true
}

func (q *QP) sinkPacket(h *fabric.Header, p []byte) bool {
	x := &q.rx
	pk := &q.ctx.packet
	first := h.Flags&flagFirst != 0
	if first == x.inSend {
		return q.reject(RemInvReqErr, "packet out of sequence in a SEND")
	}
	*pk = Packet{Tag: q.init.Tag, First: first, Last: h.Flags&flagLast != 0, HasImm: h.Flags&flagImm != 0, Imm: h.Imm, Offset: x.offset, Payload: p}
	if !q.init.Sink.Packet(pk) {
		return false
	}
	if h.Flags&flagLast != 0 {
		x.inSend, x.offset = false, 0
	} else {
		x.inSend, x.offset = true, x.offset+len(p)
	}
	return true
}

func (q *QP) recvSend(h *fabric.Header, p []byte) bool {
	x := &q.rx
	first := h.Flags&flagFirst != 0
	if first == x.inSend {
		return q.reject(RemInvReqErr, "packet out of sequence in a SEND")
	}
	if first {
		if q.rq.tail == q.rq.head {
			return q.notReady()
		}
		x.offset, x.rnr = 0, false
		if st, why := q.ctx.checkSG(q.rq.at(q.rq.tail).SG, q.pd, LocalWrite); st != Success {
			q.rq.complete(q, WC{Status: st, Detail: why}, true)
			return q.reject(RemOpErr, why)
		}
	}
	w := q.rq.at(q.rq.tail)
	room := -x.offset
	for _, g := range w.SG {
		room += len(g.Buf)
	}
	if len(p) > room {
		q.rq.complete(q, WC{Status: LocLenErr, Detail: "message longer than the receive's buffers"}, true)
		return q.reject(RemInvReqErr, "message longer than the receive's buffers")
	}
	scatter(w.SG, x.offset, p)
	x.offset += len(p)
	x.inSend = h.Flags&flagLast == 0
	if !x.inSend {
		q.rq.complete(q, WC{Opcode: WCRecv, Bytes: x.offset, Imm: h.Imm, HasImm: h.Flags&flagImm != 0}, h.Flags&flagSolicited != 0)
	}
	return true
}

// notReady tells the peer once that no receive is posted and keeps the packet on the wire.
func (q *QP) notReady() bool {
	if !q.rx.rnr {
		h := fabric.Header{Op: opRNR, Flags: fabric.AckNow, Aux: uint16(q.attr.MinRNRTimer)}
		q.rx.rnr = q.conn.Send(&h, nil, nil)
	}
	return false
}

func (q *QP) recvRNR(code uint8) {
	s := &q.sq
	if q.attr.RNRRetry == 7 || s.tail == s.head {
		return
	}
	s.deadline = q.ctx.clock().Add(rnrTimer(code) * time.Duration(q.attr.RNRRetry+1))
	s.why = RNRRetryExcErr
	q.wake()
}

// target finds the region of a remote access and the bytes that it names.
func (q *QP) target(key uint32, addr, n uint64, need Access) ([]byte, Status, string) {
	if q.attr.Access&need == 0 {
		st := RemAccessErr
		if need == RemoteAtomic {
			st = RemInvReqErr
		}
		return nil, st, "the queue pair does not allow the access"
	}
	m := q.ctx.mrs.get(key)
	if m == nil {
		return nil, RemAccessErr, "no region has this rkey"
	}
	r := fabric.Region{PD: m.pd.num, Access: uint32(m.access), Base: m.base, Len: uint64(len(m.buf))}
	if st, why := checkRegion(&r, q.pd.num, need, addr, n); st != Success {
		return nil, st, why
	}
	return m.buf[addr-m.base:][:n], Success, ""
}

func (q *QP) recvWrite(h *fabric.Header, p []byte) bool {
	x := &q.rx
	if len(x.replies) > 0 {
		return false // earlier reads see the memory as it was
	}
	if h.Flags&flagFirst != 0 {
		if len(p) < 8 || x.remaining != 0 {
			return q.reject(RemInvReqErr, "malformed RDMA WRITE")
		}
		x.key, x.addr, x.remaining = h.Key, h.Addr, binary.LittleEndian.Uint64(p)
		p = p[8:]
		if _, st, why := q.target(x.key, x.addr, x.remaining, RemoteWrite); st != Success {
			return q.reject(st, why)
		}
	}
	if uint64(len(p)) > x.remaining || h.Flags&flagLast != 0 && uint64(len(p)) != x.remaining {
		return q.reject(RemInvReqErr, "RDMA WRITE of another length than announced")
	}
	dst, st, why := q.target(x.key, x.addr, uint64(len(p)), RemoteWrite)
	if st != Success {
		return q.reject(st, why)
	}
	copy(dst, p)
	x.addr += uint64(len(p))
	x.remaining -= uint64(len(p))
	return true
}

func (q *QP) recvWriteImm(h *fabric.Header, p []byte) bool {
	if len(p) != 8 {
		return q.reject(RemInvReqErr, "malformed RDMA WRITE with immediate")
	}
	if q.rq.tail == q.rq.head {
		return q.notReady()
	}
	q.rx.rnr = false
	n := binary.LittleEndian.Uint64(p)
	q.rq.complete(q, WC{Opcode: WCRecvWriteImm, Bytes: int(n), Imm: h.Imm, HasImm: true}, h.Flags&flagSolicited != 0)
	return true
}

func (q *QP) recvReadReq(h *fabric.Header, p []byte) bool {
	x := &q.rx
	if len(p) != 8 || len(x.replies) >= int(q.attr.MaxDestRdAtomic) {
		return q.reject(RemInvReqErr, "malformed RDMA READ, or more than MAX_DEST_RD_ATOMIC")
	}
	n := binary.LittleEndian.Uint64(p)
	if _, st, why := q.target(h.Key, h.Addr, n, RemoteRead); st != Success {
		return q.reject(st, why)
	}
	x.replies = append(x.replies, reply{key: h.Key, addr: h.Addr, remaining: n})
	q.wake()
	return true
}

func (q *QP) recvAtomic(h *fabric.Header, p []byte) bool {
	x := &q.rx
	switch {
	case len(x.replies) > 0:
		return false
	case len(p) != 16 || h.Addr%8 != 0 || q.attr.MaxDestRdAtomic == 0:
		return q.reject(RemInvReqErr, "malformed or misaligned atomic")
	}
	b, st, why := q.target(h.Key, h.Addr, 8, RemoteAtomic)
	if st != Success {
		return q.reject(st, why)
	}
	v := (*uint64)(unsafe.Pointer(unsafe.SliceData(b)))
	a1, a2 := binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:])
	var old uint64
	switch Opcode(h.Aux) {
	case FetchAdd:
		old = atomic.AddUint64(v, a1) - a1
	case CompareSwap:
		for old = atomic.LoadUint64(v); old == a1 && !atomic.CompareAndSwapUint64(v, a1, a2); {
			old = atomic.LoadUint64(v)
		}
	default:
		return q.reject(RemInvReqErr, "unknown atomic")
	}
	x.replies = append(x.replies, reply{atomic: true, value: old})
	q.wake()
	return true
}

// respond sends what is due to the peer: responses in order, then a NAK.
func (q *QP) respond() {
	x := &q.rx
	for len(x.replies) > 0 {
		r := &x.replies[0]
		if !q.sendReply(r) {
			break
		}
		if r.remaining == 0 {
			x.replies = append(x.replies[:0], x.replies[1:]...)
		}
	}
	if x.nak != Success && !x.naked {
		h := fabric.Header{Op: opNAK, Flags: fabric.AckNow, Aux: uint16(x.nak)}
		x.naked = q.conn.Send(&h, nil, nil)
	}
}

func (q *QP) sendReply(r *reply) bool {
	if r.atomic {
		var v [8]byte
		binary.LittleEndian.PutUint64(v[:], r.value)
		return q.conn.Send(&fabric.Header{Op: opAtomicResp, Flags: flagLast | fabric.AckNow}, v[:], nil)
	}
	n := min(uint64(q.attr.PathMTU), r.remaining)
	b, st, why := q.target(r.key, r.addr, n, RemoteRead)
	if st != Success { // deregistered meanwhile
		q.reject(st, why)
		return false
	}
	h := fabric.Header{Op: opReadResp}
	if n == r.remaining {
		h.Flags = flagLast | fabric.AckNow
	}
	if !q.conn.Send(&h, b, nil) {
		return false
	}
	r.addr += n
	r.remaining -= n
	return true
}

// recvResponse takes data for the oldest read or atomic that waits for it.
func (q *QP) recvResponse(h *fabric.Header, p []byte) {
	s := &q.sq
	for i := s.tail; i != s.next; i++ {
		w := s.at(i)
		if !w.reply || w.replied {
			continue
		}
		last := h.Flags&flagLast != 0
		if len(p) > w.length-w.got || last && w.got+len(p) != w.length || (h.Op == opAtomicResp) != (w.wr.Opcode >= FetchAdd) {
			q.fail(BadRespErr, "response of another length than asked for")
			return
		}
		scatter(w.wr.SG, w.got, p)
		w.got += len(p)
		if last {
			w.replied = true
			s.reads--
			q.wake()
		}
		return
	}
	q.fail(BadRespErr, "response without request")
}

func (q *QP) recvNAK(h *fabric.Header) {
	if h.Op == opFault {
		q.ctx.event(AsyncEvent{Kind: "QP_ACCESS_ERR", QPN: q.QPN(), Err: Status(h.Aux)})
		q.fail(WRFlushErr, "the peer's access was refused: "+Status(h.Aux).String())
		return
	}
	st := Status(h.Aux)
	if st == Success || st == WRFlushErr {
		st = RemOpErr
	}
	q.fail(st, "negative acknowledgement from the peer")
}

// reject answers a bad request with a NAK and goes to ERR (IBTA 9.9.3.1, class C).
// The packet stays unaccepted, and so unacknowledged.
func (q *QP) reject(st Status, why string) bool {
	q.rx.nak = st
	q.ctx.event(AsyncEvent{Kind: "QP_ACCESS_ERR", QPN: q.QPN(), Err: &Error{Op: "responder", Object: q.name(), Detail: why, Err: st}})
	q.fail(WRFlushErr, why)
	q.respond()
	if q.rx.pending() {
		q.wake()
	}
	return false
}

// down handles the end of the wire.
func (q *QP) down(err error) {
	st := RetryExcErr
	if errors.Is(err, fabric.ErrClosed) {
		st = WRFlushErr
	}
	q.fail(st, err.Error())
}
