package mpi

import (
	"context"
	"errors"

	"outboard/collectives"
	"outboard/nicrt"
	"outboard/verbs"
)

// The collective operations of this file run on the NIC as schedules: all
// ranks of the communicator call the same one, in the same order, with sizes that fit
// together (MPI 4.1, 6.1). A call returns when this rank's part is done and its
// buffers may be used again.
//
// Errors of all: ErrCount if the two buffers' lengths do not fit each other (a disagreement between ranks is found when the
// messages meet, and fails the communicator), ErrBuffer if they overlap in part, ErrRank for the root,
// ErrFreed, ErrProcFailed, ErrAborted when another rank's part failed.
//
// Ranks that call different operations, or name different roots, break the rules of MPI too. Mostly that is found as a
// disagreement, but ranks may come to wait for each other for ever, or end without noticing: a context (see
// Comm.With) ends the wait on all.

// Barrier returns when all ranks have called it (MPI 4.1, 6.3).
func (c *Comm) Barrier() error {
	const op = "Barrier"
	if err := c.check(op); err != nil {
		return err
	}
	return c.run(op, barrierKey, nil, nil, nil)
}

var barrierKey = planKey{kind: collectives.Barrier, elem: 1, commutative: true}

// Bcast sends buf of rank root to all (MPI 4.1, 6.4).
func Bcast[T Number](c *Comm, buf []T, root int) error {
	const op = "Bcast"
	if err := c.checkRoot(op, root, len(buf)); err != nil {
		return err
	}
	return c.run(op, planKey{kind: collectives.Bcast, root: root, count: len(buf), elem: sizeOf[T](), commutative: true}, nil, verbs.Bytes(buf), nil)
}

// Reduce combines the ranks' send buffers, element by element, into recv of rank root (MPI 4.1, 6.9.1). On
// the other ranks recv is not used and may be nil. On the root it may be the same slice as send.
func Reduce[T Number](c *Comm, send, recv []T, op Op, root int) error {
	const name = "Reduce"
	if err := c.checkRoot(name, root, len(send)); err != nil {
		return err
	}
	key := planKey{kind: collectives.Reduce, root: root, count: len(send), elem: sizeOf[T](), commutative: op.commutative()}
	in, out := verbs.Bytes(send), []byte(nil)
	if c.rank == root {
		if len(recv) != len(send) {
			return c.countErr(name, len(recv), len(send))
		}
		var err error
		if in, out, key.inPlace, err = c.inPlace(name, in, verbs.Bytes(recv)); err != nil {
			return err
		}
	}
	kernel, err := kernelFor[T](op)
	if err != nil {
		return c.errorf(name, err, "")
	}
	return c.run(name, key, in, out, kernel)
}

// Allreduce combines the ranks' send buffers, element by element, into recv of every rank (MPI 4.1, 6.9.6). All
// ranks get the same bits. recv may be the same slice as send.
func Allreduce[T Number](c *Comm, send, recv []T, op Op) error {
	const name = "Allreduce"
	if err := c.checkCount(name, len(send)); err != nil {
		return err
	}
	if len(recv) != len(send) {
		return c.countErr(name, len(recv), len(send))
	}
	in, out, inPlace, err := c.inPlace(name, verbs.Bytes(send), verbs.Bytes(recv))
	if err != nil {
		return err
	}
	kernel, err := kernelFor[T](op)
	if err != nil {
		return c.errorf(name, err, "")
	}
	key := planKey{kind: collectives.Allreduce, count: len(send), elem: sizeOf[T](), commutative: op.commutative(), inPlace: inPlace}
	return c.run(name, key, in, out, kernel)
}

// AllreduceInPlace is Allreduce with one buffer for both.
func AllreduceInPlace[T Number](c *Comm, buf []T, op Op) error { return Allreduce(c, buf, buf, op) }

// Gather collects the ranks' send buffers, in the order of ranks, in recv of rank root (MPI 4.1, 6.5): Size times as
// long as send. On the other ranks recv is not used and may be nil.
func Gather[T Number](c *Comm, send, recv []T, root int) error {
	const name = "Gather"
	if err := c.checkRoot(name, root, len(send)); err != nil {
		return err
	}
	out := []byte(nil)
	if c.rank == root {
		if len(recv) != len(send)*c.Size() {
			return c.countErr(name, len(recv), len(send)*c.Size())
		}
		if out = verbs.Bytes(recv); sharesMemory(verbs.Bytes(send), out) {
			return c.errorf(name, ErrBuffer, "send and receive buffer share memory")
		}
	}
	return c.run(name, planKey{kind: collectives.Gather, root: root, count: len(send), elem: sizeOf[T](), commutative: true}, verbs.Bytes(send), out, nil)
}

// Scatter deals send of rank root, in the order of ranks, into the ranks' recv (MPI 4.1, 6.6): send is Size times as
// long as recv. On the other ranks send is not used and may be nil.
func Scatter[T Number](c *Comm, send, recv []T, root int) error {
	const name = "Scatter"
	if err := c.checkRoot(name, root, len(recv)); err != nil {
		return err
	}
	in := []byte(nil)
	if c.rank == root {
		if len(send) != len(recv)*c.Size() {
			return c.countErr(name, len(send), len(recv)*c.Size())
		}
		if in = verbs.Bytes(send); sharesMemory(in, verbs.Bytes(recv)) {
			return c.errorf(name, ErrBuffer, "send and receive buffer share memory")
		}
	}
	return c.run(name, planKey{kind: collectives.Scatter, root: root, count: len(recv), elem: sizeOf[T](), commutative: true}, in, verbs.Bytes(recv), nil)
}

// Allgather collects the ranks' send buffers, in the order of ranks, in recv of every rank (MPI 4.1, 6.7): Size times as long as send.
func Allgather[T Number](c *Comm, send, recv []T) error {
	return c.exchange("Allgather", collectives.Allgather, verbs.Bytes(send), verbs.Bytes(recv), len(send), len(recv), len(send)*c.sizeOr1(), sizeOf[T](), len(send))
}

// Alltoall sends the i-th of Size equal blocks of send to rank i, and receives rank i's block for
// this one into the i-th block of recv (MPI 4.1, 6.8).
func Alltoall[T Number](c *Comm, send, recv []T) error {
	if err := c.checkCount("Alltoall", len(send)/c.sizeOr1()); err != nil {
		return err
	}
	if len(send)%c.Size() != 0 {
		return c.errorf("Alltoall", ErrCount, "%d elements to send: expected a multiple of the %d ranks", len(send), c.Size())
	}
	return c.exchange("Alltoall", collectives.Alltoall, verbs.Bytes(send), verbs.Bytes(recv), len(send), len(recv), len(send), sizeOf[T](), len(send)/c.Size())
}

// exchange runs a collective without root, operator or in-place form.
func (c *Comm) exchange(name string, kind collectives.Kind, in, out []byte, nsend, nrecv, want, elem, count int) error {
	if err := c.checkCount(name, count); err != nil {
		return err
	}
	if nrecv != want {
		return c.countErr(name, nrecv, want)
	}
	if sharesMemory(in, out) {
		return c.errorf(name, ErrBuffer, "send and receive buffer share memory")
	}
	return c.run(name, planKey{kind: kind, count: count, elem: elem, commutative: true}, in, out, nil)
}

func (c *Comm) sizeOr1() int {
	if c == nil || c.comm == nil {
		return 1
	}
	return c.Size()
}

func sharesMemory(a, b []byte) bool {
	same, partial := overlap(a, b)
	return same || partial
}

// inPlace turns equal buffers into an in-place operation and refuses partial overlap.
func (c *Comm) inPlace(op string, in, out []byte) (in2, out2 []byte, inPlace bool, err error) {
	same, partial := overlap(in, out)
	if partial {
		return nil, nil, false, c.errorf(op, ErrBuffer, "send and receive buffer overlap in part: expected the same or separate ones")
	}
	if same {
		return nil, out, true, nil
	}
	return in, out, false, nil
}

func (c *Comm) countErr(op string, got, want int) error {
	e := c.errorf(op, ErrCount, "receive buffer and send buffer do not fit: %d elements, expected %d", got, want)
	e.Count = got
	return e
}

// checkCount is check for an operation on so many elements.
func (c *Comm) checkCount(op string, count int) error {
	err := c.check(op)
	if e, ok := err.(*Error); ok {
		e.Count = count
	}
	return err
}

func (c *Comm) checkRoot(op string, root, count int) error {
	if err := c.checkCount(op, count); err != nil {
		return err
	}
	if root < 0 || root >= len(c.ranks) {
		e := c.errorf(op, ErrRank, "root %d: expected 0 to %d", root, len(c.ranks)-1)
		e.Count = count
		return e
	}
	return nil
}

// run runs one collective and waits for it.
func (c *Comm) run(op string, key planKey, in, out []byte, kernel func(dst, src []byte)) error {
	if key.count == 0 {
		// Nothing to move, but a rank that has something must not wait for this one for ever: it finds
		// that the sizes disagree.
		key = barrierKey
	}
	plan, err := c.plans.get(c.comm, key)
	if err != nil {
		return c.errorf(op, err, "")
	}
	nic := c.p.nic
	nic.Lock()
	done := c.spare
	if c.spare = nil; done == nil {
		done = new(nicrt.Completion)
	}
	err = c.group.Start(plan, in, out, kernel, done)
	if err == nil {
		nic.SpinRun(done)
		if done.Done() && done.Err() == nil {
			c.spare = done
			nic.Unlock()
			return nil
		}
	}
	nic.Unlock()
	if err == nil {
		if err := nic.WaitRun(c.ctx, done); err != nil {
			c.giveUp(done, err)
		}
	}
	if err == nil {
		err = done.Err()
	}
	nic.Lock()
	c.spare = done
	nic.Unlock()
	if err == nil {
		return nil
	}
	return c.collectiveErr(op, key, err)
}

// giveUp ends a collective whose wait is over: the communicator fails, on all ranks.
func (c *Comm) giveUp(done *nicrt.Completion, err error) {
	p := c.p
	p.nic.Lock()
	p.mu.Lock()
	if !done.Done() {
		p.revoke(c.comm, because(ErrAborted, err))
	}
	p.mu.Unlock()
	p.nic.Unlock()
	p.nic.WaitRun(context.Background(), done)
}

// collectiveErr explains why a run failed. The communicator has failed with it: its ranks no longer agree on what comes next.
func (c *Comm) collectiveErr(op string, key planKey, err error) error {
	count := key.count
	if key.kind == collectives.Barrier {
		count = -1
	}
	if why := c.brokenBy(err); why != nil {
		e := c.brokenErr(op, why)
		e.Count = count
		return e
	}
	e := c.errorf(op, err, "")
	e.Count = count
	var run *nicrt.RunError
	if errors.As(err, &run) {
		e.Peer = run.Peer
	}
	switch {
	case errors.Is(err, nicrt.ErrAborted):
		e.Err = because(ErrAborted, err)
	case errors.Is(err, nicrt.ErrMessage):
		e.Err = because(ErrCount, err)
	}
	p := c.p
	p.nic.Lock()
	defer p.nic.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.revoke(c.comm, e)
	return e
}
