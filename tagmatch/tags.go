package tagmatch

import (
	"slices"

	"outboard/verbs"
)

// Tags is the matching list of a tag-matching shared receive queue, made of Engines: it does what verbs.NewTagList does, and a
// call costs the same however much is queued, while the entries have no more than four different masks. That is what MPI needs: its
// wildcards make four classes of receives.
//
// Each of up to four masks has an Engine, in which an entry is a receive whose key is the entry's tag, and a message looks for its
// tag as masked. Entries with other masks stand in a list that is searched from the front. Of the first in each that accepts a
// message the one added first wins. An Engine that runs empty is free for another mask.
type Tags struct {
	limit   int
	live    int
	last    uint64 // order of addition
	engines [tagMasks]maskEngine
	rest    []restEntry // in order
	entries []tagEntry  // by handle; 0 is never used
	free    uint32      // first of the unused ones, chained by next, or 0
}

type restEntry struct {
	tag, mask uint64
	handle    uint32
}

const tagMasks = 4

// maskEngine holds the entries that have one mask.
type maskEngine struct {
	*Engine[uint32, struct{}]
	mask uint64
}

type tagEntry struct {
	order  uint64 // of addition; 0 while unused
	engine int8   // or inRest
	handle Handle // in its Engine
	next   uint32
}

const inRest = -1

var _ verbs.TagList = (*Tags)(nil)

// NewTags gives an empty list for up to limit entries; a limit below 1 means MaxQueued.
func NewTags(limit int) *Tags {
	l := &Tags{limit: bounded(limit), entries: make([]tagEntry, 1)}
	for i := range l.engines {
		l.engines[i].Engine = New[uint32, struct{}](Limits{})
	}
	return l
}

// keyOf spreads a tag over a key without wildcards.
func keyOf(tag uint64) Key {
	const low31 = 1<<31 - 1
	return Key{Ctx: uint32(tag >> 32), Source: int32(tag >> 31 & 1), Tag: int32(tag & low31)}
}

// Add implements verbs.TagList.
func (l *Tags) Add(tag, mask uint64) (uint32, bool) {
	if l.live >= l.limit {
		return 0, false
	}
	n := l.free
	if n == 0 {
		n = uint32(len(l.entries))
		l.entries = append(l.entries, tagEntry{})
	}
	e := &l.entries[n]
	next := e.next
	if i := l.engineFor(mask); i >= 0 {
		h, _, _, err := l.engines[i].Post(keyOf(tag), n)
		if err != nil {
			return 0, false
		}
		*e = tagEntry{engine: int8(i), handle: h}
	} else {
		*e = tagEntry{engine: inRest}
		l.rest = append(l.rest, restEntry{tag, mask, n})
	}
	l.last++
	e.order = l.last
	l.free = next
	l.live++
	return n, true
}

// engineFor gives the Engine for a mask, or inRest if all are taken by others.
func (l *Tags) engineFor(mask uint64) int {
	found := inRest
	for i := range l.engines {
		m := &l.engines[i]
		switch empty := m.receives.live == 0; {
		case !empty && m.mask == mask:
			return i
		case empty && found == inRest:
			found = i
		}
	}
	if found != inRest {
		l.engines[found].mask = mask
	}
	return found
}

// Del implements verbs.TagList.
func (l *Tags) Del(handle uint32) bool {
	if int(handle) >= len(l.entries) || l.entries[handle].order == 0 {
		return false
	}
	if e := &l.entries[handle]; e.engine == inRest {
		l.rest = slices.DeleteFunc(l.rest, func(r restEntry) bool { return r.handle == handle })
	} else {
		l.engines[e.engine].Cancel(e.handle)
	}
	l.entries[handle] = tagEntry{next: l.free}
	l.free = handle
	l.live--
	return true
}

// Match implements verbs.TagList.
func (l *Tags) Match(tag uint64) (uint32, bool) {
	n := uint32(0)
	for i := range l.engines {
		e := &l.engines[i]
		if m, ok := e.first(keyOf(tag & e.mask)); ok && (n == 0 || l.entries[m].order < l.entries[n].order) {
			n = m
		}
	}
	for _, r := range l.rest {
		if tag&r.mask == r.tag {
			if n == 0 || l.entries[r.handle].order < l.entries[n].order {
				n = r.handle
			}
			break
		}
	}
	return n, n != 0 && l.Del(n)
}

// Len implements verbs.TagList.
func (l *Tags) Len() int { return l.live }

// first is Match for a key of an Engine without receives that have wildcards, but takes nothing.
func (e *Engine[R, U]) first(k Key) (recv R, found bool) {
	n := e.lone
	switch {
	case e.receives.live == 0:
		return recv, false
	case n != 0 && !e.receives.nodes[n].key.accepts(k):
		return recv, false
	case n == 0:
		n = e.posted.slots[e.posted.find(k)].head
	}
	if n == 0 {
		return recv, false
	}
	return e.receives.values[n], true
}
