package rdma

import (
	"outboard/verbs"
)

// A rally measures latency: each side answers the other, or rank 0 waits for one request after the other.
type rally struct {
	*link
	qp     *verbs.QP
	wrs    []verbs.SendWR
	flags  verbs.SendFlags
	every  uint64
	total  uint64 // requests posted
	reaped uint64 // of which it is known that they are complete
	watch  watch  // the last byte of the memory that the peer writes
}

func newRally(l *link) *rally {
	wrs := l.request(0)
	return &rally{
		link: l, qp: l.qps[0], wrs: wrs, flags: wrs[0].Flags, every: uint64(l.moderation()),
		watch: watchByte(l.at(&l.open, 0), l.size-1),
	}
}

func (r *rally) posted() uint64 { return r.total }

func (r *rally) run(count int) (float64, error) {
	elapsed := clock()
	var err error
	switch r.op.opcode {
	case verbs.Write:
		err = r.writes(count)
	case verbs.Send:
		err = r.sends(count)
	default:
		err = r.alone(count)
		return elapsed(), err
	}
	return elapsed() / 2, err
}

// writes is a ping-pong of writes, each of which bears its number, modulo 256, in the last byte.
func (r *rally) writes(count int) error {
	last := &r.at(&r.local, 0)[r.size-1]
	for range count {
		number := byte(r.total + 1)
		if r.rank == 1 {
			if err := r.await(number); err != nil {
				return err
			}
		}
		*last = number
		if err := r.post(); err != nil {
			return err
		}
		if r.rank == 0 {
			if err := r.await(number); err != nil {
				return err
			}
		}
	}
	return r.reap(r.total)
}

// sends is a ping-pong of SENDs.
func (r *rally) sends(count int) error {
	for range count {
		if r.rank == 1 {
			if err := r.receive(); err != nil {
				return err
			}
		}
		if err := r.post(); err != nil {
			return err
		}
		if r.rank == 0 {
			if err := r.receive(); err != nil {
				return err
			}
		}
	}
	return r.reap(r.total)
}

// alone is rank 0 at work and rank 1 at rest.
func (r *rally) alone(count int) error {
	for range count {
		if !r.active(r.rank) {
			r.total++
			continue
		}
		r.wrs[0].Compare, r.wrs[0].Swap = r.total, r.total+1
		if err := r.post(); err != nil {
			return err
		}
		if err := r.reap(r.total); err != nil {
			return err
		}
	}
	return nil
}

// post posts the request, signaled if it is its turn, and then takes the completion of those before that must
// be complete by now. A request that is alone is always signaled.
func (r *rally) post() error {
	r.total++
	wr := &r.wrs[0]
	wr.ID, wr.Flags = r.total, r.flags
	signal := r.total%r.every == 0 || !r.active(1-r.rank)
	if signal {
		wr.Flags |= verbs.Signaled
	}
	if err := r.qp.PostSend(r.wrs...); err != nil {
		return err
	}
	if signal && r.active(1-r.rank) {
		return r.reap(r.total)
	}
	return nil
}

// reap waits for the completion of the last signaled request up to number n.
func (r *rally) reap(n uint64) error {
	if r.active(1 - r.rank) {
		n -= n % r.every
	}
	for idle := 0; r.reaped < n; idle++ {
		wcs, err := r.poll(r.sendCQ)
		if err != nil {
			return err
		}
		if len(wcs) > 0 {
			r.reaped = wcs[len(wcs)-1].ID
		} else {
			rest(idle)
		}
	}
	return nil
}

// receive waits for a message and posts the receive anew.
func (r *rally) receive() error {
	for idle := 0; ; idle++ {
		wcs, err := r.poll(r.recvCQ)
		if err != nil {
			return err
		}
		if len(wcs) > 0 {
			return r.postRecv(0)
		}
		rest(idle)
	}
}

// await spins until the peer's write of that number is here.
func (r *rally) await(number byte) error {
	for idle := 0; ; idle++ {
		for range spinLoads {
			if r.watch.load() == number {
				return nil
			}
		}
		if err := r.tend(); err != nil {
			return err
		}
		yield(idle)
	}
}

// tend runs the NIC once and reports a queue pair that is broken.
func (l *link) tend() error {
	if _, err := l.poll(l.sendCQ); err != nil {
		return err
	}
	for _, q := range l.qps {
		if a, _ := q.Query(); a.State != verbs.RTS {
			return &brokenError{q.QPN(), a.State}
		}
	}
	return nil
}
