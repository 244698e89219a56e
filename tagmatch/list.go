package tagmatch

import (
	"iter"
	"slices"
)

// List is a Matcher that keeps receives and messages in one list each, in order, and searches them from the front. A
// call's cost grows with what is queued.
type List[R, U any] struct {
	last     uint64 // label given last
	receives []Entry[R]
	messages []Entry[U]
	limits   Limits
}

var _ Matcher[int, int] = (*List[int, int])(nil)

// NewList gives an empty List.
func NewList[R, U any](l Limits) *List[R, U] {
	return &List[R, U]{limits: Limits{Receives: bounded(l.Receives), Messages: bounded(l.Messages)}}
}

// Post implements Matcher.
func (l *List[R, U]) Post(k Key, recv R) (h Handle, msg U, matched bool, err error) {
	if !k.validReceive() {
		return h, msg, false, k.receiveError()
	}
	if i := l.earliestMessage(k); i >= 0 {
		return h, take(&l.messages, i), true, nil
	}
	if len(l.receives) >= l.limits.Receives {
		return h, msg, false, &FullError{Queue: "receives", Limit: l.limits.Receives}
	}
	l.last++
	h.label = l.last
	l.receives = append(l.receives, Entry[R]{Key: k, Handle: h, Value: recv})
	return h, msg, false, nil
}

// Match implements Matcher.
func (l *List[R, U]) Match(k Key) (recv R, matched bool) {
	if !k.validMessage() {
		return recv, false
	}
	for i := range l.receives {
		if l.receives[i].Key.accepts(k) {
			return take(&l.receives, i), true
		}
	}
	return recv, false
}

// Unexpected implements Matcher.
func (l *List[R, U]) Unexpected(k Key, msg U) (h Handle, err error) {
	if !k.validMessage() {
		return h, k.messageError()
	}
	if len(l.messages) >= l.limits.Messages {
		return h, &FullError{Queue: "messages", Limit: l.limits.Messages}
	}
	l.last++
	h.label = l.last
	l.messages = append(l.messages, Entry[U]{Key: k, Handle: h, Value: msg})
	return h, nil
}

// Cancel implements Matcher.
func (l *List[R, U]) Cancel(h Handle) (recv R, ok bool) {
	i, ok := position(l.receives, h)
	if !ok {
		return recv, false
	}
	return take(&l.receives, i), true
}

// Probe implements Matcher.
func (l *List[R, U]) Probe(k Key) (msg Entry[U], found bool, err error) {
	if !k.validReceive() {
		return msg, false, k.receiveError()
	}
	i := l.earliestMessage(k)
	if i < 0 {
		return msg, false, nil
	}
	return l.messages[i], true, nil
}

// Extract implements Matcher.
func (l *List[R, U]) Extract(h Handle) (msg U, ok bool) {
	i, ok := position(l.messages, h)
	if !ok {
		return msg, false
	}
	return take(&l.messages, i), true
}

// Len implements Matcher.
func (l *List[R, U]) Len() (receives, messages int) { return len(l.receives), len(l.messages) }

// Receives implements Matcher.
func (l *List[R, U]) Receives() iter.Seq[Entry[R]] { return each(&l.receives) }

// Messages implements Matcher.
func (l *List[R, U]) Messages() iter.Seq[Entry[U]] { return each(&l.messages) }

// RemoveContext implements Matcher.
func (l *List[R, U]) RemoveContext(ctx uint32) ([]Entry[R], []Entry[U]) {
	which := inContext(ctx)
	return split(&l.receives, which), split(&l.messages, which)
}

// RemoveSource implements Matcher.
func (l *List[R, U]) RemoveSource(ctx uint32, source int32) ([]Entry[R], []Entry[U]) {
	which := fromSource(ctx, source)
	return split(&l.receives, which), split(&l.messages, which)
}

// earliestMessage gives the position of the message that a receive with key k takes, or -1.
func (l *List[R, U]) earliestMessage(k Key) int {
	for i := range l.messages {
		if k.accepts(l.messages[i].Key) {
			return i
		}
	}
	return -1
}

// position finds what h names in a list, which is in order of labels.
func position[T any](list []Entry[T], h Handle) (int, bool) {
	return slices.BinarySearchFunc(list, h, func(e Entry[T], h Handle) int { return e.Handle.compare(h) })
}

// take removes and returns the value at position i.
func take[T any](list *[]Entry[T], i int) T {
	v := (*list)[i].Value
	*list = slices.Delete(*list, i, i+1)
	return v
}

// split removes and returns the entries whose key is accepted by which.
func split[T any](list *[]Entry[T], which func(Key) bool) (removed []Entry[T]) {
	*list = slices.DeleteFunc(*list, func(e Entry[T]) bool {
		if !which(e.Key) {
			return false
		}
		removed = append(removed, e)
		return true
	})
	return removed
}

// each yields the entries that a list has when the loop starts, skipping those that leave during it.
func each[T any](list *[]Entry[T]) iter.Seq[Entry[T]] {
	return func(yield func(Entry[T]) bool) {
		for _, e := range slices.Clone(*list) {
			if _, ok := position(*list, e.Handle); ok && !yield(e) {
				return
			}
		}
	}
}
