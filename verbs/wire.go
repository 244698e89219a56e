package verbs

import (
	"errors"
	"time"

	"outboard/verbs/fabric"
	"outboard/verbs/internal/ib"
)

// wire is the transport of a queue pair that talks in IBTA packets: sequence numbers, acknowledgements, retransmission and
// timers (IBTA 9.7, 9.8). The requester keeps no copies of packets: a request that is sent again is taken from the
// send queue again.
type wire struct {
	mtu      int    // payload of a packet in bytes
	dst      [2]GID // GIDs of the peer's port
	starting bool   // no packet has come yet

	// The requester. PSNs from una up to sent are on the wire and not acknowledged.
	next       uint32    // of the next request that begins
	una        uint32    // oldest that is not acknowledged
	sent       uint32    // after the last that was ever sent
	retries    uint8     // left since the last progress
	rnrRetries uint8     // likewise
	deadline   time.Time // by which the peer must answer; zero while nothing is awaited
	resume     time.Time // end of the wait after an RNR NAK or, on UD, for room; zero if there is none
	again      bool      // requests were sent again for a lost response, and none has come since

	// The responder.
	epsn     uint32 // expected next
	msn      uint32 // messages completed, modulo 2^24
	nakked   bool   // the gap, or the lack of a receive, has been answered
	syndrome uint8  // of the acknowledgement that is due
	nakPSN   uint32 // of the refusal that is due
	skipping bool   // UC: the rest of a message of which a packet was lost
	saved    []savedReply
}

// savedReply is a read or an atomic that was served, kept for when the answer is lost and it comes again.
type savedReply struct {
	reply
	psns    uint32
	counted bool
}

// window is the number of packets that a requester has on the wire at most, besides responses; and an acknowledgement is asked for
// every ackEvery packets at least.
const (
	window      = 256
	ackEvery    = 64
	defaultHops = 64
	maxIBMsg    = 1 << 31 // bytes of a message in packets (IBTA 9.7.7)
	maxPSNs     = 1 << 23 // numbered and not acknowledged: half of all there are (IBTA 9.7.2)
)

// ackSyndrome is that of an acknowledgement: there is no end-to-end flow control.
var ackSyndrome = ib.AckSyndrome(ib.NoCredits)

func newWire(q *QP) *wire {
	x := &wire{starting: true, syndrome: ackSyndrome}
	x.ready(q)
	x.steady(q)
	return x
}

// ready takes over what the way to RTR has set, steady what that to RTS has.
func (x *wire) ready(q *QP) {
	a := &q.attr
	x.mtu, x.epsn = min(a.PathMTU, packetMTU(q.ctx.mtu)), a.RQPSN
	x.dst = gidsOf(a.AV)
	if q.init.Type == UD {
		x.mtu = packetMTU(q.ctx.mtu)
	}
}

func (x *wire) steady(q *QP) {
	x.next, x.una, x.sent = q.attr.SQPSN, q.attr.SQPSN, q.attr.SQPSN
	x.retries, x.rnrRetries = q.attr.RetryCnt, q.attr.RNRRetry
}

// enter is called before the queue pair enters RTR or RTS, with its new attributes.
func (x *wire) enter(q *QP, to State) {
	switch {
	case to == RTR:
		x.ready(q)
	case q.state == RTR:
		x.steady(q)
	case q.state == SQD:
		x.retries, x.rnrRetries = q.attr.RetryCnt, q.attr.RNRRetry
	}
}

// gidsOf gives the GIDs of the port with an address.
func gidsOf(addr string) [2]GID { return [2]GID{ib.LinkLocal(addr), ib.GIDOf(addr)} }

// outstanding is the number of PSNs that have been sent and are not acknowledged.
func (x *wire) outstanding() uint32 { return psnsBetween(x.una, x.sent) }

// psnsBetween counts the PSNs from a up to b, which is not before it.
func psnsBetween(a, b uint32) uint32 { return (b - a) & ib.PSNMask }

// acked tells whether a request that has been sent, and answered if it has a response, is complete.
func (x *wire) acked(w *wqe) bool {
	return w.psns == 0 || ib.PSNDiff(x.una, w.psn+w.psns) >= 0
}

// sendPacket sends a packet to the connected peer, whose headers h gives but for the addresses and whose payload is n bytes of
// sg from off on. It returns false if there is no room.
func (q *QP) sendPacket(h *ib.Header, sg []SGE, off, n int) bool {
	c, x := q.ctx, q.wire
	g := &q.attr.GRH
	h.Src, h.Dst = c.gids[g.SGIDIndex], x.dst[g.SGIDIndex]
	q.address(h, g)
	h.DestQP = q.attr.DestQPN
	b := ib.Seal(appendSG(h.Append(c.frame[:0], n), sg, off, n))
	f := &c.header
	*f = fabric.Header{Op: msgPacket}
	if !q.conn.Send(f, b, nil) {
		return q.unheard()
	}
	q.fullAt = time.Time{}
	c.hw.SentPkts++
	c.traced(b)
	return true
}

// address fills in what is the same in all packets of a path.
func (q *QP) address(h *ib.Header, g *GRH) {
	h.TClass, h.FlowLabel, h.HopLimit = g.TrafficClass, g.FlowLabel, g.HopLimit
	if h.HopLimit == 0 {
		h.HopLimit = defaultHops
	}
	h.PKey, h.MigReq = pkeyTable[q.attr.PKeyIndex], true
}

// arrivePacket takes a packet from the connected peer. Nothing is refused: what can't be used is lost.
func (q *QP) arrivePacket(p []byte) {
	c, h := q.ctx, &q.ctx.ibHeader
	_, payload, err := c.parsePacket(p)
	if err != nil && !errors.Is(err, ib.ErrOpcode) {
		c.hw.ICRCErrors++
		return
	}
	if !q.expects(h) {
		c.hw.Dropped++
		return
	}
	if h.Opcode.Valid() && h.Opcode.IsResponse() {
		q.recvResponsePacket(h, payload)
		return
	}
	if q.wire.starting {
		if q.wire.starting = false; q.state == RTR {
			c.event(AsyncEvent{Type: EventCommEst, QPN: q.qpn})
		}
	}
	if q.init.Type == RC {
		q.recvRequestRC(h, payload)
	} else {
		q.recvRequestUC(h, payload)
	}
}

// errTooLong is the refusal of what is longer than any packet.
var errTooLong = errors.New("packet too long")

// parsePacket takes a packet off the wire, where the peer can still write, into the inbox, and decodes its headers into ibHeader.
func (c *Context) parsePacket(p []byte) (packet, payload []byte, err error) {
	if len(p) > len(c.inbox) {
		return nil, nil, errTooLong
	}
	packet = c.inbox[:copy(c.inbox, p)]
	payload, err = c.ibHeader.Parse(packet)
	c.traced(packet)
	c.hw.RcvdPkts++
	return packet, payload, err
}

// expects tells whether a packet is one of this queue pair's connection, in a state in which it takes any.
func (q *QP) expects(h *ib.Header) bool {
	if !q.receives() || q.init.Type == UD || h.DestQP != q.qpn || !q.speaks(h.Opcode) || !samePartition(h.PKey, q) {
		return false
	}
	if q.wire != nil {
		return h.Src == q.wire.dst[0] || h.Src == q.wire.dst[1]
	}
	if dst := gidsOf(q.attr.AV); h.Src != dst[0] && h.Src != dst[1] || q.init.engine || q.init.Sink != nil ||
		q.sq.next != q.sq.tail || q.rx.mid != midNone || len(q.rx.replies) > 0 {
		return false
	}
	q.usePackets()
	return true
}

// speaks tells whether an opcode, also a reserved one, is of this queue pair's transport.
func (q *QP) speaks(o ib.Opcode) bool {
	t := o.Transport()
	if !o.Valid() {
		t = ib.Transport(o >> 5)
	}
	return t == ib.Transport(q.init.Type)
}

// samePartition compares partition keys but for the membership bit (IBTA 10.9.3).
func samePartition(pkey uint16, q *QP) bool {
	const membership = 1 << 15
	return (pkey^pkeyTable[q.attr.PKeyIndex])&^membership == 0
}
