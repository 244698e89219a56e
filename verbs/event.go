package verbs

import (
	"context"
	"fmt"
)

// EventType is the kind of an AsyncEvent (ibv_event_type, with the same names).
type EventType uint8

const (
	EventCQErr       EventType = iota // a completion queue has overflowed
	EventQPFatal                      // a queue pair could not do what its peer asked for, for a reason of this side
	EventQPReqErr                     // a queue pair refused an invalid request of its peer
	EventQPAccessErr                  // a queue pair refused its peer an access to memory
	EventCommEst                      // the first packet came to a queue pair in RTR; direct access is none
	EventSQDrained                    // the send queue of a queue pair in SQD has drained
	EventQPLastWQE                    // a queue pair in ERR will take no more receives of its shared queue
	EventSRQErr                       // a shared receive queue failed: not on this device
	EventSRQLimit                     // a shared receive queue has fewer receives than its limit
	EventDeviceFatal                  // the device failed: not this one, whose queue pairs fail where a wire does
	numEventTypes
)

var eventText = [numEventTypes]string{"CQ_ERR", "QP_FATAL", "QP_REQ_ERR", "QP_ACCESS_ERR", "COMM_EST", "SQ_DRAINED", "QP_LAST_WQE_REACHED",
	"SRQ_ERR", "SRQ_LIMIT_REACHED", "DEVICE_FATAL"}

func (t EventType) String() string {
	if t < numEventTypes {
		return eventText[t]
	}
	return fmt.Sprintf("invalid event type %d", uint8(t))
}

// AsyncEvent is something that happened outside any work request (ibv_async_event).
type AsyncEvent struct {
	Type EventType
	QPN  uint32 // of queue pair events
	CQ   *CQ    // of EventCQErr
	SRQ  *SRQ   // of shared receive queue events
	Err  error  // says more, where the NIC knows; may be nil
}

const maxEvents = 128 // the oldest are dropped first

// event reports an event. The caller holds the NIC's lock, so there is one sender at a time.
func (c *Context) event(e AsyncEvent) {
	for {
		select {
		case c.events <- e:
			c.progressed = true // for a sleeping GetEvent
			return
		default:
		}
		select {
		case <-c.events:
		default:
		}
	}
}

// Events is the queue of asynchronous events, for a select. It holds the last 128. It is never closed.
//
// While nobody runs the NIC its progress goroutine does, so events come also to a host that only selects: within some 10 µs if the
// NIC has been handed over (see CompChannel.C), else after it has been left alone for 1 to 2 ms.
func (c *Context) Events() <-chan AsyncEvent { return c.events }

// AsyncEvents takes the events that have happened and that nobody took.
func (c *Context) AsyncEvents() (es []AsyncEvent) {
	for {
		select {
		case e := <-c.events:
			es = append(es, e)
		default:
			return es
		}
	}
}

// GetEvent waits for the next event (ibv_get_async_event), lending the NIC its thread. The error is ctx's, or ErrDestroyed.
func (c *Context) GetEvent(ctx context.Context) (e AsyncEvent, err error) {
	err = c.Wait(ctx, func() bool {
		select {
		case e = <-c.events:
			return true
		default:
			return false
		}
	})
	return e, err
}
