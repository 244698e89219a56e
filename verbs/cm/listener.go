package cm

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"outboard/verbs"
)

// DefaultBacklog is the number of requests that may wait for Listener.Accept, unless ListenConfig says otherwise.
const DefaultBacklog = 128

// ListenConfig says how to listen.
type ListenConfig struct {
	Backlog int // requests that may wait for Accept: more are rejected with NoResources. 0 is DefaultBacklog
}

// A Listener takes requests for a port of a NIC.
type Listener struct {
	a       *agent
	s       *service
	port    uint16
	address string
	name    *name // that holds the port on this machine, or nil

	queue  []*Request // not taken
	taken  []*Request // and not answered
	more   chan struct{}
	closed chan struct{}
	close  sync.Once
}

// Listen takes requests for a port (rdma_listen(3)): ":18515", "localhost:18515" or, at this NIC only, "NIC/18515". Port 0 is
// any that is free; Listener.Addr tells it.
//
// Errors: ErrAddress for an address that is malformed; ErrUnreachable for one that is not of this host or NIC; ErrInUse; verbs.ErrBusy
// if something else takes the management datagrams of the device; verbs.ErrDestroyed.
func Listen(dev *verbs.Context, address string) (*Listener, error) {
	return ListenConfig{}.Listen(dev, address)
}

// Listen is Listen with options.
func (lc ListenConfig) Listen(dev *verbs.Context, address string) (*Listener, error) {
	const op = "listen"
	if lc.Backlog == 0 {
		lc.Backlog = DefaultBacklog
	}
	if lc.Backlog < 0 {
		return nil, fail(op, address, ErrInvalid, "backlog %d: expected at least 1", lc.Backlog)
	}
	nic, port, err := parse(op, address)
	if err != nil {
		return nil, err
	}
	if nic != "" && nic != dev.Addr() {
		return nil, fail(op, address, ErrUnreachable, "NIC %s: this one is %s", nic, dev.Addr())
	}
	a, err := agentOf(dev)
	if err != nil {
		return nil, &Error{Op: op, Addr: address, Err: err}
	}
	l := &Listener{a: a, more: make(chan struct{}, 1), closed: make(chan struct{})}
	if err := l.bind(nic != "", port, lc.Backlog); err != nil {
		a.release()
		return nil, &Error{Op: op, Addr: address, Err: err}
	}
	return l, nil
}

// bind takes the port, or any.
func (l *Listener) bind(local bool, port uint16, backlog int) error {
	tries := []uint16{port}
	if port == 0 {
		tries = somePorts()
	}
	err := ErrInUse
	for _, port := range tries {
		if err = l.bindTo(local, port, backlog); err == nil {
			break
		}
	}
	return err
}

func (l *Listener) bindTo(local bool, port uint16, backlog int) (err error) {
	l.port, l.address = port, At(l.a.dev.Addr(), port)
	l.a.do(func(m *machine) { l.s = m.listen(serviceID(port), backlog, l) })
	if l.s == nil {
		return fmt.Errorf("%w: port %d of this NIC", ErrInUse, port)
	}
	if local {
		return nil
	}
	// The name comes last: who finds it finds the service.
	l.address = fmt.Sprintf("localhost:%d", port)
	if l.name, err = hold(port, l.a.dev.Addr()); err != nil {
		l.a.do(func(m *machine) { m.unlisten(l.s) })
	}
	return err
}

// Addr is an address to dial: "localhost:18515" or "NIC/18515". Port is its port.
func (l *Listener) Addr() string { return l.address }
func (l *Listener) Port() uint16 { return l.port }

// happened takes a request. The agent's lock is held.
func (l *Listener) happened(x *exchange, _ Event) {
	r := &Request{l: l, x: x, req: x.req}
	x.owner = r
	l.queue = append(l.queue, r)
	l.ring()
}

func (l *Listener) ring() {
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// forget drops a request that is over. The agent's lock is held.
func (l *Listener) forget(r *Request) {
	is := func(q *Request) bool { return q == r }
	l.queue, l.taken = slices.DeleteFunc(l.queue, is), slices.DeleteFunc(l.taken, is)
}

// Accept waits for the next request (rdma_get_request(3)). The error is ctx's, or ErrClosed.
func (l *Listener) Accept(ctx context.Context) (*Request, error) {
	for {
		if r := l.next(); r != nil {
			return r, nil
		}
		select {
		case <-l.more:
		case <-l.closed:
			return nil, fail("accept", l.address, ErrClosed, "listener")
		case <-ctx.Done():
			return nil, &Error{Op: "accept", Addr: l.address, Err: ctx.Err()}
		}
	}
}

func (l *Listener) next() (r *Request) {
	l.a.do(func(m *machine) {
		if len(l.queue) == 0 {
			return
		}
		r = l.queue[0]
		l.queue = slices.Delete(l.queue, 0, 1)
		l.taken = append(l.taken, r)
		m.untake(r.x)
		if len(l.queue) > 0 {
			l.ring() // for another that waits
		}
	})
	return r
}

// Close ends the listener and refuses the requests that are not answered. Connections stay. A second Close does nothing.
func (l *Listener) Close() error {
	l.close.Do(func() {
		close(l.closed)
		if l.name != nil {
			l.name.release()
		}
		l.a.do(func(m *machine) {
			m.unlisten(l.s)
			for _, r := range append(l.queue, l.taken...) {
				r.over, r.err = true, fmt.Errorf("%w: listener", ErrClosed)
				m.reject(r.x, InvalidServiceID, nil)
			}
			l.queue, l.taken = nil, nil
		})
		l.a.release()
	})
	return nil
}
