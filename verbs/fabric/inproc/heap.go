package inproc

import (
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"outboard/verbs/fabric"
)

const (
	pageLen = 4 << 10
	hugeLen = 2 << 20
)

// A heap counts the device memory of a port. The memory itself is the Go heap's: whoever still
// has a slice of it when the port is closed does no harm.
type heap struct {
	mu   sync.Mutex
	free int               // bytes that may still be taken
	used map[*byte]heapRun // by first byte
}

type heapRun struct{ asked, taken int }

// alloc returns n bytes at a multiple of 4 KiB, or of 2 MiB if n is at least that.
func (h *heap) alloc(n int) ([]byte, error) {
	if n <= 0 {
		return nil, fmt.Errorf("%w: %d bytes asked for, want at least 1", fabric.ErrNoMemory, n)
	}
	align := pageLen
	if n >= hugeLen {
		align = hugeLen
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if n > h.free-align {
		return nil, fmt.Errorf("%w: %d bytes asked for, %d left", fabric.ErrNoMemory, n, h.free)
	}
	taken := (n + align - 1) &^ (align - 1)
	raw := make([]byte, taken+align)
	skip := int(-uintptr(unsafe.Pointer(&raw[0])) & uintptr(align-1))
	if align == hugeLen {
		// Only advice: without huge pages the memory is slower and nothing else.
		_ = unix.Madvise(raw[skip:skip+taken], unix.MADV_HUGEPAGE)
	}
	b := raw[skip : skip+n : skip+n]
	if h.used == nil {
		h.used = map[*byte]heapRun{}
	}
	h.used[&b[0]] = heapRun{n, taken}
	h.free -= taken
	return b, nil
}

// release takes back what alloc returned.
func (h *heap) release(b []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	first := unsafe.SliceData(b)
	run, ok := h.used[first]
	if !ok || run.asked != len(b) {
		return fmt.Errorf("%w: %d bytes at %p", fabric.ErrNotOurs, len(b), first)
	}
	delete(h.used, first)
	h.free += run.taken
	return nil
}
