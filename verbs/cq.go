package verbs

import (
	"context"
	"iter"
)

// A CQ is a completion queue: a bounded ring of completions. If more arrive
// than it holds it overflows: it is dead then, and so are the queue pairs that use
// it (IBTA 11.6.3.1), so make it as large as the work that can be outstanding.
type CQ struct {
	ctx      *Context
	ring     []cqe
	head     uint64 // next to poll
	tail     uint64 // next to write
	overflow bool
	users    int // queues that complete into it
	dead     bool

	channel *CompChannel
	armed   armState
}

// cqe is a completion in its queue. That of a send request gives entries of the send queue back when it is taken.
type cqe struct {
	wc    WC
	sq    *QP    // whose send queue it is, or nil
	epoch uint32 // of that queue
	upTo  uint64 // entries that are free
}

type armState uint8

const (
	disarmed armState = iota
	armSolicited
	armAny
)

// CreateCQ makes a completion queue for n completions. The channel, which may be nil, gets
// its events (see CQ.ReqNotify). ErrLimit if the device has no more queues.
func (c *Context) CreateCQ(n int, ch *CompChannel) (*CQ, error) {
	if n < 1 || n > c.limits.MaxCQE {
		return nil, opErr("create_cq", "", ErrInvalid, "%d entries: expected 1 to %d", n, c.limits.MaxCQE)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, opErr("create_cq", "", ErrDestroyed, "context is closed")
	}
	if ch != nil && (ch.ctx != c || ch.closed) {
		return nil, opErr("create_cq", "", ErrInvalid, "completion channel is not a live one of this context")
	}
	if c.cqs >= c.limits.MaxCQ {
		return nil, opErr("create_cq", "", ErrLimit, "%d completion queues: the device has no more", c.cqs)
	}
	c.cqs++
	return &CQ{ctx: c, ring: make([]cqe, n), channel: ch}, nil
}

// liveIn tells whether a queue, which may be nil, is a live one of a context.
func (q *CQ) liveIn(c *Context) bool { return q != nil && q.ctx == c && !q.dead }

// Cap is the number of completions that the queue holds (ibv_cq.cqe).
func (q *CQ) Cap() int {
	q.ctx.mu.Lock()
	defer q.ctx.mu.Unlock()
	return len(q.ring)
}

// Resize makes room for n completions (ibv_resize_cq). Those in the queue stay, in order: ErrInvalid if there are
// more than n. Nothing changes on an error; a queue that has overflowed stays as it is, with ErrOverflow.
func (q *CQ) Resize(n int) error {
	const op = "resize_cq"
	q.ctx.mu.Lock()
	defer q.ctx.mu.Unlock()
	held := int(q.tail - q.head)
	switch {
	case q.dead || q.ctx.closed:
		return opErr(op, "", ErrDestroyed, "destroyed")
	case q.overflow:
		return opErr(op, "", ErrOverflow, "more than %d completions", len(q.ring))
	case n < 1 || n > q.ctx.limits.MaxCQE:
		return opErr(op, "", ErrInvalid, "%d entries: expected 1 to %d", n, q.ctx.limits.MaxCQE)
	case n < held:
		return opErr(op, "", ErrInvalid, "%d entries: expected at least the %d completions in the queue", n, held)
	}
	ring := make([]cqe, n)
	for i := q.head; i != q.tail; i++ { // who waits for a completion knows it by its number, which stays
		ring[i%uint64(n)] = q.ring[i%uint64(len(q.ring))]
	}
	q.ring = ring
	return nil
}

// Destroy ends the queue, and with it its events that nobody took. ErrBusy while queue pairs, or a tag-matching shared receive
// queue, complete into it.
func (q *CQ) Destroy() error {
	q.ctx.mu.Lock()
	defer q.ctx.unlock()
	switch {
	case q.dead:
		return opErr("destroy_cq", "", ErrDestroyed, "destroyed before")
	case q.users > 0:
		return opErr("destroy_cq", "", ErrBusy, "%d queues complete into it", q.users)
	}
	q.dead = true
	q.ctx.cqs--
	if q.channel != nil {
		q.channel.forget(q)
	}
	q.ctx.progressed = true // for whoever waits on it
	return nil
}

// Poll moves up to len(wcs) completions into wcs and returns how many. It
// never blocks; it runs the NIC on the caller's thread. The error is ErrOverflow or ErrDestroyed.
func (q *CQ) Poll(wcs []WC) (int, error) {
	q.ctx.mu.Lock()
	defer q.ctx.unlock()
	if q.dead {
		return 0, opErr("poll_cq", "", ErrDestroyed, "destroyed")
	}
	if q.head == q.tail {
		q.ctx.poll()
	}
	n := q.take(wcs)
	switch {
	case n > 0 || len(wcs) == 0:
	case q.overflow:
		return 0, opErr("poll_cq", "", ErrOverflow, "more than %d completions", len(q.ring))
	case q.ctx.closed:
		return 0, opErr("poll_cq", "", ErrDestroyed, "context is closed")
	}
	return n, nil
}

// All takes the completions out of the queue, one at a time, until it is empty: the manner of ibv_next_poll. The completion
// is the iterator's and good until the next step; a loop that ends early leaves the rest in the queue. It ends also
// when the queue has overflowed or is destroyed, which the next Poll tells.
func (q *CQ) All() iter.Seq[*WC] {
	return func(yield func(*WC) bool) {
		var wc [1]WC
		for {
			if n, _ := q.Poll(wc[:]); n == 0 || !yield(&wc[0]) {
				return
			}
		}
	}
}

func (q *CQ) take(wcs []WC) int {
	n := 0
	for n < len(wcs) && q.head != q.tail {
		e := &q.ring[q.head%uint64(len(q.ring))]
		wcs[n] = e.wc
		if e.sq != nil && e.epoch == e.sq.epoch {
			e.sq.sq.free = e.upTo
		}
		q.head++
		n++
	}
	return n
}

// Wait polls until there is a completion or ctx is over, lending the NIC its thread. The error is ctx's,
// ErrOverflow or ErrDestroyed.
func (q *CQ) Wait(ctx context.Context, wcs []WC) (int, error) {
	if len(wcs) == 0 {
		return 0, opErr("poll_cq", "", ErrInvalid, "no room for completions")
	}
	n := 0
	err := q.ctx.Wait(ctx, func() bool {
		n = q.take(wcs)
		return n > 0 || q.overflow || q.dead
	})
	if n > 0 || err != nil {
		return n, err
	}
	return q.Poll(wcs)
}

// pushSend adds the completion of the request that has left a send queue last.
func (q *CQ) pushSend(p *QP, wc WC) {
	at := q.tail
	if q.push(wc, false); q.tail != at {
		e := &q.ring[at%uint64(len(q.ring))]
		e.sq, e.epoch, e.upTo = p, p.epoch, p.sq.tail
	}
}

func (q *CQ) push(wc WC, solicited bool) {
	if q.tail-q.head == uint64(len(q.ring)) {
		if !q.overflow {
			q.overflow = true
			q.ctx.cqOverflow(q)
		}
		return
	}
	e := &q.ring[q.tail%uint64(len(q.ring))]
	e.wc, e.sq = wc, nil
	q.tail++
	if q.armed != disarmed && (q.armed == armAny || solicited || wc.Status != Success) {
		q.armed = disarmed
		if q.channel != nil {
			q.channel.add(q)
		}
	}
	q.ctx.progressed, q.ctx.again = true, true
}

// ReqNotify asks for one event on the channel at the next completion, or at
// the next solicited or failed one. Completions already in the queue raise none: poll once
// more after arming (IBTA 11.4.2.2).
func (q *CQ) ReqNotify(solicitedOnly bool) error {
	if q.channel == nil {
		return opErr("req_notify_cq", "", ErrInvalid, "the queue has no completion channel")
	}
	q.ctx.mu.Lock()
	defer q.ctx.mu.Unlock()
	if q.dead {
		return opErr("req_notify_cq", "", ErrDestroyed, "destroyed")
	}
	if !solicitedOnly {
		q.armed = armAny
	} else if q.armed == disarmed {
		q.armed = armSolicited
	}
	if q.channel.asked.Load() {
		q.ctx.thread.handOver()
	}
	return nil
}
