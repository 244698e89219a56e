package cm

import (
	"context"
	"errors"
	"math/rand/v2"

	"outboard/verbs"
	"outboard/verbs/internal/ib"
)

// Dial connects a queue pair of a device with one of whoever listens at an address ("Addresses" above), as
// rdma_connect(3) does, and returns when the connection is up: the queue pair is in RTS.
//
// Errors: *RejectedError if the peer refuses, which is ErrRefused if nobody listens; ErrUnreachable if there is no such peer or it
// does not answer, then also ErrTimeout, or goes away meanwhile; ErrAddress; ErrInvalid for parameters out of range; ctx's error; or that of
// the queue pair. What is wrong with the parameters or the queue pair shows before anybody is asked. A queue pair of the caller's is then
// in the state that it had if no NIC was found at the address; else in INIT, unless the error is of the last moment and it is in RTR or RTS.
func Dial(ctx context.Context, dev *verbs.Context, address string, p Params) (*Conn, error) {
	const op = "dial"
	param, err := p.check(op, address, MaxRequestData)
	if err != nil {
		return nil, err
	}
	qp, ours, err := p.makeQP(dev)
	if err != nil {
		return nil, &Error{Op: op, Addr: address, Err: err}
	}
	conn, err := dialWith(ctx, dev, address, p, param, qp)
	if err == nil {
		conn.ours = ours
		return conn, nil
	}
	if ours {
		_ = qp.Destroy() // the error that counts is the first
	}
	return nil, err
}

// dialWith connects a queue pair in RESET or INIT, and leaves it alone if that fails.
func dialWith(ctx context.Context, dev *verbs.Context, address string, p Params, param ConnParam, qp *verbs.QP) (*Conn, error) {
	const op = "dial"
	peer, port, err := resolve(ctx, dev, address)
	if err != nil {
		return nil, err
	}
	param.clip(dev)
	if err := p.initQP(qp, param); err != nil {
		return nil, &Error{Op: op, Addr: address, Err: err}
	}
	for stale := false; ; {
		conn, err := dial(ctx, dev, peer, port, p, param, qp)
		var rej *RejectedError
		switch {
		case err == nil:
			return conn, nil
		case errors.As(err, &rej) && rej.offersMTU(p.MTU):
			p.MTU = mtuBytes(rej.info[0]) // it becomes smaller each time
		case errors.As(err, &rej) && rej.Reason == StaleConnection && !stale:
			stale = true // now the peer has cleaned up
		default:
			return nil, &Error{Op: op, Addr: address, Err: err}
		}
	}
}

func dial(ctx context.Context, dev *verbs.Context, peer string, port uint16, p Params, param ConnParam, qp *verbs.QP) (*Conn, error) {
	a, err := agentOf(dev)
	if err != nil {
		return nil, err
	}
	c := newConn(a, peer)
	c.qp = qp
	reason := ConsumerReject
	if err := c.dial(ctx, port, &p, param, &reason); err != nil {
		c.cancel(reason)
		var rej *RejectedError
		if errors.As(err, &rej) {
			rej.port = port
		}
		return nil, err
	}
	return c, nil
}

// dial takes the connection up. In an error it leaves what the peer is to be told.
func (c *Conn) dial(ctx context.Context, port uint16, p *Params, param ConnParam, reason *RejectReason) error {
	_, made := c.qp.Query()
	code := c.a.maxMTU
	if p.MTU != 0 {
		code = mtuCode(p.MTU)
	}
	psn := rand.Uint32() & ib.PSNMask
	src, dst := ib.GIDOf(c.LocalAddr()), ib.GIDOf(c.peer)
	req := &ib.REQ{ServiceID: serviceID(port), LocalQPN: c.qp.QPN(), StartingPSN: psn, ServiceType: ib.ServiceType(made.Type),
		ResponderResources: param.ResponderResources, InitiatorDepth: param.InitiatorDepth,
		RetryCount: param.RetryCount, RNRRetryCount: param.RNRRetryCount, PKey: defaultPKey, MTU: code, SRQ: made.SRQ != nil,
		Primary: ib.Path{LocalLID: ib.LIDOf(c.LocalAddr()), RemoteLID: ib.LIDOf(c.peer), LocalGID: src, RemoteGID: dst,
			HopLimit: 64, AckTimeout: p.AckTimeout}}
	copy(req.PrivateData[:], append(appendHeader(nil, uint16(c.qp.QPN()), src, dst), p.PrivateData...))

	*reason = Timeout
	c.a.do(func(m *machine) { c.x = m.connect(c.peer, req, c) })
	if err := c.await(ctx); err != nil {
		return err
	}
	*reason = ConsumerReject
	rep := c.x.rep // the machine leaves it alone from here on
	c.private = append([]byte(nil), rep.PrivateData[:]...)
	c.mtu = mtuBytes(code)
	param.meet(rep.ResponderResources, rep.InitiatorDepth)
	c.param = param
	if err := c.connectQP(peerQP{rep.LocalQPN, rep.StartingPSN, rep.RNRRetryCount}, psn, p.AckTimeout); err != nil {
		return err
	}
	c.a.do(func(m *machine) { m.ready(c.x) })
	return c.await(ctx)
}

const defaultPKey = 0xffff
