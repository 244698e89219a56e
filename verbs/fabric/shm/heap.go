package shm

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"outboard/verbs/fabric"
)

// A heap gives out the device memory of our own segment, first fit. Memory that is free holds no
// pages, so it reads as zeros when it is given out again.
type heap struct {
	mu   sync.Mutex
	base unsafe.Pointer // nil until first used, and after close
	free []span         // by offset; no two touch
	used map[int]block  // by offset
	over bool           // closed
}

type span struct{ off, n int }

type block struct{ asked, n int }

func newHeap(size int) *heap {
	h := &heap{used: map[int]block{}}
	if size > 0 {
		h.free = []span{{0, size}}
	}
	return h
}

// alloc returns n bytes at a multiple of 4 KiB, or of 2 MiB if n is at least that.
func (h *heap) alloc(g *segment, n int) ([]byte, error) {
	if n <= 0 {
		return nil, fmt.Errorf("%w: %d bytes asked for, want at least 1", fabric.ErrNoMemory, n)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return nil, fabric.ErrClosed
	}
	if n > g.shape.memory {
		return nil, fmt.Errorf("%w: %d bytes asked for of %d", fabric.ErrNoMemory, n, g.shape.memory)
	}
	if h.base == nil {
		base, err := g.device()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", fabric.ErrNoMemory, err)
		}
		h.base = base
	}
	align := pageLen
	if n >= hugeLen {
		align = hugeLen
	}
	size := (n + pageLen - 1) &^ (pageLen - 1)
	off, ok := h.take(size, align)
	if !ok {
		return nil, fmt.Errorf("%w: no %d bytes in one piece", fabric.ErrNoMemory, n)
	}
	h.used[off] = block{n, size}
	at := unsafe.Add(h.base, off)
	if align == hugeLen {
		// Only advice: without huge pages the memory is slower and nothing else.
		_ = unix.Madvise(unsafe.Slice((*byte)(at), size), unix.MADV_HUGEPAGE)
	}
	return unsafe.Slice((*byte)(at), n), nil
}

// take cuts size bytes out of the first free span that has them at a multiple of align.
func (h *heap) take(size, align int) (off int, ok bool) {
	for i, s := range h.free {
		off := (s.off + align - 1) &^ (align - 1)
		before, after := off-s.off, s.n-(off-s.off)-size
		if after < 0 {
			continue
		}
		var rest []span
		if before > 0 {
			rest = append(rest, span{s.off, before})
		}
		if after > 0 {
			rest = append(rest, span{off + size, after})
		}
		h.free = slices.Replace(h.free, i, i+1, rest...)
		return off, true
	}
	return 0, false
}

// release takes back what alloc returned.
func (h *heap) release(g *segment, b []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	off := int(uintptr(unsafe.Pointer(unsafe.SliceData(b))) - uintptr(h.base))
	blk, ok := h.used[off]
	if h.base == nil || !ok || blk.asked != len(b) {
		return fmt.Errorf("%w: %d bytes at %p", fabric.ErrNotOurs, len(b), unsafe.SliceData(b))
	}
	if err := g.punch(g.memoryOff()+off, blk.n); err != nil {
		return err
	}
	delete(h.used, off)
	h.give(span{off, blk.n})
	return nil
}

// give puts a span back and joins it with its neighbours.
func (h *heap) give(s span) {
	i, _ := slices.BinarySearchFunc(h.free, s, func(a, b span) int { return a.off - b.off })
	h.free = slices.Insert(h.free, i, s)
	if i+1 < len(h.free) && s.off+s.n == h.free[i+1].off {
		h.free[i].n += h.free[i+1].n
		h.free = slices.Delete(h.free, i+1, i+2)
	}
	if i > 0 && h.free[i-1].off+h.free[i-1].n == s.off {
		h.free[i-1].n += h.free[i].n
		h.free = slices.Delete(h.free, i, i+1)
	}
}

// offset returns 1 + the offset of b if all of it lies in the device memory, else 0.
func (h *heap) offset(size int, b []byte) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	off := uintptr(unsafe.Pointer(unsafe.SliceData(b))) - uintptr(h.base)
	if h.base == nil || off > uintptr(size) || uintptr(len(b)) > uintptr(size)-off {
		return 0
	}
	return uint64(off) + 1
}

// close forbids further use.
func (h *heap) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over, h.base = true, nil
}

// punch gives the pages of a part of our own segment back to the system.
func (g *segment) punch(off, n int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.file == nil {
		return fabric.ErrClosed
	}
	err := unix.Fallocate(int(g.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(off), int64(n))
	return os.NewSyscallError("fallocate", err)
}
