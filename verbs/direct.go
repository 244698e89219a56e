package verbs

import (
	"errors"
	"fmt"

	"outboard/verbs/fabric"
)

// runDirect executes w by reaching into the peer's memory. It returns false if w cannot go on
// now, or failed. It sets w.moved, or w.packets if the memory must be reached by packets.
func (q *QP) runDirect(w *wqe) bool {
	if q.sq.reads > 0 || !q.init.engine && q.conn.Acked() != q.conn.Sent() {
		return false // the peer executes in order: what is on the wire comes first
	}
	g := q.conn.PeerGrant()
	if !g.Ready {
		return false
	}
	need := neededRight(w.wr.Opcode)
	if st, why := checkRequest(w.wr.RemoteAddr, need, Access(g.Access)); st != Success {
		return q.failDirect(st, why)
	}
	if w.length == 0 {
		w.moved = true
		return true
	}
	r := &q.ctx.region
	var ok bool
	if *r, ok = q.direct.Enter(w.wr.RKey); !ok {
		if !q.conn.PeerGrant().Ready {
			return false // the peer is leaving, and its keys went first
		}
		return q.failDirect(RemAccessErr, noRegion(w.wr.RKey))
	}
	defer q.direct.Leave()
	if st, why := checkRegion(r, g.PD, q.attr.DestQPN, need, w.wr.RemoteAddr, uint64(w.length)); st != Success {
		return q.failDirect(st, why)
	}
	return q.movedDirect(w, q.moveDirect(w, r))
}

// movedDirect handles the outcome of moveDirect.
func (q *QP) movedDirect(w *wqe, err error) bool {
	switch {
	case err == nil:
		w.moved = true
		return true
	case errors.Is(err, fabric.ErrRefused):
		w.packets = true
		return true
	case errors.Is(err, fabric.ErrPeerDied), errors.Is(err, fabric.ErrPeerClosed):
		return q.failInTurn(RetryExcErr, err.Error())
	}
	return q.failDirect(RemOpErr, err.Error())
}

func (q *QP) moveDirect(w *wqe, r *fabric.Region) error {
	addr := w.wr.RemoteAddr
	if w.wr.Opcode.has(opAtomic) {
		old, err := q.atomicDirect(r, atomicOf(&w.wr), addr)
		if err == nil {
			q.ctx.scatter64(w.wr.SG, old)
		}
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

// failDirect reports a refused access to both sides.
func (q *QP) failDirect(st Status, why string) bool {
	if q.failInTurn(st, why); q.state == Err {
		q.rx.nak, q.rx.nakOp = st, msgFault
		q.respond()
		if q.rx.pending() {
			q.wake()
		}
	}
	return false
}

// atomicDirect executes an atomic in the peer's memory and returns the value before.
func (q *QP) atomicDirect(r *fabric.Region, a atomicArgs, addr uint64) (old uint64, err error) {
	switch a.op {
	case FetchAdd:
		return q.direct.FetchAdd(r, addr, a.swapAdd)
	case CompareSwap:
		return q.direct.CompareSwap(r, addr, a.compare, a.swapAdd)
	}
	for old = 0; ; {
		found, err := q.direct.CompareSwap(r, addr, old, a.next(old))
		if err != nil || found == old {
			return old, err
		}
		old = found
	}
}

// neededRight is the remote right that an operation on the peer's memory takes.
func neededRight(o Opcode) Access {
	switch {
	case o == Read:
		return RemoteRead
	case o.has(opAtomic):
		return RemoteAtomic
	}
	return RemoteWrite
}

// checkRequest checks an access before its key is looked up: a queue pair without the right, and a
// misaligned atomic, make an invalid request (IBTA 9.9.3.1: a function not supported by this queue pair).
func checkRequest(addr uint64, need, rights Access) (Status, string) {
	switch {
	case rights&need == 0:
		return RemInvReqErr, fmt.Sprintf("queue pair with access %v: the request needs %v", rights&qpRights, need)
	case need == RemoteAtomic && addr%8 != 0:
		return RemInvReqErr, fmt.Sprintf("atomic at %#x: expected a multiple of 8", addr)
	}
	return Success, ""
}

// checkRegion checks n bytes at addr against the region or window that the remote key names, for a queue pair of the responder.
func checkRegion(r *fabric.Region, pd, qpn uint32, need Access, addr, n uint64) (Status, string) {
	only := r.Access >> accessQPN
	switch {
	case r.PD != pd:
		return RemAccessErr, fmt.Sprintf("rkey %#x is of PD %d, the queue pair of PD %d", r.Key, r.PD, pd)
	case only != 0 && only != qpn:
		return RemAccessErr, fmt.Sprintf("rkey %#x is for QP %#x, the request is to QP %#x", r.Key, only, qpn)
	case Access(r.Access)&need != need:
		return RemAccessErr, fmt.Sprintf("rkey %#x with access %v: the request needs %v", r.Key, Access(r.Access&(1<<accessQPN-1)), need)
	case addr < r.Base || n > r.Len || addr-r.Base > r.Len-n:
		return RemAccessErr, fmt.Sprintf("%d bytes at %#x are outside those of rkey %#x, %d bytes at %#x", n, addr, r.Key, r.Len, r.Base)
	}
	return Success, ""
}

func noRegion(key uint32) string {
	return fmt.Sprintf("no region with remote rights and no bound window has rkey %#x", key)
}
