// Package port is what all fabrics over shared memory have in common: the endpoints of a port, the
// loop that polls them, the table of regions, and the rules by which Conns come and go. A
// fabric embeds a Port and supplies, as a Backend, the memory that its rings lie in and the way to
// its peers, and, as a Peer, each port that it reached.
//
// A packet flows so: Conn.Send writes it into the ring of the peer's endpoint, which lies in the
// peer's memory; if the peer asked for it, a bit in the peer's Control says which
// endpoint, and a sleeping peer is woken. Port.Poll of the peer finds it by
// looking at all rings, or, with many of them, at the bits, and gives it to the fabric.Receiver.
//
// What happens seldom (an unopened endpoint gets a packet, a peer closes or dies) sets a bit
// in the same word of the Control that Poll reads anyway.
package port
