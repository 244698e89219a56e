package cm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"outboard/verbs"
	"outboard/verbs/internal/ib"
)

// A Request is a peer's wish to connect. It is to be answered, once, by Accept or Reject; the Close of its listener rejects it. The peer
// waits as long as it likes.
type Request struct {
	l    *Listener
	x    *exchange
	req  *ib.REQ
	over bool  // answered or withdrawn, under l.a.mu
	err  error // why it is withdrawn
}

// happened takes what becomes of a request that is not answered: it is withdrawn. The agent's lock is held.
func (r *Request) happened(_ *exchange, ev Event) {
	r.over, r.err = true, ev.Err
	r.l.forget(r)
}

// RemoteAddr is the address of the peer's NIC, RemoteQPN the number of its queue pair, and Type what it is.
func (r *Request) RemoteAddr() string { return r.x.peer }
func (r *Request) RemoteQPN() uint32  { return r.req.LocalQPN }
func (r *Request) Type() verbs.QPType { return verbs.QPType(r.req.ServiceType) }

// MTU is the path MTU that is asked for, in bytes.
func (r *Request) MTU() int { return mtuBytes(r.req.MTU) }

// Param are the parameters that are asked for, seen from this side: InitiatorDepth is how many READs and atomics the peer would serve.
func (r *Request) Param() ConnParam {
	return ConnParam{ResponderResources: r.req.InitiatorDepth, InitiatorDepth: r.req.ResponderResources,
		RetryCount: r.req.RetryCount, RNRRetryCount: r.req.RNRRetryCount}
}

// PrivateData are the 56 bytes that the peer has given: its data and zeros.
func (r *Request) PrivateData() []byte { return append([]byte(nil), r.req.PrivateData[headerLen:]...) }

// Accept connects a queue pair with the peer's (rdma_accept(3)), and returns when the connection is up. The MTU and
// the RetryCount of the parameters are the peer's.
//
// Errors: ErrInvalid for parameters that are out of range or do not fit the request; *RejectedError if the peer has withdrawn the request;
// ErrUnreachable if the peer is gone or does not answer, then also ErrTimeout; ErrClosed if the listener is closed or the request was
// answered before; ctx's error; or that of the queue pair. After an ErrInvalid of this package the request is still to be answered; after
// any other error it is over, and the peer has been told so.
func (r *Request) Accept(ctx context.Context, p Params) (*Conn, error) {
	const op = "accept"
	param, err := p.check(op, r.RemoteAddr(), MaxAcceptData)
	if err != nil {
		return nil, err
	}
	if made := p.qpType(); made != r.Type() {
		return nil, fail(op, r.RemoteAddr(), ErrInvalid, "queue pair of %v: the request is for %v", made, r.Type())
	}
	a, err := agentOf(r.l.a.dev)
	if err != nil {
		return nil, &Error{Op: op, Addr: r.RemoteAddr(), Err: err}
	}
	c := newConn(a, r.RemoteAddr())
	if err := r.claim(c); err != nil {
		a.release()
		return nil, &Error{Op: op, Addr: r.RemoteAddr(), Err: err}
	}
	if err := c.accept(ctx, r, &p, param); err != nil {
		reason := ConsumerReject
		if errors.Is(err, context.DeadlineExceeded) {
			reason = Timeout
		}
		c.cancel(reason)
		return nil, &Error{Op: op, Addr: r.RemoteAddr(), Err: err}
	}
	return c, nil
}

// claim makes c the owner of the exchange.
func (r *Request) claim(c *Conn) (err error) {
	r.l.a.do(func(*machine) {
		if r.over {
			err = r.refusal()
			return
		}
		r.over = true
		r.l.forget(r)
		c.x, r.x.owner = r.x, c
	})
	return err
}

func (r *Request) refusal() error {
	if r.err != nil {
		return r.err
	}
	return fmt.Errorf("%w: the request was answered before", ErrClosed)
}

// Reject refuses the request, with up to 148 bytes of private data (rdma_reject(3)). Errors: ErrInvalid for more; and as Accept for
// a request that is over.
func (r *Request) Reject(private []byte) error {
	const op = "reject"
	if len(private) > MaxRejectData {
		return fail(op, r.RemoteAddr(), ErrInvalid, "%d bytes of private data: expected at most %d", len(private), MaxRejectData)
	}
	var err error
	r.l.a.do(func(m *machine) {
		if r.over {
			err = &Error{Op: op, Addr: r.RemoteAddr(), Err: r.refusal()}
			return
		}
		r.over = true
		r.l.forget(r)
		m.reject(r.x, ConsumerReject, private)
	})
	return err
}

func (c *Conn) accept(ctx context.Context, r *Request, p *Params, param ConnParam) error {
	req := r.req
	param.clip(c.a.dev)
	param.meet(req.ResponderResources, req.InitiatorDepth)
	param.RetryCount = req.RetryCount
	qp, ours, err := p.makeQP(c.a.dev)
	if err != nil {
		return err
	}
	c.qp, c.ours = qp, ours
	if err := p.initQP(qp, param); err != nil {
		return err
	}
	_, made := c.qp.Query()
	c.private, c.param, c.mtu = r.PrivateData(), param, r.MTU()
	psn := rand.Uint32() & ib.PSNMask
	if err := c.connectQP(peerQP{req.LocalQPN, req.StartingPSN, req.RNRRetryCount}, psn, max(req.Primary.AckTimeout, 1)); err != nil {
		return err
	}
	rep := &ib.REP{LocalQPN: c.qp.QPN(), StartingPSN: psn, ResponderResources: param.ResponderResources, InitiatorDepth: param.InitiatorDepth,
		TargetAckDelay: c.a.dev.QueryDevice().LocalCAAckDelay, RNRRetryCount: param.RNRRetryCount, SRQ: made.SRQ != nil}
	copy(rep.PrivateData[:], p.PrivateData)
	c.a.do(func(m *machine) { m.accept(c.x, rep) })
	return c.await(ctx)
}
