package unit

// A table numbers the sends that wait for FIN. An id is an index in the lower 24 bits and, above, a
// generation that changes at each reuse, so that a late or forged answer finds nothing.
type table struct {
	entries []entry
	free    []uint32
	limit   int
}

type entry struct {
	op   *Op // nil: its owner has given up, the peer has not
	peer int32
	key  uint32 // of the exposed buffer
	gen  uint8
	live bool
}

const (
	genShift = 24
	maxSends = 1 << genShift
)

func newTable() table { return table{limit: maxSends} }

// full says that add must not be called.
func (t *table) full() bool { return len(t.free) == 0 && len(t.entries) >= t.limit }

func (t *table) add(op *Op, peer int32, key uint32) uint32 {
	if len(t.free) == 0 {
		t.free = append(t.free, uint32(len(t.entries)))
		t.entries = append(t.entries, entry{})
	}
	n := len(t.free) - 1
	i := t.free[n]
	t.free = t.free[:n]
	e := &t.entries[i]
	e.op, e.peer, e.key, e.live = op, peer, key, true
	return t.id(int(i))
}

func (t *table) id(i int) uint32 { return uint32(i) | uint32(t.entries[i].gen)<<genShift }

// get finds an entry, or nil.
func (t *table) get(id uint32) *entry {
	if i := id & (maxSends - 1); int(i) < len(t.entries) && t.entries[i].live && t.id(int(i)) == id {
		return &t.entries[i]
	}
	return nil
}

// remove frees the number of an entry that is there.
func (t *table) remove(id uint32) {
	e := t.get(id)
	*e = entry{gen: e.gen + 1}
	t.free = append(t.free, id&(maxSends-1))
}
