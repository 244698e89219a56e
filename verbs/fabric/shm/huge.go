package shm

import (
	"bytes"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Cross-memory attach looks up every page of both sides, so it moves memory in huge pages twice as fast as in
// small ones (1 MiB: 20 GB/s against 10). So the process's memory that takes part in long transfers is asked
// for huge pages, once.

const (
	hugePage = 2 << 20
	// hugeMin is the length of a transfer, in bytes, from which it is worth it. An extent costs some hundred
	// microseconds, once.
	hugeMin = 512 << 10
	// hugeMost bounds the extents that are remembered.
	hugeMost = 1 << 15
)

var huge struct {
	sync.Mutex
	asked map[uintptr]struct{} // by first address; nil if there are no huge pages
	once  sync.Once
}

// askHuge makes huge pages of the aligned extents that b lies in, where the system has any. What else lies there,
// or is not mapped, does not matter: only the time of an access changes. It may be called by any goroutine.
func askHuge(b []byte) {
	if len(b) < hugeMin {
		return
	}
	huge.once.Do(func() {
		if mode, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled"); err == nil && !bytes.Contains(mode, []byte("[never]")) {
			huge.asked = map[uintptr]struct{}{}
		}
	})
	huge.Lock()
	defer huge.Unlock()
	if huge.asked == nil {
		return
	}
	first := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	for at := first &^ (hugePage - 1); at < first+uintptr(len(b)); at += hugePage {
		if _, done := huge.asked[at]; done || len(huge.asked) >= hugeMost {
			continue
		}
		huge.asked[at] = struct{}{}
		// Kernels before 6.1 do not know the advice, and not all memory can be had in huge pages: no harm.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, at, hugePage, unix.MADV_COLLAPSE)
	}
}
