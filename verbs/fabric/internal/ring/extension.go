package ring

import (
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// An extension is what the bulk area of a ring of ordinary memory has besides the first window. Its i-th area is as long as
// all that comes before it, and is made when the sender first needs it.
type extension struct {
	first uint64 // bytes of the first window
	areas [32]atomic.Pointer[byte]
}

// area returns the number of the area in which an offset past the first window lies.
func (e *extension) area(off uint64) int { return bits.Len64(off/e.first) - 1 }

// at returns the memory at an offset of the bulk area, nil if it is in an area that nobody has made.
func (r *Ring) at(off uint64) unsafe.Pointer {
	e := r.more
	if e == nil || off < e.first {
		return unsafe.Add(r.bulk, off)
	}
	i := e.area(off)
	mem := e.areas[i].Load()
	if mem == nil {
		return nil
	}
	return unsafe.Add(unsafe.Pointer(mem), off-e.first<<i)
}

// extend makes the memory at an offset of the bulk area, unless it is there.
func (r *Ring) extend(off uint64) {
	e := r.more
	if e == nil || off < e.first {
		return
	}
	if i := e.area(off); e.areas[i].Load() == nil {
		e.areas[i].Store(unsafe.SliceData(make([]byte, e.first<<i)))
	}
}

// piece returns the number of bytes from an offset on that lie in one piece: up to where the window, or an area of an extension,
// may end.
func (g *Geometry) piece(off uint64) uint64 {
	w := uint64(g.window())
	return max(w, 1<<bits.Len64(off)) - off
}
