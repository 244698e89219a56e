// Package unit is the match unit of a NIC: the program that sends messages under a tagmatch.Key and puts each arriving
// one into the buffer of the receive that it matches, without the host of the receiver.
//
// A [Unit] is installed on a nicrt.NIC, one for each, under the same number on all NICs of the mesh. An [Op] is a send or a
// receive in flight; the caller owns its memory and waits on its Done, by nicrt.NIC.Wait for example.
//
// # Protocol
//
// A message of at most [Unit.EagerMax] bytes travels with its data in one packet, EAGER. It goes straight into the buffer
// of a posted receive, or is copied and kept until a receive takes it. The send is done when the packet is on the wire.
//
// For a longer message the sender exposes its buffer and announces it by a request to send, RTS, with address, key,
// length and the number of the send. When that matches, the receiver's NIC reads the buffer by RDMA READ, completes the receive,
// and answers FIN with the number; the sender's NIC then closes the buffer and completes the send. If the receiver does not take the
// message, because its context has ended there or the read failed, FIN says so and the send fails with [ErrRefused].
//
//	sender                        receiver
//	EAGER  ctx, source, tag, data ──────▶  match, copy
//
//	RTS    ctx, source, tag, id, buffer ─▶ match
//	            ◀────────────── RDMA READ
//	            ◀─────────────────────── FIN id, taken or refused
//
// # How a value flows
//
//  1. [Unit.Send] gives the first packet to the wire. When that has no room, the message waits in the outbox, and with it all
//     later ones to that peer: so messages arrive in the order in which they were sent, as MPI demands (MPI 4.1, section 3.5).
//     The outbox empties as the NIC is polled.
//  2. At the receiver the NIC's poll hands the packet to the unit's header handler, which asks the tagmatch.Engine for a receive.
//  3. The receive that [Unit.Recv] posted is completed; or the message is kept, and the Recv to come finds it.
//
// # When things go wrong
//
//   - A message longer than the receive's buffer fills it and completes the receive with [ErrTruncate]. Its sender does not notice.
//   - When a peer is lost, the sends to it and the reads from it end with a *nicrt.PeerError. Its eager messages that have arrived
//     can still be received. Receives that wait for it are the host's to end, by [Unit.Cancel], [Unit.FailContext] or [Unit.FreeContext]: the
//     unit does not know which peers may send in a context.
//   - What arrives is not trusted: a packet that no unit sends is dropped and counted. No packet can end an operation with
//     another peer. Whether a peer may use the source and the context that it names is not checked.
//   - A message that nobody receives is kept without limit: flow control is the user's.
//
// # What the caller sees to
//
// All methods are called with the NIC's lock held, and none from a function given to nicrt.NIC.OnDown. After the NIC is closed no operation ends any
// more: nicrt.NIC.Wait reports that.
package unit
