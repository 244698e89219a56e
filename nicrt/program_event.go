package nicrt

import "sync/atomic"

// An EventKind says what an [Event] reports.
type EventKind uint8

const (
	EventNotify   EventKind = iota // a handler called Task.Notify
	EventFailed                    // a handler failed its message
	EventPeerLost                  // a message's peer was lost in the middle of it
	EventStopped                   // a fault stopped the program; always the last event
)

func (k EventKind) String() string {
	return nameOf(int(k), "EventKind", "notify", "failed", "peer lost", "stopped")
}

// An Event is one report of a program, or of the NIC about it, to the host.
type Event struct {
	Kind    EventKind
	Handler HandlerKind // the handler that caused it; nothing for EventPeerLost
	Peer    int         // who sent the message it worked on
	Message uint64      // and which
	Value   uint64      // of EventNotify: what the handler passed
	Fault   *Fault      // of EventStopped
}

// Events is the bounded queue of a program's events. The NIC adds, one
// goroutine of the host at a time takes; neither waits for the other.
type Events struct {
	ring  []Event // of a power of two
	bound uint64  // events kept, besides the one that says stopped
	_     [cacheLine]byte
	head  atomic.Uint64 // events taken; moved by the host
	_     [cacheLine - 8]byte
	tail  atomic.Uint64 // events added; moved by the NIC
	lost  atomic.Uint64
	_     [cacheLine - 16]byte
}

// cacheLine keeps what two threads write apart.
const cacheLine = 64

// init makes room for n events and the final one.
func (q *Events) init(n int) {
	size := 1
	for size < n+1 {
		size <<= 1
	}
	q.ring, q.bound = make([]Event, size), uint64(n)
}

// Poll takes the oldest event; false says that there is none.
func (q *Events) Poll() (Event, bool) {
	head := q.head.Load()
	if head == q.tail.Load() {
		return Event{}, false
	}
	slot := &q.ring[head&uint64(len(q.ring)-1)]
	e := *slot
	slot.Fault = nil
	q.head.Store(head + 1)
	return e, true
}

// Len returns the number of events that wait.
func (q *Events) Len() int {
	head := q.head.Load()
	return int(q.tail.Load() - head)
}

// Lost returns the number of events that found the queue full.
func (q *Events) Lost() uint64 { return q.lost.Load() }

// add appends e, or counts it as lost. There is always room for EventStopped,
// of which a program has one.
func (q *Events) add(e *Event) bool {
	tail := q.tail.Load()
	bound := q.bound
	if e.Kind == EventStopped {
		bound = uint64(len(q.ring))
	}
	if tail-q.head.Load() >= bound {
		q.lost.Add(1)
		return false
	}
	q.ring[tail&uint64(len(q.ring)-1)] = *e
	q.tail.Store(tail + 1)
	return true
}
