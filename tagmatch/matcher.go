package tagmatch

import (
	"cmp"
	"iter"
)

// Matcher holds posted receives (R) and unexpected messages (U) and pairs them by MPI's rules.
// Calls on one matcher must be serialised by the caller.
type Matcher[R, U any] interface {
	// Post offers a receive. If queued messages fit k, the earliest arrived is removed and returned with matched true
	// and a zero Handle; otherwise the receive is queued behind all earlier ones and the Handle names it.
	// It fails with *KeyError, or with *FullError when the receive would have to be queued and cannot be.
	Post(k Key, recv R) (h Handle, msg U, matched bool, err error)

	// Match offers an arriving message. The earliest posted receive that accepts k is removed and returned.
	// A key that no message can have matches nothing; Unexpected reports it.
	Match(k Key) (recv R, matched bool)

	// Unexpected queues a message that Match has just found no receive for. Any other call between the two may break
	// the order of matching. It fails with *KeyError or *FullError.
	Unexpected(k Key, msg U) (Handle, error)

	// Cancel removes a queued receive. It reports false if h does not name one: it was matched, cancelled or removed
	// before, or h names a message or is zero.
	Cancel(h Handle) (recv R, ok bool)

	// Probe finds the message that a receive with key k would take, and leaves it queued. It fails with *KeyError.
	Probe(k Key) (msg Entry[U], found bool, err error)

	// Extract removes a queued message. It reports false if h does not name one.
	Extract(h Handle) (msg U, ok bool)

	// Len counts what is queued.
	Len() (receives, messages int)

	// Receives yields the queued receives as they are when the loop starts, in the order in which they were posted.
	// The loop's body may change the matcher; what it removes is not yielded any more.
	Receives() iter.Seq[Entry[R]]

	// Messages yields the queued messages in the order in which they arrived, by the same rules.
	Messages() iter.Seq[Entry[U]]

	// RemoveContext removes everything queued in a context, as when its communicator is freed or revoked, and returns
	// it in order. The slices are the caller's.
	RemoveContext(ctx uint32) ([]Entry[R], []Entry[U])

	// RemoveSource removes the messages of one sender and the receives that name it, as when it has failed, and returns
	// them in order. Receives from AnySource stay: another sender may still match them. The slices are the caller's.
	RemoveSource(ctx uint32, source int32) ([]Entry[R], []Entry[U])
}

// Entry is something queued in a Matcher.
type Entry[T any] struct {
	Key    Key
	Handle Handle
	Value  T
}

// Handle names a receive or message queued in the matcher that gave it; the zero Handle names nothing. It is never
// given again: once what it names has left the queue, every call with it reports false.
type Handle struct {
	label uint64 // order of queueing, from 1, receives and messages alike
	index uint32 // where an Engine keeps it
}

// Queued reports whether the handle was given for something that was queued, though it may have left the queue since.
func (h Handle) Queued() bool { return h.label != 0 }

// compare orders handles by when they were given.
func (h Handle) compare(other Handle) int { return cmp.Compare(h.label, other.label) }

// Limits bounds a matcher's queues. A zero or negative field, or one above MaxQueued, means MaxQueued.
type Limits struct {
	Receives int // posted receives queued at once
	Messages int // unexpected messages queued at once
}

// MaxQueued is the largest number of receives, and of messages, that a matcher can hold at once.
const MaxQueued = 1 << 30

func bounded(limit int) int {
	if limit <= 0 || limit > MaxQueued {
		return MaxQueued
	}
	return limit
}

func inContext(ctx uint32) func(Key) bool {
	return func(k Key) bool { return k.Ctx == ctx }
}

// fromSource accepts the keys that name one sender; AnySource as the sender names none.
func fromSource(ctx uint32, source int32) func(Key) bool {
	return func(k Key) bool { return k.Ctx == ctx && k.Source == source && source != AnySource }
}
