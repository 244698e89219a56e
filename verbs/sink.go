package verbs

import "outboard/verbs/fabric"

// A Sink takes the SEND messages of a queue pair on the NIC, in place of posted receives.
// Its methods are called under the NIC's lock, by whichever goroutine runs the NIC;
// they must not block and must not call methods that lock.
type Sink interface {
	// Packet is the next packet of the connection, in order. false leaves it on the wire, to
	// be presented again at the next poll, which comes within milliseconds; the connection waits meanwhile.
	Packet(p *Packet) bool
	// Down says that the queue pair went to ERR.
	Down(tag int32, err error)
}

// A Packet is a piece of an arriving SEND message. The payload lies in the wire: it is valid until
// Sink.Packet returns, and is the peer's data: check it before use.
type Packet struct {
	Tag         int32 // QPInit.Tag of the queue pair
	First, Last bool
	HasImm      bool
	Imm         uint32
	Offset      int // of this payload in the message
	Payload     []byte
}

func (q *QP) sinkPacket(h *fabric.Header, p []byte) bool {
	x := &q.rx
	first := h.Flags&flagFirst != 0
	if x.outOfSequence(first, midSend) {
		return q.reject(RemInvReqErr, "packet out of sequence in a SEND")
	}
	pk := &q.ctx.packet
	pk.Tag, pk.First, pk.Last = q.init.Tag, first, h.Flags&flagLast != 0
	pk.HasImm, pk.Imm = h.Flags&flagImm != 0, h.Imm
	pk.Offset, pk.Payload = x.offset, p
	if !q.init.Sink.Packet(pk) {
		q.ctx.refused = true
		return false
	}
	if h.Flags&flagLast != 0 {
		x.mid, x.offset = midNone, 0
	} else {
		x.mid, x.offset = midSend, x.offset+len(p)
	}
	return true
}
