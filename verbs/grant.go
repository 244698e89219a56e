package verbs

import "outboard/verbs/fabric"

// A queue pair tells its peer what it may do by a fabric.Grant, a word that the peer reads
// when it needs to. Grant.Access has, from the lowest bit:
//
//	 4 bits  the remote rights of the queue pair
//	 1 bit   a Sink takes SENDs: no receive is needed
//	 1 bit   the queue pair talks in IBTA packets, and so must the peer
//	 5 bits  MIN_RNR_TIMER
//	21 bits  receives posted since RESET, modulo 2^21
//
// The last is the credit of IBTA 9.7.7.2: a requester puts a message that takes a receive on the
// wire only when there is one for it. So a message without a receive never
// blocks what the peer sends behind it, and cannot be delivered after its sender has given up.
const (
	grantRights  = 4
	grantSink    = 1 << grantRights
	grantPackets = grantSink << 1
	grantTimer   = grantRights + 2
	grantCredit  = grantTimer + 5
	creditBits   = 32 - grantCredit
	grantRNRMask = 31
)

// grant tells the peer what it may do here now.
func (q *QP) grant() {
	a := uint32(q.attr.Access&qpRights) | uint32(q.attr.MinRNRTimer)<<grantTimer | uint32(q.rq.head)<<grantCredit
	if q.attr.MaxDestRdAtomic == 0 {
		a &^= uint32(RemoteRead | RemoteAtomic) // none is served
	}
	if q.init.Sink != nil {
		a |= grantSink
	}
	if q.wire != nil {
		a |= grantPackets
	}
	q.conn.Grant(fabric.Grant{Ready: q.receives(), PD: q.pd.num, Access: a})
}

// grantRNR is the RNR timer code in g.
func grantRNR(g fabric.Grant) uint8 { return uint8(g.Access>>grantTimer) & grantRNRMask }

// credits is how many more messages than sent the peer of g has receives for.
func credits(g fabric.Grant, sent uint32) int32 {
	return creditsLeft(g.Access>>grantCredit, sent)
}

// creditsLeft is posted-sent modulo 2^21, with its sign: a message that SendNow sent without credit makes it negative.
func creditsLeft(posted, sent uint32) int32 {
	return int32((posted-sent)<<(32-creditBits)) >> (32 - creditBits)
}
