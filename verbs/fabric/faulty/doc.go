// Package faulty makes a bad wire out of a good one: a [Port] wraps any fabric.Port and loses, repeats,
// reorders, delays and damages the packets that it sends, and cuts links.
//
// A packet flows so. [Conn.Send] numbers it, on its Conn, and asks the port's [Injector] for its [Fault]. Most
// packets have none and go into the inner Conn at once. One that is to come late is copied and held; it
// goes into the inner Conn when it is due and somebody polls the port, which every NIC does:
// there is no goroutine, and [Port.Sleep] returns in time for the next packet that is due. What arrives
// is left alone, so a link fails in one direction only unless both ports are wrapped.
//
// Injectors are pure functions of the packet's number, its endpoint and a seed. The same sends get the same faults in
// every run, whatever other Conns do meanwhile and however often a full wire has refused a packet. An
// Injector prints itself, and [Parse] reads that back: what a failing test has printed is what reproduces it.
//
// The two ends of a lane should have different seeds, or their faults coincide where their endpoints do.
package faulty
