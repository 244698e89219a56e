// Package tagmatch decides which receive takes which message: MPI's matching rules as a pure data structure.
//
// Two kinds of things wait in a [Matcher]: receives that were posted before their message came, and messages that came
// before their receive was posted (unexpected messages). What a receive (R) and a message (U) are is the caller's
// business; the matcher sees their [Key]: the communicator's context, the sender's rank in it and the tag.
// A receive may leave rank and tag open with [AnySource] and [AnyTag].
//
// The rules are those of MPI 4.1, section 3.5 (messages do not overtake each other):
//
//   - an arriving message goes to the earliest posted of all receives that accept it, wildcards included;
//   - a receive takes the earliest arrived of all messages that it accepts.
//
// # How a value flows
//
//  1. The host posts a receive with [Matcher.Post]. If an unexpected message fits, it comes back at once; else the
//     receive is queued and its [Handle] serves to cancel it.
//  2. A message arrives and the caller asks [Matcher.Match]. If a posted receive fits, it comes back and leaves the queue.
//  3. If none fits, the caller makes of the message whatever has to be kept and hands it to [Matcher.Unexpected] before
//     it makes any other call. Nothing is built for messages that match.
//  4. [Matcher.Probe] finds the message that a receive would take and leaves it there; [Matcher.Extract] takes it, so that
//     no other receive can (matched probe, MPI 4.1, section 3.8.2).
//
// # Two matchers
//
// [Engine] hashes keys: the cost of each call is independent of how much is queued. [List] keeps one ordered list of
// each kind and searches it from the front: fastest when next to nothing is queued, and plain enough to be the oracle
// that the tests hold [Engine] against. Both give the same answers to the same calls.
//
// # Tags and masks
//
// [Tags] is [Engine] behind the interface of a tag-matching shared receive queue (verbs.TMInit): entries are 64-bit tags with masks.
//
// # What the caller sees to
//
//   - Calls are serialised: a matcher has no locks and starts no goroutine.
//   - Memory is bounded by [Limits]; the flow control that keeps senders within them is the caller's.
//   - Steady state allocates nothing: room grows by doubling to the largest number ever queued and is kept.
package tagmatch
