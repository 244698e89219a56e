package verbs

import (
	"strings"

	"outboard/verbs/internal/ib"
)

// CounterOps are kinds of operations that are counted, with the numbers of ibv_qp_attach_comp_cntr_op.
type CounterOps uint32

const (
	CountSend        CounterOps = 1 << iota // SENDs of this queue pair
	CountRecv                               // receives that it completes, those of an SRQ included
	CountRead                               // its READs and atomics
	CountRemoteRead                         // the READs and atomics of the peer that it has answered
	CountWrite                              // its RDMA WRITEs
	CountRemoteWrite                        // the RDMA WRITEs of the peer, with and without immediate, that it has executed

	numCounterOps = iota
	countRemote   = CountRemoteRead | CountRemoteWrite
	allCounterOps = CounterOps(1<<numCounterOps - 1)
)

var counterOpText = [numCounterOps]string{"SEND", "RECV", "RDMA_READ", "REMOTE_RDMA_READ", "RDMA_WRITE", "REMOTE_RDMA_WRITE"}

func (o CounterOps) String() string {
	var parts []string
	for i, t := range counterOpText {
		if o&(1<<i) != 0 {
			parts = append(parts, t)
		}
	}
	return strings.Join(parts, "|")
}

// attachedCounters are the counters of a queue pair, by the bit of their CounterOps.
type attachedCounters [numCounterOps]*Counter

// AttachCounter has the completions of some kinds of operations counted, signaled or not (ibv_qp_attach_comp_cntr). One counter may
// count for several queue pairs; each kind of a queue pair is counted by one counter at most. Local operations, such as WAIT, are
// not counted. A counter stays attached until the queue pair is destroyed.
//
// Counting what the peer does takes this side's part in each of its operations: they go by packets, and not by direct
// access to the memory of this side. What is refused is no completion and is not counted.
//
// ErrState unless the queue pair is in RESET or INIT, ErrBusy if one of the kinds is counted already.
func (q *QP) AttachCounter(k *Counter, ops CounterOps) error {
	const op = "qp_attach_comp_cntr"
	q.ctx.mu.Lock()
	defer q.ctx.mu.Unlock()
	switch {
	case q.dead:
		return opErr(op, q.name(), ErrDestroyed, "destroyed")
	case !k.liveIn(q.ctx):
		return opErr(op, q.name(), ErrInvalid, "counter is not a live one of this context")
	case ops == 0 || ops&^allCounterOps != 0:
		return opErr(op, q.name(), ErrInvalid, "op_mask %#x: expected some of %#x", uint32(ops), uint32(allCounterOps))
	case q.state > Init:
		return opErr(op, q.name(), ErrState, "state %v: expected RESET or INIT", q.state)
	case ops&countRemote != 0 && (q.init.engine || q.init.Sink != nil):
		return opErr(op, q.name(), ErrInvalid, "%v: a queue pair with a sink does not see them", ops&countRemote)
	}
	if both := q.counted() & ops; both != 0 {
		return opErr(op, q.name(), ErrBusy, "%v: counted already", both)
	}
	if q.counters == nil {
		q.counters = new(attachedCounters)
	}
	for i := range q.counters {
		if ops&(1<<i) != 0 {
			q.counters[i] = k
			k.attached++
		}
	}
	if ops&countRemote != 0 {
		q.usePackets()
	}
	return nil
}

// counted are the kinds of operations that are counted.
func (q *QP) counted() (ops CounterOps) {
	if q.counters == nil {
		return 0
	}
	for i, k := range q.counters {
		if k != nil {
			ops |= 1 << i
		}
	}
	return ops
}

// detachCounters lets the counters of a queue pair that is destroyed go.
func (q *QP) detachCounters() {
	if q.counters == nil {
		return
	}
	for _, k := range q.counters {
		if k != nil {
			k.attached--
		}
	}
	q.counters = nil
}

// count counts a completion of a kind.
func (a *attachedCounters) count(op CounterOps, st Status) {
	for i, k := range a {
		if k != nil && op&(1<<i) != 0 {
			k.count(st)
		}
	}
}

// counterOp is the kind of a request, 0 for a local operation.
func (o Opcode) counterOp() CounterOps {
	switch {
	case o.has(opReplies):
		return CountRead
	case o.has(opRemote):
		return CountWrite
	case o.has(opTakesReceive):
		return CountSend
	}
	return 0
}

// countAnswer counts a READ or atomic of the peer once the last packet of its answer, which has a PSN, is on the wire: once,
// however often it is answered.
func (q *QP) countAnswer(psn uint32) {
	for i := range q.wire.saved {
		if s := &q.wire.saved[i]; !s.counted && psnsBetween(s.psn, psn) == s.psns-1 {
			s.counted = true
			q.counters.count(CountRemoteRead, Success)
		}
	}
}

// lastPSN is the PSN of the last packet of an answer that is on the wire.
func (r *reply) lastPSN() uint32 {
	if r.atomic {
		return r.psn
	}
	return ib.PSNAdd(r.psn, -1)
}
