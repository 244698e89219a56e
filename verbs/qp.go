package verbs

import (
	"errors"
	"fmt"
	"time"

	"outboard/verbs/fabric"
)

// QPCap are the sizes of a queue pair (ibv_qp_cap), each from 0 to what Limits has.
type QPCap struct {
	SendWR, RecvWR   int // requests outstanding: Limits.MaxWR
	SendSGE, RecvSGE int // pieces of one request: Limits.MaxSGE
	Inline           int // bytes of an inline request: Limits.MaxInline
}

// QPInit says how to make a queue pair (ibv_qp_init_attr).
type QPInit struct {
	Type           QPType // RC unless said otherwise
	SendCQ, RecvCQ *CQ    // where its requests complete; may be the same
	Cap            QPCap
	// SRQ, if set, is where receives are taken from, in place of a receive queue of its own.
	SRQ *SRQ
	// SignalAll makes every send request signaled (sq_sig_all).
	SignalAll bool
	// Managed makes the send queue stop at each request until a SendEnable of another queue pair lets it
	// go on (CORE-Direct).
	Managed bool
	// Sink, if set, takes arriving SEND messages packet by packet on the NIC,
	// instead of the receive queue (a flow steered to a handler). See Sink. Only on a wire that is
	// ordered and reliable.
	Sink Sink
	// Tag comes back in Packet.Tag and Sink.Down.
	Tag int32

	endpoint int // of the fabric, or fabric.Any
	// engine: made by an Engine. Direct access does not wait for earlier sends, the wire
	// keeps what the peer is not ready for, and the reserved lkey is good.
	engine bool
}

// A QP is a queue pair. On a reliable connection (RC) every request is executed by
// the peer exactly once and in the order of posting, or the queue pair
// goes to ERR and the request says why. On UC and UD a request is complete when it has been sent.
//
// All methods may be called by any goroutine.
type QP struct {
	ctx    *Context
	pd     *PD
	init   QPInit
	conn   fabric.Conn
	direct fabric.Direct
	mover  fabric.Mover // direct, if it is one
	slot   uint32       // index in ctx.qps, the fabric's cookie
	qpn    uint32
	state  State
	attr   QPAttr
	parked bool // after RESET the endpoint is not open: the last peer has not left it
	dead   bool
	active bool // in ctx.active

	sq   sendQueue
	rq   recvQueue
	rx   inbound
	wire *wire // of a queue pair that talks in IBTA packets, else nil
	srq  *SRQ

	gone     bool              // UC: the peer has left
	fullAt   time.Time         // UC: since when the wire has no room
	draining bool              // SQD, and requests that had begun are not complete
	enabled  uint64            // sq.head up to which a managed queue may go
	epoch    uint32            // changes with RESET: completions from before give nothing back
	counters *attachedCounters // nil if there are none
	waits    *Counter          // that the next request waits for, or nil
	windows  int               // of type 2 bound to it
}

// qpnBase keeps the numbers 0 and 1 free, which IBTA gives to management.
const qpnBase = 2

// QPNOf is the queue pair number of an endpoint of the fabric.
func QPNOf(endpoint int) uint32 { return uint32(endpoint) + qpnBase }

// CreateQP makes a queue pair in state RESET (ibv_create_qp(3)).
//
// ErrInvalid for objects that are not live ones of this context, sizes out of range, and parts that do not go together; ErrLimit if the
// device has no more queue pairs; ErrDestroyed after Close.
func (c *Context) CreateQP(pd *PD, in QPInit) (*QP, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	in.endpoint, in.engine = fabric.Any, false
	return c.createQP(pd, in)
}

func (c *Context) createQP(pd *PD, in QPInit) (*QP, error) {
	const op = "create_qp"
	l := &c.limits
	switch {
	case c.closed:
		return nil, opErr(op, "", ErrDestroyed, "context is closed")
	case !pd.liveIn(c):
		return nil, opErr(op, "", ErrInvalid, "protection domain is not a live one of this context")
	case in.Type >= numQPTypes:
		return nil, opErr(op, "", ErrInvalid, "qp_type %d: expected RC, UC or UD", in.Type)
	case in.SRQ != nil && (in.SRQ.ctx != c || in.SRQ.dead):
		return nil, opErr(op, "", ErrInvalid, "shared receive queue is not a live one of this context")
	case in.SRQ.matchesTags() && (in.Type != RC || in.Managed):
		return nil, opErr(op, "", ErrInvalid, "%v, managed %v, with a tag-matching shared receive queue: expected RC, not managed",
			in.Type, in.Managed)
	case in.SRQ != nil && in.Sink != nil:
		return nil, opErr(op, "", ErrInvalid, "a sink and a shared receive queue: expected one of them")
	case (in.engine || in.Sink != nil) && (c.packets || in.Type != RC):
		return nil, opErr(op, "", ErrInvalid, "a sink needs RC on an ordered and reliable wire that is not traced")
	case in.SendCQ == nil || in.RecvCQ == nil:
		return nil, opErr(op, "", ErrInvalid, "a queue pair needs a send and a receive completion queue")
	case !in.SendCQ.liveIn(c) || !in.RecvCQ.liveIn(c):
		return nil, opErr(op, "", ErrInvalid, "completion queue is not a live one of this context")
	}
	for _, x := range []struct {
		name      string
		v, lo, hi int
	}{{"max_send_wr", in.Cap.SendWR, 0, l.MaxWR}, {"max_recv_wr", in.Cap.RecvWR, 0, l.MaxWR},
		{"max_send_sge", in.Cap.SendSGE, 0, l.MaxSGE}, {"max_recv_sge", in.Cap.RecvSGE, 0, l.MaxSGE},
		{"max_inline_data", in.Cap.Inline, 0, l.MaxInline}} {
		if x.v < x.lo || x.v > x.hi {
			return nil, opErr(op, "", ErrInvalid, "%s %d: expected %d to %d", x.name, x.v, x.lo, x.hi)
		}
	}
	slot := c.freeSlot()
	conn, err := c.openEndpoint(in.endpoint, slot)
	if err != nil {
		c.freeSlots = append(c.freeSlots, slot)
		if errors.Is(err, fabric.ErrNoEndpoint) {
			err = fmt.Errorf("%w: %w", ErrLimit, err)
		}
		return nil, &Error{Op: op, Err: err}
	}
	q := &QP{ctx: c, pd: pd, init: in, conn: conn, slot: slot, qpn: QPNOf(conn.Endpoint())}
	q.srq = in.SRQ
	q.sq.init(q.sendCap())
	q.rq.init(in.Cap)
	q.choosePackets()
	c.qps[slot] = q
	if in.Type == UD {
		c.listUD(q)
	}
	pd.refs++
	if q.srq != nil {
		q.srq.users++
	}
	in.SendCQ.users++
	in.RecvCQ.users++
	return q, nil
}

// QPN is the queue pair's number, which the peer needs to connect.
func (q *QP) QPN() uint32 { return q.qpn }

func (q *QP) name() string { return fmt.Sprintf("QP %#x", q.qpn) }

// Query returns the attributes and the state as they are now, and how the queue pair was made.
func (q *QP) Query() (QPAttr, QPInit) {
	q.ctx.mu.Lock()
	defer q.ctx.mu.Unlock()
	a := q.attr
	a.State, a.CurState, a.SQDraining = q.state, q.state, q.draining
	return a, q.init
}

// Modify changes the attributes that mask names and, with AttrState, the
// state. The edges of the state diagram and the attributes that each
// needs and allows are those of ibv_modify_qp. Nothing changes if it returns an error. The way up needs
//
//	to INIT  RC, UC  PKEY_INDEX PORT ACCESS_FLAGS
//	         UD      PKEY_INDEX PORT QKEY
//	to RTR   RC      AV PATH_MTU DEST_QPN RQ_PSN MAX_DEST_RD_ATOMIC MIN_RNR_TIMER
//	         UC      AV PATH_MTU DEST_QPN RQ_PSN
//	to RTS   RC      SQ_PSN TIMEOUT RETRY_CNT RNR_RETRY MAX_QP_RD_ATOMIC
//	         UC, UD  SQ_PSN
//
// Moving to RTR gives ErrBusy if the queue pair was connected before and that peer
// has not noticed the end: it does at its next poll, within milliseconds also if its host computes.
func (q *QP) Modify(a QPAttr, mask AttrMask) error {
	q.ctx.mu.Lock()
	defer q.ctx.unlock()
	if err := q.modify(a, mask); err != nil {
		return err
	}
	if mask&AttrState != 0 && a.State == RTR {
		q.ctx.poll() // what came too early waits on the wire
	}
	return nil
}

func (q *QP) modify(a QPAttr, mask AttrMask) error {
	const op = "modify_qp"
	if q.dead {
		return opErr(op, q.name(), ErrDestroyed, "destroyed")
	}
	from, to := q.state, q.state
	if mask&AttrCurState != 0 && a.CurState != from {
		return opErr(op, q.name(), ErrInvalid, "CUR_STATE %v: the queue pair is in %v", a.CurState, from)
	}
	if mask&AttrState != 0 {
		to = a.State
	}
	set, ok := edgeOf(q.init.Type, from, to)
	if !ok {
		return opErr(op, q.name(), ErrState, "no edge from %v to %v", from, to)
	}
	given := mask &^ AttrState
	if miss := set.required &^ given; miss != 0 {
		return opErr(op, q.name(), ErrInvalid, "%v to %v needs also %v", from, to, miss)
	}
	if extra := given &^ (set.required | set.optional); extra != 0 {
		return opErr(op, q.name(), ErrInvalid, "%v to %v does not allow %v", from, to, extra)
	}
	if err := q.checkAttr(a, mask); err != nil {
		return err
	}
	if from == Init && to == RTR && q.init.Type != UD {
		if err := q.connect(a); err != nil {
			return err
		}
	}
	if from != to && to == SQD {
		q.attr.EnSQDAsyncNotify = false // asked for anew each time
	}
	q.attr.merge(a, mask)
	if mask&AttrState != 0 {
		q.enter(to)
	} else {
		q.grant()
	}
	return nil
}

// choosePackets decides whether the queue pair talks in packets for a reason of this side.
func (q *QP) choosePackets() {
	q.wire = nil
	if q.ctx.packets || q.init.Type != RC || q.srq != nil || q.counted()&countRemote != 0 {
		q.wire = newWire(q)
	}
}

// usePackets has the queue pair talk in packets, before it has sent anything.
func (q *QP) usePackets() {
	if q.wire == nil {
		q.wire, q.direct, q.mover = newWire(q), nil, nil
	}
}

// receives tells whether the state is one in which requests of the peer are served.
func (q *QP) receives() bool { return q.state >= RTR && q.state <= SQE }

// enter moves to a state that the diagram allows.
func (q *QP) enter(to State) {
	switch to {
	case Reset:
		q.reset()
	case Err:
		q.fail(WRFlushErr, "queue pair moved to ERR")
	case SQD:
		if q.wire != nil {
			q.wire.enter(q, SQD)
		}
		q.draining = q.draining || q.state != SQD
		q.state = SQD
		q.grant()
		q.drained()
	case RTR, RTS:
		if q.wire != nil {
			q.wire.enter(q, to)
		}
		q.state, q.draining = to, false
		q.grant()
		if q.sq.tail != q.sq.head {
			q.wake()
		}
	default:
		q.state = to
		q.grant()
	}
}

// drained reports the end of the drain of a queue pair in SQD: requests that had begun are complete.
func (q *QP) drained() {
	if !q.draining || q.sq.tail != q.sq.next || q.sq.tail != q.sq.head && q.sq.at(q.sq.tail).begun {
		return
	}
	q.draining = false
	if q.attr.EnSQDAsyncNotify {
		q.ctx.event(AsyncEvent{Type: EventSQDrained, QPN: q.qpn})
	}
}

// reset returns to RESET: queues emptied without completions, connection dropped.
func (q *QP) reset() {
	connected := q.state >= RTR && q.init.Type != UD
	q.release()
	q.state, q.attr, q.draining, q.enabled = Reset, QPAttr{}, false, 0
	q.gone, q.fullAt = false, time.Time{}
	q.epoch++
	q.sq.init(q.sendCap())
	q.rq.init(q.init.Cap)
	q.choosePackets()
	if connected {
		q.rewire()
	} else {
		q.grant()
	}
}

// Destroy ends the queue pair: outstanding work vanishes without completions, as with ibv_destroy_qp. The error is ErrDestroyed, or
// the fabric's.
func (q *QP) Destroy() error {
	q.ctx.mu.Lock()
	defer q.ctx.unlock()
	return q.destroy()
}

func (q *QP) destroy() error {
	if q.dead {
		return opErr("destroy_qp", q.name(), ErrDestroyed, "destroyed before")
	}
	q.dead = true
	q.state = Reset
	q.grant()
	q.release()
	q.detachCounters()
	q.unbindWindows()
	q.ctx.qps[q.slot] = nil
	if q.init.Type == UD {
		q.ctx.uds[q.qpn] = nil
	}
	q.ctx.freeSlots = append(q.ctx.freeSlots, q.slot)
	q.pd.refs--
	q.init.SendCQ.users--
	q.init.RecvCQ.users--
	if q.srq != nil {
		q.srq.users--
	}
	if err := q.conn.Close(); err != nil {
		return &Error{Op: "destroy_qp", Object: q.name(), Err: err}
	}
	return nil
}
