package verbs

import "fmt"

// inbound is the responder's state.
type inbound struct {
	mid     midMessage
	heard   bool // something has come in RTR
	waiting bool // a SEND waits on the wire for a receive
	receive *rqe // that the message being received takes, nil before it is known
	own     rqe  // its copy, if it came from a shared queue
	offset  int  // in the SEND being received
	tm      tmMessage

	// the RDMA WRITE being received
	key       uint32
	addr      uint64
	remaining uint64

	replies []reply // reads and atomics to answer

	ack   bool   // an acknowledgement packet is due
	nak   Status // to be told to the peer, Success if nothing
	nakOp uint8  // opNAK or opFault
}

// midMessage is what the packets so far are the beginning of.
type midMessage uint8

const (
	midNone midMessage = iota
	midSend
	midWrite
)

// taken tells whether a receive of a shared queue is held.
func (x *inbound) taken() bool { return x.receive == &x.own }

// outOfSequence tells whether a packet of a message of this kind cannot come now.
func (x *inbound) outOfSequence(first bool, kind midMessage) bool {
	if first {
		return x.mid != midNone
	}
	return x.mid != kind
}

// reply is the answer to a read or an atomic, as far as it is not on the wire.
type reply struct {
	key       uint32
	psn       uint32 // of the next packet, in packet mode
	addr      uint64
	remaining uint64
	atomic    bool
	begun     bool
	again     bool // of a request that came again
	value     uint64
}

// place puts the next bytes of a SEND into the buffers of its receive, or says why they don't fit.
func (x *inbound) place(p []byte) (why string) {
	room := lenSG(x.receive.SG) - x.offset
	if len(p) > room {
		return fmt.Sprintf("message of %d bytes or more: the receive has %d", x.offset+len(p), x.offset+room)
	}
	scatter(x.receive.SG, x.offset, p)
	x.offset += len(p)
	return ""
}

func (x *inbound) pending() bool { return len(x.replies) > 0 || x.nak != Success || x.ack }

// drop forgets the message being received and, unless a refusal is to follow them, the
// replies.
func (x *inbound) drop() {
	x.mid, x.waiting = midNone, false
	if x.nak == Success {
		x.replies = x.replies[:0]
	}
}

// dropReply forgets the oldest reply.
func (x *inbound) dropReply() { x.replies = append(x.replies[:0], x.replies[1:]...) }
