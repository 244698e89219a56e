package cm

import "fmt"

// EventType is the kind of an Event, with the numbers of rdma_cm_event_type.
type EventType uint8

// The events of connections.
const (
	ConnectRequest  EventType = 4  // a peer asks for a connection: Listener.Accept
	ConnectResponse EventType = 5  // the peer has accepted: within Dial
	ConnectError    EventType = 6  // the set-up failed for a reason of this side
	Unreachable     EventType = 7  // the peer is not there, or does not answer
	Rejected        EventType = 8  // the peer has refused
	Established     EventType = 9  // the connection is up
	Disconnected    EventType = 10 // it is down, and the queue pair in ERR
	DeviceRemoval   EventType = 11 // the context was closed
	TimewaitExit    EventType = 15 // no packet of the connection can come any more: the queue pair may be used again
)

var eventText = map[EventType]string{ConnectRequest: "CONNECT_REQUEST", ConnectResponse: "CONNECT_RESPONSE", ConnectError: "CONNECT_ERROR",
	Unreachable: "UNREACHABLE", Rejected: "REJECTED", Established: "ESTABLISHED", Disconnected: "DISCONNECTED", DeviceRemoval: "DEVICE_REMOVAL",
	TimewaitExit: "TIMEWAIT_EXIT"}

func (t EventType) String() string {
	if s, ok := eventText[t]; ok {
		return s
	}
	return fmt.Sprintf("event %d", uint8(t))
}

// An Event is something that happened to a connection.
type Event struct {
	Type EventType
	Err  error // why, of ConnectError, Unreachable, Rejected and DeviceRemoval, and of Disconnected if the peer did not ask for it
}
