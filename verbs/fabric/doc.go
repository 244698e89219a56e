// Package fabric is the wire under the verbs: ports, the Conns between their endpoints, and what a
// port lets its peers reach directly.
//
// It says what a fabric does and moves no byte itself. Packages inproc (one process) and shm
// (the processes of one machine) are fabrics, and faulty makes a bad one of either; package fabrictest is the suite
// that every fabric passes.
//
// A packet flows so. The NIC that owns a Port has opened an endpoint and connected it to an
// endpoint of the peer's Port. Conn.Send puts a Header and a payload on the wire. The
// peer's NIC calls Port.Poll, which hands the packet to its Receiver; the Receiver takes it,
// or refuses it for now. Nothing calls back by itself: when a NIC has no more to do it arms its Port, polls
// once more, and sleeps until a peer rings.
package fabric
