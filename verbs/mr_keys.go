package verbs

import (
	"math"
	"slices"

	"outboard/verbs/fabric"
)

// keyTable finds regions and windows by key: index in the upper 24 bits, a variant in the lower 8. The device
// changes the variant at each reuse of an index, so that a stale key is caught; that of a window of type 2 is its
// owner's to choose (IBTA 10.6.7.1.1).
type keyTable struct {
	slots    []keySlot
	free     []uint32
	limit    int // of slots
	mrs, mws int // live ones
}

// keySlot holds a region, a window, or neither.
type keySlot struct {
	mr      *MR
	mw      *MW
	variant uint8 // of the last key
}

// variantBits is the width of the variant in a key.
const variantBits = 8

// IncRKey is the key that follows rkey: the same index with the next variant, for the next bind of a window of type 2 (ibv_inc_rkey).
func IncRKey(rkey uint32) uint32 {
	const variant = 1<<variantBits - 1
	return rkey&^variant | (rkey+1)&variant
}

// take takes a free index. Windows do not get index 0: one of its variants makes key 0, which is never valid.
func (t *keyTable) take(window bool) (i uint32, ok bool) {
	at := len(t.free) - 1
	if window && len(t.slots) == 0 {
		t.slots, t.free = append(t.slots, keySlot{}), append(t.free, 0)
	} else if window && at >= 0 && t.free[at] == 0 {
		at--
	}
	switch {
	case at >= 0:
		i = t.free[at]
		t.free = slices.Delete(t.free, at, at+1)
	case len(t.slots) < t.limit:
		i = uint32(len(t.slots))
		t.slots = append(t.slots, keySlot{})
	default:
		return 0, false
	}
	return i, true
}

// next gives an index its next key.
func (t *keyTable) next(i uint32) uint32 {
	s := &t.slots[i]
	s.variant++
	if i == 0 && s.variant == 0 {
		s.variant = 1
	}
	return i<<variantBits | uint32(s.variant)
}

// put gives an index back, whose last key that was.
func (t *keyTable) put(last uint32) {
	i := last >> variantBits
	t.slots[i] = keySlot{variant: uint8(last)}
	t.free = append(t.free, i)
}

func (t *keyTable) slot(key uint32) keySlot {
	if i := key >> variantBits; int(i) < len(t.slots) {
		return t.slots[i]
	}
	return keySlot{}
}

// mr finds the region that a key names; that of a window names none.
func (t *keyTable) mr(key uint32) *MR {
	if m := t.slot(key).mr; m != nil && m.key == key {
		return m
	}
	return nil
}

// mw finds the window whose last bind gave it the key, or which has had it since it was allocated.
func (t *keyTable) mw(key uint32) *MW {
	if w := t.slot(key).mw; w != nil && w.key == key {
		return w
	}
	return nil
}

// remote is what a peer reaches with a key.
func (t *keyTable) remote(key uint32) (r fabric.Region, ok bool) {
	s := t.slot(key)
	switch {
	case s.mr != nil && s.mr.key == key:
		return s.mr.region(), true
	case s.mw != nil && s.mw.key == key && s.mw.mr != nil:
		return s.mw.region(), true
	}
	return r, false
}

// covering finds a region that has one of n bytes at addr.
func (t *keyTable) covering(addr, n uint64) *MR {
	for _, s := range t.slots {
		if m := s.mr; m != nil && AddrOf(m.buf) < addr+n && addr < AddrOf(m.buf)+uint64(len(m.buf)) {
			return m
		}
	}
	return nil
}

// releaseAll ends all windows and regions of a context that closes. What fails does because the wire is gone already.
func (t *keyTable) releaseAll() {
	for i := range t.slots {
		if w := t.slots[i].mw; w != nil {
			w.users = 0
			_ = w.dealloc()
		}
	}
	for i := range t.slots {
		if m := t.slots[i].mr; m != nil {
			m.users = 0
			_ = m.ctx.deregMR(m)
		}
	}
}

// The rights of a region as peers read them, fabric.Region.Access, are those of its Access; those of a window of type 2
// have the number of its queue pair above them, for which alone they are.
const accessQPN = 8

// windowOfQP are the bits of the number.
const windowOfQP = math.MaxUint32 &^ (1<<accessQPN - 1)

var _ [1<<accessQPN - 1 - mrRights]byte // they fit
