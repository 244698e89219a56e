package verbs

import (
	"errors"
	"fmt"

	"outboard/verbs/fabric"
)

// connect joins the endpoint to the one that the attributes name.
func (q *QP) connect(a QPAttr) error {
	e := &Error{Op: "modify_qp", Object: q.name(), Detail: fmt.Sprintf("connect to QP %#x at %q", a.DestQPN, a.AV)}
	if e.Err = q.unpark(); e.Err == nil {
		e.Err = q.conn.Connect(a.AV, int(a.DestQPN-qpnBase))
	}
	if e.Err != nil {
		return e
	}
	if q.wire == nil {
		q.direct = q.conn.Direct()
		q.mover, _ = q.direct.(fabric.Mover)
	}
	return nil
}

// openEndpoint opens an endpoint that is not the one of a parked queue pair, nor, unless it is asked for, of a lane.
func (c *Context) openEndpoint(endpoint int, slot uint32) (fabric.Conn, error) {
	for lanes := 0; ; {
		conn, err := c.port.Open(endpoint, slot)
		if err != nil {
			return nil, err
		}
		owner := c.parkedAt(QPNOf(conn.Endpoint()))
		lane := endpoint == fabric.Any && c.lanes.has(conn.Endpoint())
		if owner == nil && !lane {
			return conn, nil
		}
		if err := conn.Close(); err != nil {
			return nil, err
		}
		if lane {
			if lanes++; lanes > maxLanes {
				return nil, fabric.ErrNoEndpoint
			}
		} else if err := owner.unpark(); err != nil {
			return nil, err
		}
	}
}

func (c *Context) parkedAt(qpn uint32) *QP {
	for _, q := range c.qps {
		if q != nil && q.parked && q.qpn == qpn {
			return q
		}
	}
	return nil
}

// rewire drops the connection and opens the endpoint afresh, or parks the queue pair until that is possible.
func (q *QP) rewire() {
	if !q.parked {
		// A closed Conn stays in place while parked: it sends and grants nothing.
		_ = q.conn.Close()
		q.direct, q.mover, q.parked = nil, nil, true
	}
	_ = q.unpark()
}

// unpark opens the endpoint of a parked queue pair.
func (q *QP) unpark() error {
	if !q.parked {
		return nil
	}
	conn, err := q.ctx.port.Open(int(q.qpn-qpnBase), q.slot)
	if errors.Is(err, fabric.ErrInUse) {
		return fmt.Errorf("%w: the last peer has not left: %w", ErrBusy, err)
	} else if err != nil {
		return err
	}
	q.conn, q.parked = conn, false
	return nil
}
