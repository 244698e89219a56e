package verbs

import "fmt"

// An SRQ is a shared receive queue: receives that several queue pairs take, oldest first, as their messages
// begin (IBTA 10.2.9; ibv_create_srq).
type SRQ struct {
	ctx   *Context
	pd    *PD
	num   uint32
	rq    recvQueue
	limit int // of an armed EventSRQLimit, else 0
	users int // queue pairs
	dead  bool
	tm    *tagMatching // nil of a basic one
}

// SRQInit says how to make a shared receive queue.
type SRQInit struct {
	MaxWR  int     // receives outstanding, 1 to Limits.MaxSRQWR
	MaxSGE int     // pieces of one receive, 0 to Limits.MaxSRQSGE
	Limit  int     // see SRQ.Modify; 0 to MaxWR
	TM     *TMInit // makes it a tag-matching one
}

// CreateSRQ makes a shared receive queue (ibv_create_srq(3)). ErrInvalid for sizes out of range; ErrLimit if the device has no more;
// ErrDestroyed after Close.
func (c *Context) CreateSRQ(pd *PD, in SRQInit) (*SRQ, error) {
	const op = "create_srq"
	c.mu.Lock()
	defer c.mu.Unlock()
	l := &c.limits
	switch {
	case c.closed:
		return nil, opErr(op, "", ErrDestroyed, "context is closed")
	case !pd.liveIn(c):
		return nil, opErr(op, "", ErrInvalid, "protection domain is not a live one of this context")
	case in.MaxWR < 1 || in.MaxWR > l.MaxSRQWR:
		return nil, opErr(op, "", ErrInvalid, "max_wr %d: expected 1 to %d", in.MaxWR, l.MaxSRQWR)
	case in.MaxSGE < 0 || in.MaxSGE > l.MaxSRQSGE:
		return nil, opErr(op, "", ErrInvalid, "max_sge %d: expected 0 to %d", in.MaxSGE, l.MaxSRQSGE)
	case in.Limit < 0 || in.Limit > in.MaxWR:
		return nil, opErr(op, "", ErrInvalid, "srq_limit %d: expected 0 to max_wr %d", in.Limit, in.MaxWR)
	}
	if c.srqs >= l.MaxSRQ {
		return nil, opErr(op, "", ErrLimit, "%d shared receive queues, the most there can be", c.srqs)
	}
	c.srqNum++
	s := &SRQ{ctx: c, pd: pd, num: c.srqNum, limit: in.Limit}
	s.rq.init(QPCap{RecvWR: in.MaxWR, RecvSGE: in.MaxSGE})
	if in.TM != nil {
		if err := s.initTM(*in.TM); err != nil {
			return nil, err
		}
	}
	pd.refs++
	c.srqs++
	return s, nil
}

// gone tells whether the queue has been destroyed, itself or with its context.
func (s *SRQ) gone() bool { return s.dead || s.ctx.closed }

func (s *SRQ) name() string { return fmt.Sprintf("SRQ %d", s.num) }

// Num is the queue's number.
func (s *SRQ) Num() uint32 { return s.num }

// Query returns the sizes of the queue and the limit, 0 if that is not armed.
func (s *SRQ) Query() (SRQInit, error) {
	s.ctx.mu.Lock()
	defer s.ctx.mu.Unlock()
	if s.gone() {
		return SRQInit{}, opErr("query_srq", s.name(), ErrDestroyed, "destroyed")
	}
	in := SRQInit{MaxWR: len(s.rq.ring), MaxSGE: s.rq.maxSGE, Limit: s.limit}
	if s.tm != nil {
		tm := s.tm.init
		in.TM = &tm
	}
	return in, nil
}

// SRQMask says what SRQ.Modify sets.
type SRQMask uint8

const (
	SRQMaxWR SRQMask = 1 << iota
	SRQLimit
)

// Modify resizes the queue, or arms its limit: when fewer receives are left, EventSRQLimit is raised, once. A limit of 0
// disarms. ErrInvalid if more receives are outstanding than the new size.
func (s *SRQ) Modify(a SRQInit, mask SRQMask) error {
	const op = "modify_srq"
	s.ctx.mu.Lock()
	defer s.ctx.unlock()
	r := &s.rq
	room := len(r.ring)
	if mask&SRQMaxWR != 0 {
		room = a.MaxWR
	}
	switch {
	case s.gone():
		return opErr(op, s.name(), ErrDestroyed, "destroyed")
	case mask&^(SRQMaxWR|SRQLimit) != 0:
		return opErr(op, s.name(), ErrInvalid, "unknown mask %#x", uint8(mask))
	case room < 1 || room > s.ctx.limits.MaxSRQWR || uint64(room) < r.head-r.tail:
		return opErr(op, s.name(), ErrInvalid, "max_wr %d: expected 1 to %d, and not less than the %d outstanding",
			room, s.ctx.limits.MaxSRQWR, r.head-r.tail)
	case mask&SRQLimit != 0 && (a.Limit < 0 || a.Limit > room):
		return opErr(op, s.name(), ErrInvalid, "srq_limit %d: expected 0 to %d", a.Limit, room)
	}
	if mask&SRQMaxWR != 0 {
		r.resize(room)
	}
	if mask&SRQLimit != 0 {
		s.limit = a.Limit
		s.checkLimit()
	}
	return nil
}

// Destroy ends the queue; its receives vanish. ErrBusy while queue pairs use it, ErrDestroyed also when the context has closed.
func (s *SRQ) Destroy() error {
	s.ctx.mu.Lock()
	defer s.ctx.unlock()
	switch {
	case s.gone():
		return opErr("destroy_srq", s.name(), ErrDestroyed, "destroyed before")
	case s.users > 0:
		return opErr("destroy_srq", s.name(), ErrBusy, "%d queue pairs use it", s.users)
	}
	s.dead = true
	s.pd.refs--
	s.ctx.srqs--
	if s.tm != nil {
		s.tm.destroy(s.ctx)
	}
	for r := &s.rq; r.tail != r.head; r.tail++ {
		w := r.at(r.tail)
		s.ctx.unhold(w.SG, w.held)
	}
	return nil
}

// PostRecv posts receives, in order (ibv_post_srq_recv(3)). On an error the requests before Error.Index are posted and the rest are not:
// ErrQueueFull, ErrInvalid for too many pieces, or ErrDestroyed.
func (s *SRQ) PostRecv(wrs ...RecvWR) error {
	s.ctx.mu.Lock()
	defer s.ctx.unlock()
	for i := range wrs {
		if s.gone() {
			return opErr("post_srq_recv", s.name(), ErrDestroyed, "destroyed")
		}
		if err := s.rq.post(s.ctx, &wrs[i], "post_srq_recv"); err != nil {
			err.Object, err.Index = s.name(), i
			return err
		}
	}
	return nil
}

// take moves the oldest receive to x, and reports false if there is none.
func (s *SRQ) take(x *inbound) bool {
	r := &s.rq
	if r.tail == r.head {
		return false
	}
	w := r.at(r.tail)
	r.tail++
	x.own.ID, x.own.held = w.ID, w.held
	x.own.SG = append(x.own.SG[:0], w.SG...) // posting reuses the queue's own
	clear(w.SG)
	x.receive = &x.own
	s.checkLimit()
	return true
}

func (s *SRQ) checkLimit() {
	if s.limit > 0 && s.rq.head-s.rq.tail < uint64(s.limit) {
		s.limit = 0
		s.ctx.event(AsyncEvent{Type: EventSRQLimit, SRQ: s})
	}
}
