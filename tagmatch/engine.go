package tagmatch

import "iter"

// Engine is a Matcher whose calls cost the same however much is queued.
//
// A receive posted when no other is queued just stands there: a program that receives one message after the other needs
// no table. Otherwise it waits in one queue, that of its key as posted, wildcards included. A message can be accepted by four keys
// (exact; any tag; any source; any of both), so it looks at the heads of at most four queues and the one posted first
// wins. Classes of key that no queued receive has are not looked at: without wildcards a message costs one look-up.
//
// A message waits in the queue of its own key, and in one queue more for each class of wildcard that was ever received
// or probed with while messages were queued, so the head of one queue answers any key. The first such call of a class
// indexes the messages queued at that moment; that call alone takes time in proportion to them.
type Engine[R, U any] struct {
	last uint64 // label given last

	receives pool[R]
	lone     uint32 // a receive that was posted when none was queued, and stays out of posted until another one is; or 0
	posted   queues
	wild     int          // queued receives with wildcards
	ofClass  [classes]int // of these, how many of each class

	messages pool[U]
	arrived  [classes]queues // by the keys of each class, if indexed
	indexed  [classes]bool
}

var _ Matcher[int, int] = (*Engine[int, int])(nil)

// New gives an empty Engine.
func New[R, U any](l Limits) *Engine[R, U] {
	e := &Engine[R, U]{
		receives: pool[R]{limit: bounded(l.Receives)},
		posted:   newQueues(),
		messages: pool[U]{limit: bounded(l.Messages)},
	}
	e.index(exact)
	return e
}

// Post implements Matcher.
func (e *Engine[R, U]) Post(k Key, recv R) (h Handle, msg U, matched bool, err error) {
	if !k.validReceive() {
		return h, msg, false, k.receiveError()
	}
	if n := e.earliestMessage(k); n != 0 {
		return h, e.takeMessage(n), true, nil
	}
	if e.receives.full() {
		return h, msg, false, &FullError{Queue: "receives", Limit: e.receives.limit}
	}
	e.last++
	n := e.receives.add(e.last, k, recv)
	if e.receives.live == 1 {
		e.lone = n
	} else {
		e.enqueueLone()
		e.enqueue(n)
	}
	return Handle{label: e.last, index: n}, msg, false, nil
}

// enqueue puts receive n into the queue of its key.
func (e *Engine[R, U]) enqueue(n uint32) {
	k := e.receives.nodes[n].key
	e.posted.push(k, n)
	if c := k.class(); c != exact {
		e.wild++
		e.ofClass[c]++
	}
}

func (e *Engine[R, U]) enqueueLone() {
	if n := e.lone; n != 0 {
		e.lone = 0
		e.enqueue(n)
	}
}

// Match implements Matcher.
func (e *Engine[R, U]) Match(k Key) (recv R, matched bool) {
	if e.receives.live == 0 || !k.validMessage() {
		return recv, false
	}
	if n := e.lone; n != 0 {
		if !e.receives.nodes[n].key.accepts(k) {
			return recv, false
		}
		e.lone = 0
		return e.receives.remove(n), true
	}
	slot := e.posted.find(k)
	n := e.posted.slots[slot].head
	if e.wild != 0 {
		slot, n = e.earliestReceive(k, slot, n)
	}
	if n == 0 {
		return recv, false
	}
	return e.takeReceive(slot, n), true
}

// earliestReceive compares n, the head of k's own queue in slot, or 0, with the heads of the wildcard queues that accept k.
func (e *Engine[R, U]) earliestReceive(k Key, slot, n uint32) (uint32, uint32) {
	for c := exact + 1; c < classes; c++ {
		if e.ofClass[c] == 0 {
			continue
		}
		i := e.posted.find(k.as(c))
		m := e.posted.slots[i].head
		if m != 0 && (n == 0 || e.receives.nodes[m].label < e.receives.nodes[n].label) {
			slot, n = i, m
		}
	}
	return slot, n
}

// Unexpected implements Matcher.
func (e *Engine[R, U]) Unexpected(k Key, msg U) (Handle, error) {
	if !k.validMessage() {
		return Handle{}, k.messageError()
	}
	if e.messages.full() {
		return Handle{}, &FullError{Queue: "messages", Limit: e.messages.limit}
	}
	e.last++
	n := e.messages.add(e.last, k, msg)
	for c := range e.arrived {
		if e.indexed[c] {
			e.arrived[c].push(k.as(class(c)), n)
		}
	}
	return Handle{label: e.last, index: n}, nil
}

// Cancel implements Matcher.
func (e *Engine[R, U]) Cancel(h Handle) (recv R, ok bool) {
	n := e.receives.find(h)
	if n == 0 {
		return recv, false
	}
	if n == e.lone {
		e.lone = 0
		return e.receives.remove(n), true
	}
	return e.takeReceive(e.posted.find(e.receives.nodes[n].key), n), true
}

// Probe implements Matcher.
func (e *Engine[R, U]) Probe(k Key) (msg Entry[U], found bool, err error) {
	if !k.validReceive() {
		return msg, false, k.receiveError()
	}
	n := e.earliestMessage(k)
	if n == 0 {
		return msg, false, nil
	}
	return e.messages.entry(n), true, nil
}

// Extract implements Matcher.
func (e *Engine[R, U]) Extract(h Handle) (msg U, ok bool) {
	n := e.messages.find(h)
	if n == 0 {
		return msg, false
	}
	return e.takeMessage(n), true
}

// Len implements Matcher.
func (e *Engine[R, U]) Len() (receives, messages int) { return e.receives.live, e.messages.live }

// Receives implements Matcher.
func (e *Engine[R, U]) Receives() iter.Seq[Entry[R]] { return e.receives.each }

// Messages implements Matcher.
func (e *Engine[R, U]) Messages() iter.Seq[Entry[U]] { return e.messages.each }

// RemoveContext implements Matcher.
func (e *Engine[R, U]) RemoveContext(ctx uint32) ([]Entry[R], []Entry[U]) {
	return e.remove(inContext(ctx))
}

// RemoveSource implements Matcher.
func (e *Engine[R, U]) RemoveSource(ctx uint32, source int32) ([]Entry[R], []Entry[U]) {
	return e.remove(fromSource(ctx, source))
}

func (e *Engine[R, U]) remove(which func(Key) bool) (receives []Entry[R], messages []Entry[U]) {
	for _, h := range e.receives.inOrder(which) {
		receives = append(receives, e.receives.entry(h.index))
		e.Cancel(h)
	}
	for _, h := range e.messages.inOrder(which) {
		messages = append(messages, e.messages.entry(h.index))
		e.Extract(h)
	}
	return receives, messages
}

// earliestMessage gives the message that a receive with key k takes, or 0.
func (e *Engine[R, U]) earliestMessage(k Key) uint32 {
	if e.messages.live == 0 {
		return 0
	}
	c := k.class()
	if !e.indexed[c] {
		e.index(c)
	}
	q := &e.arrived[c]
	return q.slots[q.find(k)].head
}

// index makes the messages findable by keys of class c, from now on.
func (e *Engine[R, U]) index(c class) {
	e.arrived[c] = newQueues()
	for _, h := range e.messages.inOrder(func(Key) bool { return true }) {
		e.arrived[c].push(e.messages.nodes[h.index].key.as(c), h.index)
	}
	e.indexed[c] = true
}

// takeReceive removes receive n, which is queued in slot.
func (e *Engine[R, U]) takeReceive(slot, n uint32) R {
	e.posted.remove(slot, n)
	if c := e.receives.nodes[n].key.class(); c != exact {
		e.wild--
		e.ofClass[c]--
	}
	return e.receives.remove(n)
}

// takeMessage removes message n from every queue that it is in.
func (e *Engine[R, U]) takeMessage(n uint32) U {
	k := e.messages.nodes[n].key
	for c := range e.arrived {
		if e.indexed[c] {
			q := &e.arrived[c]
			q.remove(q.find(k.as(class(c))), n)
		}
	}
	return e.messages.remove(n)
}
