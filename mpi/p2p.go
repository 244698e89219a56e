package mpi

import (
	"context"
	"errors"
	"fmt"
	"math"

	"outboard/nicrt"
	"outboard/tagmatch"
	"outboard/tagmatch/unit"
	"outboard/verbs"
)

const (
	// AnySource and AnyTag as the source and tag of a receive or probe accept every one (MPI 4.1, 3.2.4).
	AnySource = -1
	AnyTag    = -1
	// MaxTag is the largest tag.
	MaxTag = math.MaxInt32
)

// A Status tells of a message received or probed (MPI 4.1, 3.2.5).
type Status struct {
	Source, Tag int
	// Bytes is the length of the whole message, also if the receive's buffer was shorter.
	Bytes int
}

// Count is the length of the message in elements of type T. It reports false
// if the message is not a whole number of them.
func Count[T Number](st Status) (int, bool) {
	n := sizeOf[T]()
	return st.Bytes / n, st.Bytes%n == 0
}

// Send sends buf to rank dst (MPI 4.1, 3.2.1). It returns when buf may be used
// again, which for a short message is at once and for a long one when dst has received it.
//
// Errors: ErrRank, ErrTag, ErrFreed, ErrProcFailed, or the error of the context of the view (see Comm.With).
func Send[T Number](c *Comm, buf []T, dst, tag int) error {
	return c.send("Send", verbs.Bytes(buf), dst, tag, len(buf))
}

// Recv receives into buf a message from rank src with the given tag; AnySource and AnyTag accept every one (MPI 4.1, 3.2.4). The message may be shorter than buf; the
// Status says how long it was.
//
// Errors: those of Send; ErrTruncate if the message is longer than buf, which then
// holds its beginning.
func Recv[T Number](c *Comm, buf []T, src, tag int) (Status, error) {
	return c.recv("Recv", verbs.Bytes(buf), src, tag, len(buf))
}

// Sendrecv sends one message and receives another, which may be between
// different ranks, without the risk of deadlock (MPI 4.1, 3.10). The buffers must not overlap.
func Sendrecv[T, U Number](c *Comm, send []T, dst, sendTag int, recv []U, src, recvTag int) (Status, error) {
	const op = "Sendrecv"
	if sharesMemory(verbs.Bytes(send), verbs.Bytes(recv)) {
		return Status{}, c.errorf(op, ErrBuffer, "send and receive buffer share memory")
	}
	if err := c.checkPeer(op, dst, sendTag, len(send), 0); err != nil {
		return Status{}, err // before a message can have come for the receive
	}
	r, err := c.irecv(op, verbs.Bytes(recv), src, recvTag, len(recv), 0)
	if err != nil {
		return Status{}, err
	}
	if err := c.send(op, verbs.Bytes(send), dst, sendTag, len(send)); err != nil {
		r.drop()
		return Status{}, err
	}
	return r.finish(c.ctx, true)
}

// checkPeer checks the arguments of an operation with another rank.
func (c *Comm) checkPeer(op string, peer, tag, count, least int) error {
	if err := c.check(op); err != nil {
		return err
	}
	if peer < least || peer >= len(c.ranks) {
		err := c.errorf(op, ErrRank, "rank %d: expected %d to %d", peer, least, len(c.ranks)-1)
		err.Tag, err.Count = tag, count
		return err
	}
	if tag < least || tag > MaxTag {
		err := c.errorf(op, ErrTag, "tag %d: expected %d to %d", tag, least, MaxTag)
		err.Peer, err.Count = peer, count
		return err
	}
	return nil
}

// peerErr makes the error of an operation with another rank.
func (c *Comm) peerErr(op string, cause error, peer, tag, count int) error {
	if cause == nil {
		return nil
	}
	e := c.errorf(op, cause, "")
	e.Peer, e.Tag, e.Count = peer, tag, count
	if errors.Is(cause, unit.ErrTruncate) {
		e.Err = ErrTruncate
	}
	if errors.Is(cause, nicrt.ErrClosed) {
		e.Err = ErrInit
	}
	if why := c.brokenBy(cause); why != nil {
		e.Err = why
		if r := culprit(why); r >= 0 {
			e.Peer = r
		}
	}
	return e
}

func (c *Comm) send(op string, b []byte, dst, tag, count int) error {
	if err := c.checkPeer(op, dst, tag, count, 0); err != nil {
		return err
	}
	p := c.p
	k := tagmatch.Key{Ctx: c.id, Source: int32(c.rank), Tag: int32(tag)}
	p.nic.Lock()
	if len(b) <= p.unit.EagerMax() && p.unit.TrySend(c.ranks[dst], k, b) {
		p.nic.Unlock()
		return nil
	}
	o := p.getOp()
	p.unit.Send(o, c.ranks[dst], k, b)
	p.nic.Spin(&o.Done)
	p.nic.Unlock()
	if err := p.nic.Wait(c.ctx, &o.Done); err != nil {
		p.nic.Lock()
		abandoned := o.Done.Load() == 0 && p.unit.Abandon(o)
		p.nic.Unlock()
		if abandoned {
			return c.peerErr(op, err, dst, tag, count)
		}
	}
	p.nic.Lock()
	sent := p.received(o)
	p.nic.Unlock()
	return c.peerErr(op, sent.err, dst, tag, count)
}

func (c *Comm) recv(op string, b []byte, src, tag, count int) (Status, error) {
	if err := c.checkPeer(op, src, tag, count, -1); err != nil {
		return Status{}, err
	}
	p := c.p
	p.nic.Lock()
	o := p.getOp()
	err := p.unit.Recv(o, tagmatch.Key{Ctx: c.id, Source: int32(src), Tag: int32(tag)}, b)
	if err == nil {
		p.nic.Spin(&o.Done)
	}
	if err != nil || o.Done.Load() != 0 {
		st := p.received(o)
		p.nic.Unlock()
		return st.status(c, op, err, src, tag, count)
	}
	p.nic.Unlock()
	if err := p.nic.Wait(c.ctx, &o.Done); err != nil {
		c.takeBack(o, err)
	}
	p.nic.Lock()
	st := p.received(o)
	p.nic.Unlock()
	return st.status(c, op, nil, src, tag, count)
}

// outcome is what a blocking receive leaves.
type outcome struct {
	st  Status
	err error
}

// received takes the outcome of an operation that is over and the operation back. The caller holds the NIC's lock.
func (p *proc) received(o *unit.Op) outcome {
	r := outcome{Status{Source: int(o.Source), Tag: int(o.Tag), Bytes: o.Len}, o.Err}
	p.putOp(o)
	return r
}

func (r outcome) status(c *Comm, op string, err error, src, tag, count int) (Status, error) {
	if err == nil {
		err = r.err
	}
	if err == nil {
		return r.st, nil
	}
	err = c.peerErr(op, err, src, tag, count)
	var e *Error
	if errors.Is(err, ErrTruncate) && errors.As(err, &e) {
		e.Info = fmt.Sprintf("the message has %d bytes", r.st.Bytes)
	}
	return r.st, err
}

// takeBack ends a receive whose wait is over: it is cancelled with err or, if a message
// has matched it, waited for.
func (c *Comm) takeBack(o *unit.Op, err error) {
	p := c.p
	p.nic.Lock()
	p.unit.Cancel(o, err)
	p.nic.Unlock()
	p.nic.Wait(context.Background(), &o.Done)
}

// getOp and putOp keep one operation for the next blocking call. The caller holds the NIC's lock.
func (p *proc) getOp() *unit.Op {
	if o := p.spare; o != nil {
		p.spare = nil
		return o
	}
	return new(unit.Op)
}

func (p *proc) putOp(o *unit.Op) { p.spare = o }

// Probe waits until a message is there that a receive with these arguments would take, and leaves it there (MPI 4.1, 3.8.1).
func (c *Comm) Probe(src, tag int) (Status, error) {
	const op = "Probe"
	var st Status
	var found bool
	if err := c.checkPeer(op, src, tag, -1, -1); err != nil {
		return st, err
	}
	k := tagmatch.Key{Ctx: c.id, Source: int32(src), Tag: int32(tag)}
	err := c.p.nic.WaitFor(c.ctx, func() bool {
		st, found = c.probe(k)
		return found || c.broken.Load() != nil || c.freed.Load()
	})
	if !found && err == nil {
		if err = ErrFreed; c.broken.Load() != nil {
			err = ErrProcFailed // or what the communicator was broken by, which peerErr knows
		}
	}
	return st, c.peerErr(op, err, src, tag, -1)
}

// Iprobe is Probe that does not wait: it reports whether there is such a message now.
func (c *Comm) Iprobe(src, tag int) (Status, bool, error) {
	if err := c.checkPeer("Iprobe", src, tag, -1, -1); err != nil {
		return Status{}, false, err
	}
	c.p.nic.Lock()
	defer c.p.nic.Unlock()
	c.p.nic.Poll()
	st, found := c.probe(tagmatch.Key{Ctx: c.id, Source: int32(src), Tag: int32(tag)})
	return st, found, nil
}

// probe looks at the messages that wait; the caller holds the NIC's lock.
func (c *Comm) probe(k tagmatch.Key) (Status, bool) {
	e, ok, _ := c.p.unit.Probe(k)
	return Status{Source: int(e.Source), Tag: int(e.Tag), Bytes: e.Len}, ok
}
