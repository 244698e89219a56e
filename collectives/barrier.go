package collectives

import "outboard/nicrt"

// barrierDissemination spreads the news of everybody's arrival. In round k each
// member tells the member 2^k after it, around the group, and hears from the
// one 2^k before it; what it tells stands for the 2^k members up to itself. When
// 2^k reaches n, everybody has heard of everybody. (Hensgen, Finkel, Manber:
// Two algorithms for barrier synchronization, 1988.)
//
// Steps: ceil(log2 n). A member sends ceil(log2 n) messages without bytes.
func barrierDissemination(p *program) {
	var told []int // the send and the receive of the round before
	for d := 1; d < p.N; d <<= 1 {
		send := p.add(nicrt.SchedOp{Kind: nicrt.Send, Peer: (p.Self + d) % p.N}, told...)
		recv := p.add(nicrt.SchedOp{Kind: nicrt.Recv, Peer: (p.Self - d + p.N) % p.N})
		told = []int{send, recv}
	}
}
