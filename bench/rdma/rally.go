package rdma

import (
	"fmt"

	"outboard/verbs"
)

// A rally measures latency: each side answers the other, or rank 0 waits for one request after the other. What lies between the
// sight of a message and the post of the answer counts, so there is as little as possible.
type rally struct {
	*link
	qp     *verbs.QP
	wrs    []verbs.SendWR
	flags  verbs.SendFlags
	alone  bool   // only rank 0 posts
	every  int    // requests to each that is signaled
	until  int    // requests to the next that is signaled
	total  uint64 // requests posted
	asked  uint64 // the last that was signaled
	reaped uint64 // the last that is known to be complete
	watch  watch  // the last byte of the memory that the peer writes
}

func newRally(l *link) *rally {
	wrs := l.request(0)
	r := &rally{
		link: l, qp: l.qps[0], wrs: wrs, flags: wrs[0].Flags, alone: !l.active(1), every: l.moderation(),
		watch: watchByte(l.at(&l.open, 0), l.size-1),
	}
	if r.alone {
		r.every = 1 // each is waited for
	}
	r.until = r.every
	return r
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
		err = r.solo(count)
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
	return nil
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
	return nil
}

// solo is rank 0 at work and rank 1 at rest.
func (r *rally) solo(count int) error {
	for range count {
		if r.rank == 1 {
			r.total++
			continue
		}
		r.wrs[0].Compare, r.wrs[0].Swap = r.total, r.total+1
		if err := r.post(); err != nil {
			return err
		}
	}
	return nil
}

// post posts the request, signaled if it is its turn, and then waits for its completion, while the answer is under way.
func (r *rally) post() error {
	r.total++
	wr := &r.wrs[0]
	wr.ID, wr.Flags = r.total, r.flags
	if r.until--; r.until > 0 {
		return r.qp.PostSend(r.wrs...)
	}
	wr.Flags |= verbs.Signaled
	r.until, r.asked = r.every, r.total
	if err := r.qp.PostSend(r.wrs...); err != nil {
		return err
	}
	return r.reap()
}

// reap waits for the completion of the last signaled request.
func (r *rally) reap() error {
	for idle := 0; r.reaped < r.asked; idle++ {
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

// brokenError is a queue pair that left RTS while the peer was awaited.
type brokenError struct {
	qpn   uint32
	state verbs.State
}

func (e *brokenError) Error() string {
	return fmt.Sprintf("queue pair %#x is in %v while the peer is awaited, want RTS", e.qpn, e.state)
}
