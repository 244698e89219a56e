package mpi

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"outboard/tagmatch"
	"outboard/tagmatch/unit"
	"outboard/verbs"
)

// A Request is a non-blocking send or receive in flight (MPI 4.1, 3.7). Its buffer
// belongs to it until Wait or Test has reported the end: a send buffer must not
// be changed, a receive buffer not touched. Every request must be waited for; Finalize lists those
// that were not.
type Request struct {
	c     *Comm
	op    unit.Op
	name  string // Isend, Irecv
	recv  bool
	peer  int
	tag   int
	count int
	where uintptr     // caller of Isend or Irecv
	buf   []byte      // keeps the buffer from the garbage collector
	over  atomic.Bool // Wait or Test has reported the end

	next, prev *Request // in the proc's list; guarded by proc.mu
}

// requestList is the requests that have not been waited for.
type requestList struct{ first *Request }

func (l *requestList) add(r *Request) {
	if r.next = l.first; r.next != nil {
		r.next.prev = r
	}
	l.first = r
}

func (l *requestList) remove(r *Request) {
	if r.next != nil {
		r.next.prev = r.prev
	}
	if r.prev != nil {
		r.prev.next = r.next
	} else {
		l.first = r.next
	}
	r.next, r.prev = nil, nil
}

// all calls yield for each request until it returns false.
func (l *requestList) all(yield func(*Request) bool) {
	for r := l.first; r != nil && yield(r); r = r.next {
	}
}

// Isend starts to send buf to rank dst (MPI 4.1, 3.7.2).
func Isend[T Number](c *Comm, buf []T, dst, tag int) (*Request, error) {
	var where [1]uintptr
	runtime.Callers(2, where[:])
	return c.isend("Isend", verbs.Bytes(buf), dst, tag, len(buf), where[0])
}

// Irecv starts to receive into buf (MPI 4.1, 3.7.2). See Recv.
func Irecv[T Number](c *Comm, buf []T, src, tag int) (*Request, error) {
	var where [1]uintptr
	runtime.Callers(2, where[:])
	return c.irecv("Irecv", verbs.Bytes(buf), src, tag, len(buf), where[0])
}

func (c *Comm) newRequest(name string, b []byte, peer, tag, count int, where uintptr) *Request {
	r := &Request{c: c, name: name, peer: peer, tag: tag, count: count, where: where, buf: b}
	p := c.p
	p.mu.Lock()
	p.requests.add(r)
	p.mu.Unlock()
	return r
}

func (c *Comm) isend(name string, b []byte, dst, tag, count int, where uintptr) (*Request, error) {
	if err := c.checkPeer(name, dst, tag, count, 0); err != nil {
		return nil, err
	}
	r := c.newRequest(name, b, dst, tag, count, where)
	p := c.p
	p.nic.Lock()
	p.unit.Send(&r.op, c.ranks[dst], tagmatch.Key{Ctx: c.id, Source: int32(c.rank), Tag: int32(tag)}, b)
	p.nic.Unlock()
	return r, nil
}

func (c *Comm) irecv(name string, b []byte, src, tag, count int, where uintptr) (*Request, error) {
	if err := c.checkPeer(name, src, tag, count, -1); err != nil {
		return nil, err
	}
	r := c.newRequest(name, b, src, tag, count, where)
	r.recv = true
	p := c.p
	p.nic.Lock()
	err := p.unit.Recv(&r.op, tagmatch.Key{Ctx: c.id, Source: int32(src), Tag: int32(tag)}, b)
	p.nic.Unlock()
	if err != nil {
		r.end()
		return nil, c.peerErr(name, err, src, tag, count)
	}
	return r, nil
}

// Wait waits until the operation has ended and gives its status, which for a send is empty
// (MPI 4.1, 3.7.3). When ctx, or the context of the communicator's view, ends first, Wait returns its error and the
// operation goes on: the buffer stays the request's, and Wait may be called again.
func (r *Request) Wait(ctx context.Context) (Status, error) {
	if err := r.check("Wait"); err != nil {
		return Status{}, err
	}
	if ctx == nil {
		ctx = r.c.ctx
	}
	return r.finish(ctx, false)
}

// Test reports whether the operation has ended, and if so gives its status: the request is over then.
func (r *Request) Test() (Status, bool, error) {
	if err := r.check("Test"); err != nil {
		return Status{}, false, err
	}
	if r.op.Done.Load() == 0 {
		p := r.c.p
		p.nic.Lock()
		p.nic.Poll()
		p.nic.Unlock()
		if r.op.Done.Load() == 0 {
			return Status{}, false, nil
		}
	}
	st, err := r.result()
	return st, true, err
}

// check reports a request that is nil or over.
func (r *Request) check(op string) error {
	if r == nil || r.c == nil {
		return (*Comm)(nil).errorf(op, ErrRequest, "the request is nil")
	}
	if r.over.Load() {
		return r.errorf(op, ErrRequest, "%s has been waited for before", r.describe())
	}
	return nil
}

// finish waits and takes the result. If takeBack is set, a receive whose wait is cut short is cancelled.
func (r *Request) finish(ctx context.Context, takeBack bool) (Status, error) {
	if err := r.c.p.nic.Wait(ctx, &r.op.Done); err != nil {
		if !takeBack {
			return Status{}, r.errorf("Wait", err, "%s goes on", r.describe())
		}
		r.c.takeBack(&r.op, err)
	}
	return r.result()
}

// drop ends a receive that is not wanted any more.
func (r *Request) drop() {
	r.c.takeBack(&r.op, nil)
	r.result()
}

// result takes the outcome of an operation that has ended.
func (r *Request) result() (Status, error) {
	if !r.end() {
		return Status{}, r.check("Wait") // another goroutine was faster
	}
	var st Status
	if r.recv {
		st = Status{Source: int(r.op.Source), Tag: int(r.op.Tag), Bytes: r.op.Len}
	}
	if r.op.Err != nil {
		return st, r.c.peerErr(r.name, r.op.Err, r.peer, r.tag, r.count)
	}
	return st, nil
}

// end takes the request off the list and reports whether it was there.
func (r *Request) end() bool {
	if r.over.Swap(true) {
		return false
	}
	p := r.c.p
	p.mu.Lock()
	p.requests.remove(r)
	p.mu.Unlock()
	r.buf = nil
	return true
}

func (r *Request) errorf(op string, err error, format string, args ...any) error {
	e := r.c.errorf(op, err, format, args...)
	e.Peer, e.Tag, e.Count = r.peer, r.tag, r.count
	return e
}

// describe names the request by what it is and where it was made.
func (r *Request) describe() string {
	f, _ := runtime.CallersFrames([]uintptr{r.where}).Next()
	return fmt.Sprintf("%s made at %s:%d", r.name, f.File, f.Line)
}

// WaitAll waits for all requests; nil ones count as done (MPI 4.1, 3.7.5). The error joins those of all requests that failed.
// When ctx ends first, its error is among them, and the requests that have not ended go on.
func WaitAll(ctx context.Context, reqs ...*Request) error {
	var errs []error
	for _, r := range reqs {
		if r == nil {
			continue
		}
		if _, err := r.Wait(ctx); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// WaitAny waits until one of the requests has ended and gives its index and status. Nil requests and those that
// are over are passed by; if there are no others the index is -1.
func WaitAny(ctx context.Context, reqs ...*Request) (int, Status, error) {
	var first *Request
	for _, r := range reqs {
		if r == nil || r.check("WaitAny") != nil {
			continue
		}
		if first == nil {
			first = r
		}
		if r.c.p != first.c.p {
			return -1, Status{}, r.errorf("WaitAny", ErrRequest, "requests of ranks %d and %d: expected those of one rank", first.c.p.rank, r.c.p.rank)
		}
	}
	if first == nil {
		return -1, Status{}, nil
	}
	if ctx == nil {
		ctx = first.c.ctx
	}
	found := -1
	err := first.c.p.nic.WaitFor(ctx, func() bool {
		active := false
		for i, r := range reqs {
			if r == nil || r.over.Load() {
				continue
			}
			if active = true; r.op.Done.Load() != 0 {
				found = i
				return true
			}
		}
		return !active // other goroutines have waited for the rest
	})
	if err != nil {
		return -1, Status{}, first.c.errorf("WaitAny", err, "%d requests go on", len(reqs))
	}
	if found < 0 {
		return -1, Status{}, nil
	}
	st, err := reqs[found].result()
	return found, st, err
}
