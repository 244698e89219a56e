package cm

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"outboard/verbs"
)

// A Conn is one end of a connection that is, or was, up.
type Conn struct {
	a       *agent
	qp      *verbs.QP
	ours    bool // Close destroys the queue pair
	peer    string
	private []byte
	param   ConnParam // as negotiated
	mtu     int

	x      *exchange
	setup  chan Event // what ends a step of the set-up
	events chan Event
	done   chan struct{}
	up     bool  // under a.mu
	err    error // under a.mu
	close  sync.Once
}

// eventRoom is more than can happen to one connection.
const eventRoom = 8

func newConn(a *agent, peer string) *Conn {
	return &Conn{a: a, peer: peer, setup: make(chan Event, eventRoom), events: make(chan Event, eventRoom), done: make(chan struct{})}
}

// happened takes an event of the exchange. The agent's lock is held.
func (c *Conn) happened(_ *exchange, ev Event) {
	if !c.up {
		if ev.Type == Established {
			c.up = true
			c.events <- ev
		}
		c.setup <- ev
		return
	}
	if ev.Type == Disconnected || ev.Type == DeviceRemoval && !c.isDone() {
		c.err = ev.Err
		_ = c.qp.Modify(verbs.QPAttr{State: verbs.Err}, verbs.AttrState) // fails if it is destroyed
		close(c.done)
	}
	c.events <- ev
}

func (c *Conn) isDone() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// QP is the queue pair, in RTS until the connection ends.
func (c *Conn) QP() *verbs.QP { return c.qp }

// PrivateData is what the peer has given: the 56 bytes of a request, or the 196 of an answer, with zeros where it gave fewer.
func (c *Conn) PrivateData() []byte { return c.private }

// LocalAddr and RemoteAddr are the addresses of the NICs (verbs.Context.Addr).
func (c *Conn) LocalAddr() string  { return c.a.dev.Addr() }
func (c *Conn) RemoteAddr() string { return c.peer }

// Param are the parameters as negotiated, MTU the path MTU in bytes.
func (c *Conn) Param() ConnParam { return c.param }
func (c *Conn) MTU() int         { return c.mtu }

// Events tells what happens: Established, which is there from the start, Disconnected or DeviceRemoval, TimewaitExit. Close closes it.
func (c *Conn) Events() <-chan Event { return c.events }

// Done is closed when the connection is down, and the queue pair in ERR.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err says why the connection is down: nil if it is not, or if either side has asked for it.
func (c *Conn) Err() error {
	c.a.mu.Lock()
	defer c.a.mu.Unlock()
	return c.err
}

// Disconnect moves the queue pair to ERR, where its work is flushed, and ends the connection (rdma_disconnect(3)). It returns when the
// peer has confirmed, or has not in 16 tries, two seconds in all: then the error is ErrTimeout. A connection that is down
// already is no error, whoever ended it.
func (c *Conn) Disconnect() error {
	if c.isDone() {
		return nil
	}
	_ = c.qp.Modify(verbs.QPAttr{State: verbs.Err}, verbs.AttrState) // fails if it is destroyed
	c.a.do(func(m *machine) {
		if c.x.state == established {
			m.disconnect(c.x)
		}
	})
	<-c.done
	if err := c.Err(); errors.Is(err, ErrTimeout) {
		return &Error{Op: "disconnect", Addr: c.peer, Err: err}
	}
	return nil
}

// Close disconnects, destroys the queue pair if the Conn has made it, and ends what the Conn has running. The error is that of
// Disconnect, or of the queue pair. A second Close does nothing.
func (c *Conn) Close() (err error) {
	c.close.Do(func() {
		err = c.Disconnect()
		c.drop()
		if e := c.destroy(); e != nil && err == nil && !errors.Is(e, verbs.ErrDestroyed) {
			err = e
		}
		close(c.events)
		c.a.release()
	})
	return err
}

// drop has the machine forget the exchange: nothing happens to the Conn any more.
func (c *Conn) drop() {
	c.a.do(func(m *machine) {
		if c.x != nil {
			c.x.owner = nil
			m.drop(c.x)
		}
	})
}

func (c *Conn) destroy() error {
	if !c.ours {
		return nil
	}
	return c.qp.Destroy()
}

// makeQP makes the queue pair, if the caller has not: then it is not ours.
func (p *Params) makeQP(dev *verbs.Context) (qp *verbs.QP, ours bool, err error) {
	if p.QP == nil {
		qp, err = dev.CreateQP(p.PD, p.Init)
		return qp, true, err
	}
	have, _ := p.QP.Query()
	if have.State != verbs.Reset && have.State != verbs.Init {
		return nil, false, fmt.Errorf("%w: queue pair %#x in %v: expected RESET or INIT", ErrInvalid, p.QP.QPN(), have.State)
	}
	return p.QP, false, nil
}

// initQP takes a queue pair to INIT.
func (p *Params) initQP(qp *verbs.QP, param ConnParam) error {
	access := p.Access
	if access == 0 {
		access = verbs.RemoteWrite
		if param.ResponderResources > 0 {
			access |= verbs.RemoteRead | verbs.RemoteAtomic
		}
	}
	err := qp.Modify(verbs.QPAttr{State: verbs.Init, Port: verbs.PortNum, Access: access},
		verbs.AttrState|verbs.AttrPKeyIndex|verbs.AttrPort|verbs.AttrAccess)
	if err == nil && p.Prepare != nil {
		err = p.Prepare(qp)
	}
	return err
}

// peerQP is what the peer has said of its queue pair.
type peerQP struct {
	qpn, psn uint32
	rnrRetry uint8
}

// connectQP takes the queue pair from INIT to RTS.
func (c *Conn) connectQP(peer peerQP, psn uint32, ackTimeout uint8) error {
	a := verbs.QPAttr{State: verbs.RTR, AV: c.peer, PathMTU: c.mtu, DestQPN: peer.qpn, RQPSN: peer.psn, SQPSN: psn,
		MaxDestRdAtomic: c.param.ResponderResources, MaxRdAtomic: c.param.InitiatorDepth, MinRNRTimer: minRNRTimer,
		Timeout: ackTimeout, RetryCnt: c.param.RetryCount, RNRRetry: peer.rnrRetry}
	rtr := verbs.AttrState | verbs.AttrAV | verbs.AttrPathMTU | verbs.AttrDestQPN | verbs.AttrRQPSN
	rts := verbs.AttrState | verbs.AttrSQPSN
	if _, made := c.qp.Query(); made.Type == verbs.RC {
		rtr |= verbs.AttrMaxDestRdAtomic | verbs.AttrMinRNRTimer
		rts |= verbs.AttrTimeout | verbs.AttrRetryCnt | verbs.AttrRNRRetry | verbs.AttrMaxRdAtomic
	}
	if err := c.qp.Modify(a, rtr); err != nil {
		return err
	}
	a.State = verbs.RTS
	return c.qp.Modify(a, rts)
}

// await waits for the next step of the set-up. The error is ctx's, or that of the event.
func (c *Conn) await(ctx context.Context) error {
	select {
	case ev := <-c.setup:
		return ev.Err
	default:
	}
	select {
	case ev := <-c.setup:
		return ev.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// cancel ends a set-up that has failed: the peer is told, unless it has told this side.
func (c *Conn) cancel(reason RejectReason) {
	if c.x != nil {
		c.a.do(func(m *machine) {
			c.x.owner = nil
			switch {
			case c.x.state.passiveREQ():
				m.reject(c.x, reason, nil) // which it remembers: the request may come again
				return
			case c.up:
				m.disconnect(c.x)
			default:
				m.giveUp(c.x, reason, nil)
			}
			m.drop(c.x)
		})
	}
	if c.qp != nil {
		_ = c.destroy() // the error that counts is the first
	}
	c.a.release()
}
