package verbs

import "slices"

// A TagList is the matching list of a tag-matching shared receive queue: entries that each accept the tags t with
// t & mask == tag. Calls are serialized by whoever uses it.
type TagList interface {
	// Add appends an entry, and reports false if there is no room. The handle is not that of another entry in the list.
	Add(tag, mask uint64) (handle uint32, ok bool)
	// Del removes an entry, and reports false if there is none with the handle.
	Del(handle uint32) bool
	// Match removes the entry that was added first of those that accept a tag, and reports false if none does.
	Match(tag uint64) (handle uint32, ok bool)
	// Len counts the entries.
	Len() int
}

// tagList is a TagList that is searched from the front.
type tagList struct {
	limit   int
	last    uint32
	entries []tagListEntry
}

type tagListEntry struct {
	tag, mask uint64
	handle    uint32
}

// NewTagList gives an empty TagList for up to limit entries: the plain one, in which a search takes time in
// proportion to what is queued. It is what a queue gets that was made without one.
func NewTagList(limit int) TagList { return &tagList{limit: limit} }

// Add implements TagList.
func (l *tagList) Add(tag, mask uint64) (uint32, bool) {
	if len(l.entries) >= l.limit {
		return 0, false
	}
	for l.last++; l.position(l.last) >= 0; {
		l.last++
	}
	l.entries = append(l.entries, tagListEntry{tag, mask, l.last})
	return l.last, true
}

func (l *tagList) position(handle uint32) int {
	return slices.IndexFunc(l.entries, func(e tagListEntry) bool { return e.handle == handle })
}

// Del implements TagList.
func (l *tagList) Del(handle uint32) bool {
	i := l.position(handle)
	if i >= 0 {
		l.entries = slices.Delete(l.entries, i, i+1)
	}
	return i >= 0
}

// Match implements TagList.
func (l *tagList) Match(tag uint64) (uint32, bool) {
	for i, e := range l.entries {
		if tag&e.mask == e.tag {
			l.entries = slices.Delete(l.entries, i, i+1)
			return e.handle, true
		}
	}
	return 0, false
}

// Len implements TagList.
func (l *tagList) Len() int { return len(l.entries) }
