// Package nicrt is the runtime that lives on a network interface: it runs programs on the messages that arrive,
// counts events and does what they trigger, and executes schedules, which are communication patterns as data, while the
// host computes.
//
// # Main types
//
// A [NIC] is the runtime on one device context. It belongs to a mesh, whose members it knows by number: its peers. A
// [Program] has handlers, which get a [Task]: one packet, NIC memory, and commands. A message begins with a
// [Header], which names the program. A [Triggered] operation waits for a [Counter]. A [Schedule] is one member's part in a
// pattern of sends, receives and reductions; [Compile] makes it ready, and the members of a [Group] run it. A
// [Completion] is where the host learns of an end, an [Event] what a program tells its host, a [HostRegion] host
// memory that programs reach, and an [Account] what has been done.
//
// # How a packet flows
//
// [NIC.Send] puts header and payload on the wire as one packet; [NIC.Post] takes payloads of any length, in as many packets as
// that needs. At the other end whoever runs the NIC takes the packet off the wire and finds its program by number. The
// handlers of a resident program run at once, on that thread and on the wire's own bytes. For another program
// the packet is copied to NIC memory and its handlers run on HPUs, which are goroutines; their commands come back
// to the NIC's thread, which carries them out. A packet for which there is no room stays on the wire, and the
// sender's next ones wait behind it. Schedules are a resident program too: an arrival releases the operations
// that have waited for it, which send, reduce, and in the end finish a Completion.
//
// # What the caller must do
//
//  1. Run the NIC. It has no thread of its own beyond the context's, which takes over after about a millisecond in which
//     nobody polls: a goroutine that waits by [NIC.Wait], [NIC.WaitRun] or [NIC.NextEvent] lends its own.
//  2. Hold the lock, between [NIC.Lock] and [NIC.Unlock], for the methods that say so. Handlers of resident
//     programs, functions of triggered operations and [Completion].Notify run with it held: they must neither block
//     nor take it.
//  3. Leave memory alone that was given away: a posted payload until its Completion is done, the buffers of a run until
//     its is, exposed memory until [NIC.Conceal], the memory of a triggered operation until it is cancelled or over.
//  4. Agree with the other members: on the number of a program, on the id of a group and the order of its
//     schedules.
//  5. Close the NIC. Nothing that waits is left behind: it ends with [ErrClosed].
//
// What comes off the wire is checked before it is used, and counted in the Account where it makes no sense. A handler
// that breaks a rule stops its program and nothing else. The loss of a peer fails what depends on it, with a
// [*PeerError].
package nicrt
