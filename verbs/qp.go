package verbs

import (
	"fmt"
	"time"

	"outboard/verbs/fabric"
)

// State of a queue pair (IBTA 10.3.1).
type State uint8

const (
	Reset State = iota
	Init
	RTR // ready to receive
	RTS // ready to send
	Err
	numStates
)

var stateText = [...]string{"RESET", "INIT", "RTR", "RTS", "ERR"}

func (s State) String() string {
	if int(s) < len(stateText) {
		return stateText[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// AttrMask says which fields of a QPAttr a Modify sets.
type AttrMask uint32

const (
	AttrState AttrMask = 1 << iota
	AttrAccess
	AttrPKeyIndex
	AttrPort
	AttrAV
	AttrPathMTU
	AttrDestQPN
	AttrRQPSN
	AttrMaxDestRdAtomic
	AttrMinRNRTimer
	AttrSQPSN
	AttrTimeout
	AttrRetryCnt
	AttrRNRRetry
	AttrMaxRdAtomic
	numAttrs = iota
)

var attrText = [numAttrs]string{"STATE", "ACCESS_FLAGS", "PKEY_INDEX", "PORT", "AV", "PATH_MTU", "DEST_QPN", "RQ_PSN",
	"MAX_DEST_RD_ATOMIC", "MIN_RNR_TIMER", "SQ_PSN", "TIMEOUT", "RETRY_CNT", "RNR_RETRY", "MAX_QP_RD_ATOMIC"}

func (m AttrMask) String() string {
	s := ""
	for i, t := range attrText {
		if m&(1<<i) != 0 {
			if s != "" {
				s += "|"
			}
			s += t
		}
	}
	return s
}

// QPAttr are the attributes of a queue pair (ibv_qp_attr).
type QPAttr struct {
	State     State
	Access    Access // what the connected peer may do: RemoteRead, RemoteWrite, RemoteAtomic
	PKeyIndex uint16 // 0
	Port      uint8  // 1
	// AV is the address of the peer's port (Context.Addr), which on a real
	// wire would be a LID or GID.
	AV              string
	PathMTU         int    // bytes: 256, 512, 1024, 2048, 4096 or the device's own
	DestQPN         uint32 // the peer's queue pair number
	RQPSN, SQPSN    uint32 // 24 bits
	MaxRdAtomic     uint8  // reads and atomics this side may have in flight
	MaxDestRdAtomic uint8  // and the peer
	MinRNRTimer     uint8  // code of the wait after a receiver-not-ready NAK, 0 to 31 (IBTA table 45)
	Timeout         uint8  // acknowledgement timeout 4.096 µs × 2^Timeout; 0 waits for ever
	RetryCnt        uint8  // 0 to 7
	RNRRetry        uint8  // 0 to 7; 7 retries for ever
}

// attrSet is what an edge of the state diagram needs and allows besides STATE.
type attrSet struct{ required, optional AttrMask }

// edges of the state diagram for RC (IBTA 11.2.5.2; ibv_modify_qp). Every state may also
// go to RESET and, but RESET, to ERR.
var edges = map[[2]State]attrSet{
	{Reset, Init}: {required: AttrPKeyIndex | AttrPort | AttrAccess},
	{Init, Init}:  {optional: AttrPKeyIndex | AttrPort | AttrAccess},
	{Init, RTR}: {required: AttrAV | AttrPathMTU | AttrDestQPN | AttrRQPSN | AttrMaxDestRdAtomic | AttrMinRNRTimer,
		optional: AttrAccess | AttrPKeyIndex},
	{RTR, RTS}: {required: AttrSQPSN | AttrTimeout | AttrRetryCnt | AttrRNRRetry | AttrMaxRdAtomic,
		optional: AttrAccess | AttrMinRNRTimer},
	{RTS, RTS}:     {optional: AttrAccess | AttrMinRNRTimer},
	{Reset, Reset}: {},
	{Init, Reset}:  {}, {RTR, Reset}: {}, {RTS, Reset}: {}, {Err, Reset}: {},
	{Init, Err}: {}, {RTR, Err}: {}, {RTS, Err}: {}, {Err, Err}: {},
}

// QPCap are the sizes of a queue pair.
type QPCap struct {
	SendWR, RecvWR   int // requests outstanding
	SendSGE, RecvSGE int // pieces of one request
	Inline           int // bytes of an inline request
}

// QPInit says how to make a queue pair.
type QPInit struct {
	SendCQ, RecvCQ *CQ
	Cap            QPCap
	// SignalAll makes every send request signaled (sq_sig_all).
	SignalAll bool
	// Sink, if set, takes arriving SEND messages packet by packet on the NIC,
	// instead of the receive queue (a flow steered to a handler). See Sink.
	Sink Sink
	// Tag comes back in Packet.Tag and Sink.Down.
	Tag int32

	endpoint int  // of the fabric, or fabric.Any
	relaxed  bool // direct access does not wait for earlier sends
}

// A QP is a reliable connected (RC) queue pair: every request is executed by
// the peer exactly once and in the order of posting, or the queue pair
// goes to ERR and the request says why.
//
// All methods may be called by any goroutine.
type QP struct {
	ctx    *Context
	pd     *PD
	init   QPInit
	conn   fabric.Conn
	direct fabric.Direct
	slot   uint32 // index in ctx.qps, the fabric's cookie
	state  State
	attr   QPAttr
	dead   bool
	active bool // in ctx.active

	sq sendQueue
	rq recvQueue
	rx inbound
}

// qpnBase keeps the numbers 0 and 1 free, which IBTA gives to management.
const qpnBase = 2

// QPNOf is the queue pair number of an endpoint of the fabric.
func QPNOf(endpoint int) uint32 { return uint32(endpoint) + qpnBase }

// CreateQP makes a queue pair in state RESET.
func (c *Context) CreateQP(pd *PD, in QPInit) (*QP, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	in.endpoint, in.relaxed = fabric.Any, false
	return c.createQP(pd, in)
}

func (c *Context) createQP(pd *PD, in QPInit) (*QP, error) {
	const op = "create_qp"
	l := &c.limits
	switch {
	case c.closed:
		return nil, opErr(op, "", ErrDestroyed, "context is closed")
	case pd == nil || pd.ctx != c || pd.dead:
		return nil, opErr(op, "", ErrInvalid, "protection domain is not a live one of this context")
	case in.SendCQ == nil || in.RecvCQ == nil:
		return nil, opErr(op, "", ErrInvalid, "a queue pair needs a send and a receive completion queue")
	case in.SendCQ.ctx != c || in.RecvCQ.ctx != c || in.SendCQ.dead || in.RecvCQ.dead:
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
	conn, err := c.port.Open(in.endpoint, slot)
	if err != nil {
		return nil, &Error{Op: op, Err: err}
	}
	q := &QP{ctx: c, pd: pd, init: in, conn: conn, slot: slot}
	q.sq.init(in.Cap)
	q.rq.init(in.Cap)
	q.rx.owner = q
	c.qps[slot] = q
	pd.refs++
	in.SendCQ.users++
	in.RecvCQ.users++
	return q, nil
}

// QPN is the queue pair's number, which the peer needs to connect.
func (q *QP) QPN() uint32 { return QPNOf(q.conn.Endpoint()) }

func (q *QP) name() string { return fmt.Sprintf("QP %#x", q.QPN()) }

// Query returns the attributes and the state as they are now.
func (q *QP) Query() (QPAttr, QPCap) {
	q.ctx.mu.Lock()
	defer q.ctx.mu.Unlock()
	a := q.attr
	a.State = q.state
	return a, q.init.Cap
}

// Modify changes the attributes that mask names and, with AttrState, the
// state. The edges of the state diagram and the attributes that each
// needs and allows are those of ibv_modify_qp for RC. Nothing changes if it returns an error.
func (q *QP) Modify(a QPAttr, mask AttrMask) error {
	q.ctx.mu.Lock()
	defer q.ctx.mu.Unlock()
	return q.modify(a, mask)
}

func (q *QP) modify(a QPAttr, mask AttrMask) error {
	const op = "modify_qp"
	if q.dead {
		return opErr(op, q.name(), ErrDestroyed, "destroyed")
	}
	to := q.state
	if mask&AttrState != 0 {
		to = a.State
	}
	set, ok := edges[[2]State{q.state, to}]
	if !ok {
		return opErr(op, q.name(), ErrState, "no edge from %v to %v", q.state, to)
	}
	given := mask &^ AttrState
	if miss := set.required &^ given; miss != 0 {
		return opErr(op, q.name(), ErrInvalid, "%v to %v needs also %v", q.state, to, miss)
	}
	if extra := given &^ (set.required | set.optional); extra != 0 {
		return opErr(op, q.name(), ErrInvalid, "%v to %v does not allow %v", q.state, to, extra)
	}
	if err := q.checkAttr(a, mask); err != nil {
		return err
	}
	if q.state == Init && to == RTR {
		if a.DestQPN < qpnBase {
			return opErr(op, q.name(), ErrInvalid, "DEST_QPN %d: expected %d or more", a.DestQPN, qpnBase)
		}
		if err := q.conn.Connect(a.AV, int(a.DestQPN-qpnBase)); err != nil {
			return &Error{Op: op, Object: q.name(), Detail: fmt.Sprintf("connect to QP %#x at %q", a.DestQPN, a.AV), Err: err}
		}
		q.direct = q.conn.Direct()
	}
	q.attr.merge(a, mask)
	if mask&AttrState != 0 {
		return q.enter(to)
	}
	q.grant()
	return nil
}

// checkAttr checks the values of the attributes that mask names.
func (q *QP) checkAttr(a QPAttr, mask AttrMask) error {
	for _, x := range []struct {
		bit AttrMask
		v   int
		hi  int
	}{{AttrPKeyIndex, int(a.PKeyIndex), 0}, {AttrRetryCnt, int(a.RetryCnt), 7}, {AttrRNRRetry, int(a.RNRRetry), 7},
		{AttrMinRNRTimer, int(a.MinRNRTimer), 31}, {AttrTimeout, int(a.Timeout), 31},
		{AttrMaxRdAtomic, int(a.MaxRdAtomic), q.ctx.limits.MaxRdAtomic},
		{AttrMaxDestRdAtomic, int(a.MaxDestRdAtomic), q.ctx.limits.MaxRdAtomic}} {
		if mask&x.bit != 0 && x.v > x.hi {
			return opErr("modify_qp", q.name(), ErrInvalid, "%v %d: expected 0 to %d", x.bit, x.v, x.hi)
		}
	}
	switch {
	case mask&AttrPort != 0 && a.Port != 1:
		return opErr("modify_qp", q.name(), ErrInvalid, "PORT %d: the device has port 1", a.Port)
	case mask&AttrAccess != 0 && a.Access&^accessAll != 0:
		return opErr("modify_qp", q.name(), ErrInvalid, "ACCESS_FLAGS %#x: unknown flags", uint32(a.Access))
	case mask&AttrPathMTU != 0 && (a.PathMTU < minMTU || a.PathMTU > q.ctx.mtu):
		return opErr("modify_qp", q.name(), ErrInvalid, "PATH_MTU %d: expected %d to %d bytes", a.PathMTU, minMTU, q.ctx.mtu)
	}
	return nil
}

// minMTU is the smallest path MTU, in bytes.
const minMTU = 256

func (d *QPAttr) merge(a QPAttr, mask AttrMask) {
	take := func(bit AttrMask) bool { return mask&bit != 0 }
	if take(AttrAccess) {
		d.Access = a.Access
	}
	if take(AttrPKeyIndex) {
		d.PKeyIndex = a.PKeyIndex
	}
	if take(AttrPort) {
		d.Port = a.Port
	}
	if take(AttrAV) {
		d.AV = a.AV
	}
	if take(AttrPathMTU) {
		d.PathMTU = a.PathMTU
	}
	if take(AttrDestQPN) {
		d.DestQPN = a.DestQPN
	}
	if take(AttrRQPSN) {
		d.RQPSN = a.RQPSN & psnMask
	}
	if take(AttrSQPSN) {
		d.SQPSN = a.SQPSN & psnMask
	}
	if take(AttrMaxDestRdAtomic) {
		d.MaxDestRdAtomic = a.MaxDestRdAtomic
	}
	if take(AttrMaxRdAtomic) {
		d.MaxRdAtomic = a.MaxRdAtomic
	}
	if take(AttrMinRNRTimer) {
		d.MinRNRTimer = a.MinRNRTimer
	}
	if take(AttrTimeout) {
		d.Timeout = a.Timeout
	}
	if take(AttrRetryCnt) {
		d.RetryCnt = a.RetryCnt
	}
	if take(AttrRNRRetry) {
		d.RNRRetry = a.RNRRetry
	}
}

const psnMask = 1<<24 - 1

// enter moves to a state that the diagram allows.
func (q *QP) enter(to State) error {
	switch to {
	case Reset:
		if q.state == Reset {
			return nil
		}
		return q.reset()
	case Err:
		q.fail(WRFlushErr, "queue pair moved to ERR")
		return nil
	}
	q.state = to
	q.grant()
	if to == RTS {
		q.wake()
	}
	return nil
}

// reset returns to RESET: queues emptied without completions, connection dropped.
func (q *QP) reset() error {
	q.release()
	ep := q.conn.Endpoint()
	if err := q.conn.Close(); err != nil {
		return &Error{Op: "modify_qp", Object: q.name(), Err: err}
	}
	conn, err := q.ctx.port.Open(ep, q.slot)
	if err != nil {
		return &Error{Op: "modify_qp", Object: q.name(), Err: err}
	}
	q.conn, q.direct = conn, nil
	q.state, q.attr = Reset, QPAttr{}
	q.sq.init(q.init.Cap)
	q.rq.init(q.init.Cap)
	q.rx = inbound{owner: q}
	return nil
}

// grant tells the peer what it may do here now.
func (q *QP) grant() {
	ready := q.state == RTR || q.state == RTS
	q.conn.Grant(fabric.Grant{Ready: ready, PD: q.pd.num, Access: uint32(q.attr.Access)})
}

// Destroy ends the queue pair: outstanding work vanishes without completions, as with
// ibv_destroy_qp.
func (q *QP) Destroy() error {
	q.ctx.mu.Lock()
	defer q.ctx.mu.Unlock()
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
	q.ctx.qps[q.slot] = nil
	q.ctx.freeSlots = append(q.ctx.freeSlots, q.slot)
	q.pd.refs--
	q.init.SendCQ.users--
	q.init.RecvCQ.users--
	if err := q.conn.Close(); err != nil {
		return &Error{Op: "destroy_qp", Object: q.name(), Err: err}
	}
	return nil
}

// fail moves to ERR: the oldest outstanding send completes with st (unless that is WRFlushErr),
// all other work with WRFlushErr.
func (q *QP) fail(st Status, detail string) {
	if q.state == Err || q.state == Reset {
		return
	}
	q.state = Err
	q.grant()
	q.flush(st, detail)
	if q.init.Sink != nil {
		q.init.Sink.Down(q.init.Tag, &Error{Op: "transport", Object: q.name(), Detail: detail, Err: st})
	}
}

// rnrTimer is the wait after a receiver-not-ready NAK (IBTA table 45).
func rnrTimer(code uint8) time.Duration {
	table := [32]int{65536, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072,
		4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152} // hundredths of a millisecond
	return time.Duration(table[code&31]) * 10 * time.Microsecond
}

// ackTimeout is how long the queue pair waits for a peer that does not answer, retries included; 0: for ever.
func (q *QP) ackTimeout() time.Duration {
	if q.attr.Timeout == 0 {
		return 0
	}
	return time.Duration(4096<<q.attr.Timeout) * time.Nanosecond * time.Duration(q.attr.RetryCnt+1)
}
