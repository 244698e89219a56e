package nicrt

import (
	"errors"
	"fmt"
	"sort"
	"unsafe"
)

// ErrNICMemory is wrapped by every error that says that NIC memory ran out;
// the error itself is a [*MemoryError].
var ErrNICMemory = errors.New("not enough NIC memory")

// A MemoryError reports an allocation that NIC memory could not satisfy.
type MemoryError struct {
	Wanted  int // bytes asked for
	Free    int // bytes free in total
	Largest int // bytes in the largest free piece
}

func (e *MemoryError) Error() string {
	return fmt.Sprintf("nicrt: %v: wanted %d bytes, %d free, %d of them in one piece",
		ErrNICMemory, e.Wanted, e.Free, e.Largest)
}

func (e *MemoryError) Unwrap() error { return ErrNICMemory }

// memoryGrain is the unit of allocation: a cache line, so that two owners
// never share one.
const memoryGrain = 64

// memory hands out pieces of the NIC's memory: first fit over a list of holes
// kept in address order, neighbours merged. Everything that lives on the NIC
// comes from it, so what it says is in use is in use. The order of calls alone
// decides every address. The caller serialises.
type memory struct {
	arena []byte
	holes []memoryHole // in address order, never adjacent
	used  int          // bytes handed out, in whole grains
	peak  int          // largest used so far
}

type memoryHole struct{ off, size int }

// newMemory returns an allocator over the whole cache lines of arena.
func newMemory(arena []byte) *memory {
	if len(arena) > 0 {
		arena = arena[min(misalignment(arena), len(arena)):]
	}
	arena = arena[:len(arena)&^(memoryGrain-1)]
	m := &memory{arena: arena}
	if len(arena) > 0 {
		m.holes = append(m.holes, memoryHole{0, len(arena)})
	}
	return m
}

// newMemoryOf returns an allocator over size bytes of fresh memory.
func newMemoryOf(size int) *memory {
	arena := make([]byte, grains(size)+memoryGrain)
	return newMemory(arena[misalignment(arena):][:grains(size)])
}

// misalignment returns the bytes of b before its first whole cache line.
func misalignment(b []byte) int {
	return int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (memoryGrain - 1))
}

// grains rounds n up to whole grains.
func grains(n int) int { return (n + memoryGrain - 1) &^ (memoryGrain - 1) }

// size returns the bytes the allocator rules over.
func (m *memory) size() int { return len(m.arena) }

// free returns the bytes not handed out.
func (m *memory) free() int { return len(m.arena) - m.used }

// alloc returns n bytes, aligned to a cache line and with capacity n; their
// contents are what the last owner left. n = 0 gives nil. It fails with a
// *MemoryError.
func (m *memory) alloc(n int) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	if n > 0 && n <= len(m.arena) {
		want := grains(n)
		for i := range m.holes {
			if h := &m.holes[i]; h.size >= want {
				off := h.off
				h.off, h.size = h.off+want, h.size-want
				if h.size == 0 {
					m.holes = append(m.holes[:i], m.holes[i+1:]...)
				}
				m.used += want
				m.peak = max(m.peak, m.used)
				return m.arena[off : off+n : off+n], nil
			}
		}
	}
	return nil, &MemoryError{Wanted: n, Free: m.free(), Largest: m.largest()}
}

// contains reports whether b begins in the arena.
func (m *memory) contains(b []byte) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))-uintptr(unsafe.Pointer(unsafe.SliceData(m.arena))) < uintptr(len(m.arena))
}

// release takes back what alloc returned: the same start and capacity. It
// panics on anything else, for that is a bug of the NIC and not of a program.
func (m *memory) release(b []byte) {
	if cap(b) == 0 {
		return
	}
	off := int(uintptr(unsafe.Pointer(unsafe.SliceData(b))) - uintptr(unsafe.Pointer(unsafe.SliceData(m.arena))))
	size := grains(cap(b))
	if off < 0 || off%memoryGrain != 0 || off+size > len(m.arena) {
		panic(fmt.Sprintf("nicrt: release of [%d, %d) outside of NIC memory of %d bytes", off, off+size, len(m.arena)))
	}
	i := sort.Search(len(m.holes), func(i int) bool { return m.holes[i].off >= off })
	if i > 0 && m.holes[i-1].off+m.holes[i-1].size > off || i < len(m.holes) && off+size > m.holes[i].off {
		panic(fmt.Sprintf("nicrt: release of [%d, %d), which is free", off, off+size))
	}
	m.used -= size
	m.insertHole(i, memoryHole{off, size})
}

// insertHole adds h before hole i and merges it with its neighbours.
func (m *memory) insertHole(i int, h memoryHole) {
	joinsLeft := i > 0 && m.holes[i-1].off+m.holes[i-1].size == h.off
	joinsRight := i < len(m.holes) && h.off+h.size == m.holes[i].off
	switch {
	case joinsLeft && joinsRight:
		m.holes[i-1].size += h.size + m.holes[i].size
		m.holes = append(m.holes[:i], m.holes[i+1:]...)
	case joinsLeft:
		m.holes[i-1].size += h.size
	case joinsRight:
		m.holes[i] = memoryHole{h.off, h.size + m.holes[i].size}
	default:
		m.holes = append(m.holes, memoryHole{})
		copy(m.holes[i+1:], m.holes[i:])
		m.holes[i] = h
	}
}

// largest returns the size of the largest hole.
func (m *memory) largest() int {
	n := 0
	for _, h := range m.holes {
		n = max(n, h.size)
	}
	return n
}
