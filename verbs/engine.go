package verbs

import (
	"sync/atomic"
	"time"

	"outboard/verbs/fabric"
)

// Engine is the NIC's own side of a context, for a runtime that lives on the
// NIC: it is told of arrivals, posts without going through the
// host's locks, and lends host threads to the NIC.
//
// Except where a method says otherwise, the caller holds the NIC's lock: it is
// inside a Sink, inside the hook, or between Lock and Unlock.
type Engine struct{ c *Context }

// Engine returns the NIC's side of the context.
func (c *Context) Engine() Engine { return Engine{c} }

// Lock, TryLock and Unlock enter and leave the NIC. Poll runs it once and returns how many packets arrived.
func (e Engine) Lock()         { e.c.mu.Lock() }
func (e Engine) TryLock() bool { return e.c.mu.TryLock() }
func (e Engine) Unlock()       { e.c.unlock() }
func (e Engine) Poll() int     { return e.c.poll() }

// Spin polls until f is not zero, for as long as a waiter would before it yields,
// but not so long that other goroutines would miss the NIC.
func (e Engine) Spin(f *atomic.Uint32) {
	for i := min(e.c.wait.Spin*e.c.wait.Polls, maxSpin); i > 0 && f.Load() == 0; i-- {
		e.c.poll()
	}
}

const maxSpin = 64 // polls, about a microsecond

// Attach sets what runs at the end of a poll in which something completed, or before which Again was called, and what is told
// when a peer sends to an endpoint that no queue pair has opened. afterPoll returns how long the NIC may be left alone if
// nothing arrives; 0 is no limit.
func (e Engine) Attach(afterPoll func() (nap time.Duration), knock func(endpoint int)) {
	e.c.hook, e.c.knock = afterPoll, knock
}

// Again has the runtime run at the end of the next poll, whatever arrives.
func (e Engine) Again() { e.c.again = true }

// Ring wakes whoever sleeps on the NIC. It may be called without the lock.
func (e Engine) Ring() { e.c.port.Ring() }

// Progressed tells the engine that something completed for a host goroutine
// that may be asleep.
func (e Engine) Progressed() { e.c.progressed = true }

// CreateQP makes a queue pair at a given endpoint of the fabric. Its direct accesses are not ordered behind its
// sends: the runtime orders what needs order.
func (e Engine) CreateQP(pd *PD, in QPInit, endpoint int) (*QP, error) {
	in.endpoint, in.engine = endpoint, true
	return e.c.createQP(pd, in)
}

// Modify, PostSend, RegMR and DeregMR do what the methods of QP, Context and MR do.
func (e Engine) Modify(q *QP, a QPAttr, mask AttrMask) error { return q.modify(a, mask) }

func (e Engine) PostSend(q *QP, wr *SendWR) error {
	if err := q.postSend(wr); err != nil {
		return err
	}
	return nil
}

func (e Engine) RegMR(pd *PD, buf []byte, a Access) (*MR, error) { return e.c.regMR(pd, buf, a) }
func (e Engine) DeregMR(m *MR) error                             { return e.c.deregMR(m) }

// TakeCQ moves completions out of a queue without running the NIC.
func (e Engine) TakeCQ(q *CQ, wcs []WC) int { return q.take(wcs) }

// SendNow sends a message of one packet, a followed by b, at once and without
// a completion. It returns false if the wire has no room, requests wait
// before it, or the queue pair is not in RTS; nothing is sent then.
// len(a)+len(b) is at most the path MTU; both may be reused on return.
func (e Engine) SendNow(q *QP, a, b []byte) bool {
	if q.state != RTS || q.sq.next != q.sq.head {
		return false
	}
	h := &e.c.header
	*h = fabric.Header{Op: opSend, Flags: flagFirst | flagLast}
	if !q.conn.Send(h, a, b) {
		return false
	}
	q.sq.messages++
	return true
}

// State and Direct tell about a queue pair: its state, and whether one-sided operations reach the peer's memory
// without its help.
func (e Engine) State(q *QP) State { return q.state }
func (e Engine) Direct(q *QP) bool { return q.direct != nil }

// Fail moves the queue pair to ERR.
func (e Engine) Fail(q *QP, why string) { q.fail(RetryExcErr, why) }
