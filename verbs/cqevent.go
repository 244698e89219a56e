package verbs

import (
	"context"
	"slices"
	"sync/atomic"
)

// A CompChannel delivers completion events of the queues that were made with it (ibv_create_comp_channel). An event stays
// until somebody takes it, by Get or TryGet, or its queue is destroyed; a queue that is armed again before its event
// is taken may raise another.
type CompChannel struct {
	ctx    *Context
	queue  []*CQ
	token  chan struct{}
	closed bool
	asked  atomic.Bool // C has been called: the host waits in a select
}

// CreateCompChannel makes a completion channel. ErrDestroyed after Close.
func (c *Context) CreateCompChannel() (*CompChannel, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, opErr("create_comp_channel", "", ErrDestroyed, "context is closed")
	}
	ch := &CompChannel{ctx: c, token: make(chan struct{}, 1)}
	c.channels = append(c.channels, ch)
	return ch, nil
}

func (ch *CompChannel) add(q *CQ) {
	if ch.closed {
		return
	}
	ch.queue = append(ch.queue, q)
	ch.signal()
}

// forget drops the events of a queue that is destroyed.
func (ch *CompChannel) forget(q *CQ) {
	ch.queue = slices.DeleteFunc(ch.queue, func(x *CQ) bool { return x == q })
	ch.signal()
}

// signal has the token lie in its channel if, and only if, an event is pending. The caller holds the NIC's lock.
func (ch *CompChannel) signal() {
	switch {
	case ch.closed:
	case len(ch.queue) > 0:
		select {
		case ch.token <- struct{}{}:
		default:
		}
	default:
		select {
		case <-ch.token:
		default:
		}
	}
}

// take takes the oldest event, nil if there is none.
func (ch *CompChannel) take() *CQ {
	if len(ch.queue) == 0 {
		return nil
	}
	q := ch.queue[0]
	ch.queue = slices.Delete(ch.queue, 0, 1)
	ch.signal()
	return q
}

// C is for a select: it can be received from when an event is pending. What it delivers is a token and not the event, which TryGet
// takes and which may be gone by then, to another goroutine; TryGet puts the token back while more events
// are left. C is closed when the channel or the context is.
//
// While nobody runs the NIC its progress goroutine does, so events come also to a host that only selects. Once C has been called,
// each ReqNotify of a queue of this channel hands the NIC over to that goroutine at once; the host may poll some more, as
// it must after ReqNotify. An event costs a select two or three changes of goroutine and a system call of the peer, which wakes the
// NIC: some 10 to 50 µs, where Get, which polls, has it within a few. A host that goes on polling gets the NIC back; if it
// then selects without a ReqNotify, or another goroutine has been waiting in Get or Wait meanwhile, the goroutine is back after the NIC has been left
// alone for 1 to 2 ms, and longer with more than eight contexts in the process.
func (ch *CompChannel) C() <-chan struct{} {
	if !ch.asked.Load() && ch.asked.CompareAndSwap(false, true) {
		ch.ctx.thread.handOver() // the queues may be armed already
	}
	return ch.token
}

// TryGet takes an event, if there is one, and says which queue raised it. It does not run the NIC.
func (ch *CompChannel) TryGet() (*CQ, bool) {
	ch.ctx.mu.Lock()
	defer ch.ctx.mu.Unlock()
	q := ch.take()
	return q, q != nil
}

// Get waits for an event and says which queue raised it (ibv_get_cq_event). It runs the NIC on
// the caller's thread until the event is there. The error is ctx's, or ErrDestroyed.
func (ch *CompChannel) Get(ctx context.Context) (*CQ, error) {
	var q *CQ
	err := ch.ctx.Wait(ctx, func() bool {
		q = ch.take()
		return q != nil || ch.closed
	})
	if err != nil {
		return nil, err
	}
	if q == nil {
		return nil, opErr("get_cq_event", "", ErrDestroyed, "channel is closed")
	}
	return q, nil
}

// Close ends the channel: its events are gone, a pending Get returns ErrDestroyed, and C is closed.
func (ch *CompChannel) Close() error {
	ch.ctx.mu.Lock()
	defer ch.ctx.unlock()
	if ch.closed {
		return opErr("destroy_comp_channel", "", ErrDestroyed, "closed before")
	}
	ch.ctx.channels = slices.DeleteFunc(ch.ctx.channels, func(x *CompChannel) bool { return x == ch })
	ch.end()
	return nil
}

// end ends the channel, under the lock.
func (ch *CompChannel) end() {
	ch.closed, ch.queue = true, nil
	close(ch.token)
	ch.ctx.progressed = true // for a pending Get
}
