package nicrt

import "outboard/verbs"

// sentCounts is what has left a NIC.
type sentCounts struct {
	messages, bytes uint64
	refused         uint64 // times that there was no room for a message
}

// Send gives a message of one packet, at most EagerMax bytes, to the wire at once. It
// returns false if there is no room now, or the peer is gone (PeerErr); a longer payload, or a peer that
// the mesh does not have, is never taken. Messages to one peer arrive in the order of Send and
// Post. The caller holds the lock, and may reuse payload on return.
func (n *NIC) Send(peer int, h *Header, payload []byte) bool {
	if !n.isPeer(peer) || len(payload) > n.eagerMax {
		return false
	}
	p := &n.peers[peer]
	if p.out != nil || n.connect(peer) && p.out != nil {
		h.Encode(n.hb[:])
		if n.eng.SendNow(p.out, n.hb[:], payload) {
			n.sent.messages++
			n.sent.bytes += uint64(len(payload))
			return true
		}
	}
	n.sent.refused++
	n.eng.Again() // whoever waits for room is asked at every poll
	return false
}

// Packet takes one packet from the wire: the NIC is the sink of its queue pairs.
func (n *NIC) Packet(p *verbs.Packet) bool {
	pr := &n.peers[p.Tag]
	in := &n.in
	in.peer, in.first, in.last = p.Tag, p.First, p.Last
	if p.First {
		if len(p.Payload) < HeaderLen {
			n.machine.stray(len(p.Payload)) // and what belongs to it has no message
			return true
		}
		in.hdr.Decode(p.Payload)
		in.offset, in.payload = 0, p.Payload[HeaderLen:]
	} else {
		in.offset, in.payload = uint64(p.Offset-HeaderLen), p.Payload
	}
	in.msg = pr.msgs
	if !n.machine.deliver(in) {
		return false
	}
	if n.workers.running > 0 {
		n.eng.Again() // their budgets
	}
	if p.Last {
		pr.msgs++
	}
	return true
}

// machineWire is the NIC as the handler machine sees it.
type machineWire struct{ n *NIC }

func (w machineWire) send(peer int, h *Header, payload []byte) bool {
	return w.n.Send(peer, h, payload)
}

func (w machineWire) increment(counter uint32, by int64) error {
	w.n.eng.Again() // for what it has set off
	return w.n.counters.increment(Counter(counter), CounterValue{Success: uint64(by)})
}
