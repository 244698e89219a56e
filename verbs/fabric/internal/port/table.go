package port

import (
	"fmt"
	"math"
	"sync/atomic"
	"unsafe"

	"outboard/verbs/fabric"
)

// EntryLen is the length of one entry of a region table in memory.
const EntryLen = 64

const chunkLen = 256

// An Entry is one region in a table. All fields but the key are constant while the key is not
// 0 or somebody holds the key.
type Entry struct {
	key    atomic.Uint32
	pd     uint32
	access uint32
	_      uint32
	base   uint64
	length uint64
	real   uint64 // address of the memory in the owner
	seg    uint64 // 1 + offset in the owner's device memory, or 0
	_      [16]byte
}

var _ [EntryLen - unsafe.Sizeof(Entry{})]byte

// A Table is the table of regions of one port. Only its owner changes it.
type Table struct {
	n       int
	entries []atomic.Pointer[[chunkLen]Entry]
	bufs    []atomic.Pointer[[chunkLen][]byte] // the memory, within the owner's process
}

// NewTable returns a table of n entries that takes memory as it fills.
func NewTable(n int) *Table {
	chunks := (n + chunkLen - 1) / chunkLen
	return &Table{
		n:       n,
		entries: make([]atomic.Pointer[[chunkLen]Entry], chunks),
		bufs:    make([]atomic.Pointer[[chunkLen][]byte], chunks),
	}
}

// MapTable returns the table whose n entries lie at mem, n a multiple of 256. Without own the
// table belongs to another process.
func MapTable(mem unsafe.Pointer, n int, own bool) *Table {
	t := &Table{n: n, entries: make([]atomic.Pointer[[chunkLen]Entry], n/chunkLen)}
	for i := range t.entries {
		t.entries[i].Store((*[chunkLen]Entry)(unsafe.Add(mem, i*chunkLen*EntryLen)))
	}
	if own {
		t.bufs = make([]atomic.Pointer[[chunkLen][]byte], n/chunkLen)
	}
	return t
}

// CheckRegions returns an error unless n is a possible size of a table.
func CheckRegions(n int) error {
	if n < chunkLen || n > 1<<24 || n%chunkLen != 0 {
		return fmt.Errorf("port: %d regions, want a multiple of %d to %d", n, chunkLen, 1<<24)
	}
	return nil
}

func (t *Table) entry(key uint32) *Entry {
	i := int(key >> 8)
	if i >= t.n {
		return nil
	}
	chunk := t.entries[i/chunkLen].Load()
	if chunk == nil {
		return nil
	}
	return &chunk[i%chunkLen]
}

// add publishes r, whose memory is at offset seg-1 of the device memory if seg is not 0.
func (t *Table) add(r fabric.Region, seg uint64) error {
	i := int(r.Key >> 8)
	switch {
	case r.Key == 0:
		return fmt.Errorf("%w: key 0 is never valid", fabric.ErrRegion)
	case i >= t.n:
		return fmt.Errorf("%w: key %#x has index %d, want less than %d", fabric.ErrRegion, r.Key, i, t.n)
	case uint64(len(r.Buf)) != r.Len:
		return fmt.Errorf("%w: key %#x: Len is %d, but Buf has %d bytes", fabric.ErrRegion, r.Key, r.Len, len(r.Buf))
	case r.Len > math.MaxUint64-r.Base:
		return fmt.Errorf("%w: key %#x: base %#x plus length %d passes the end of the address space", fabric.ErrRegion, r.Key, r.Base, r.Len)
	}
	if t.entries[i/chunkLen].Load() == nil {
		t.entries[i/chunkLen].Store(new([chunkLen]Entry))
	}
	e := t.entry(r.Key)
	if old := e.key.Load(); old != 0 {
		return fmt.Errorf("%w: key %#x: entry %d holds key %#x", fabric.ErrRegion, r.Key, i, old)
	}
	if t.bufs[i/chunkLen].Load() == nil {
		t.bufs[i/chunkLen].Store(new([chunkLen][]byte))
	}
	t.bufs[i/chunkLen].Load()[i%chunkLen] = r.Buf
	e.pd, e.access, e.base, e.length, e.seg = r.PD, r.Access, r.Base, r.Len, seg
	e.real = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(r.Buf))))
	e.key.Store(r.Key)
	return nil
}

// remove takes the key out; users may still hold it.
func (t *Table) remove(key uint32) error {
	e := t.entry(key)
	if key == 0 || e == nil || !e.key.CompareAndSwap(key, 0) {
		return fmt.Errorf("%w: key %#x is not published", fabric.ErrRegion, key)
	}
	return nil
}

// forget drops the memory of a removed key that nobody holds any more.
func (t *Table) forget(key uint32) {
	if buf := t.buf(key); buf != nil {
		*buf = nil
	}
}

// buf returns where the memory of a region of this process stands, or nil.
func (t *Table) buf(key uint32) *[]byte {
	i := int(key >> 8)
	if i/chunkLen >= len(t.bufs) {
		return nil
	}
	chunk := t.bufs[i/chunkLen].Load()
	if chunk == nil {
		return nil
	}
	return &chunk[i%chunkLen]
}

// keys calls f for each published key.
func (t *Table) keys(f func(key uint32)) {
	for c := range t.bufs {
		if t.bufs[c].Load() == nil {
			continue
		}
		chunk := t.entries[c].Load()
		for i := range chunk {
			if key := chunk[i].key.Load(); key != 0 {
				f(key)
			}
		}
	}
}

// look returns what the table says of a key that the caller has announced to hold.
func (t *Table) look(key uint32, h *Held) bool {
	e := t.entry(key)
	if e == nil || key == 0 || e.key.Load() != key {
		return false
	}
	*h = Held{
		Region: fabric.Region{Key: key, PD: e.pd, Access: e.access, Base: e.base, Len: e.length},
		Real:   e.real,
		Seg:    e.seg,
	}
	if buf := t.buf(key); buf != nil {
		h.Buf = *buf
	}
	return true
}
