// Package collectives turns MPI's collective operations into schedules: graphs
// of sends, receives, reductions and copies that the network interface runs by
// itself (see nicrt.Schedule).
//
// A [Spec] describes one member's part: the [Kind] of operation, who the member
// is, how much data there is. [Plan] makes the member's schedule from it. It
// communicates with nobody: every member plans for itself, and the schedules fit
// together because all members gave the same values.
//
// # How a value flows
//
//  1. The caller makes a Spec from the arguments of, say, an Allreduce.
//  2. Plan checks it, chooses an algorithm by the table in select.go, unless
//     Spec.Algorithm names one of [Algorithms], and lets it write the schedule.
//  3. The caller compiles the schedule (nicrt.Compile) and keeps it for all calls
//     of the same shape. It holds sizes and offsets, no buffers, no operator.
//  4. The NIC runs it on the call's buffers, as often as it is asked to; or a
//     simulator does, in its own time.
//
// # How an algorithm is written
//
// Each is a function that writes one member's steps down in the order in which a
// processor would do them. What waits for what follows from the memory that the
// steps share, and is found by the program type; steps without memory in common
// run at the same time. Groups are cut to powers of two by fold, buffers to parts
// by cut, and tree knows who is whose parent.
//
// # How costs are given
//
// Comments give costs for n members, buffers of B or blocks of b bytes. A step is
// the time of one message; in a step a member sends at most one message and
// receives at most one. Steps, messages and bytes are checked by tests.
//
// # Order and reproducibility
//
// Unless Spec.Commutative says that it does not matter, every result combines
// members strictly in ascending order, as MPI 4.1, section 6.9.1, asks for;
// brackets are set by the algorithm. All members get the same bits from an
// Allreduce, and the same Spec gives the same bits in every run.
//
// All functions may be called from any goroutine.
package collectives
