package reduce

import (
	"testing"

	"golang.org/x/sys/unix"
)

// fenced returns a page of memory between two that fault on access.
func fenced(t *testing.T) []byte {
	page := unix.Getpagesize()
	mem, err := unix.Mmap(-1, 0, 3*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatalf("mmap: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(mem); err != nil {
			t.Errorf("munmap: %v", err)
		}
	})
	for _, fence := range [][]byte{mem[:page], mem[2*page:]} {
		if err := unix.Mprotect(fence, unix.PROT_NONE); err != nil {
			t.Fatalf("mprotect: %v", err)
		}
	}
	return mem[page : 2*page]
}

// TestNothingReadOutside puts blocks against inaccessible memory on either
// side: a load outside of the block faults.
func TestNothingReadOutside(t *testing.T) {
	dst, src := fenced(t), fenced(t)
	page := len(dst)
	eachKernel(t, func(t *testing.T, set *kernelSet, op Op, of Type) {
		for n := 0; n <= 300; n += of.Size() {
			set.two[op][of](dst[:n], src[:n])
			set.two[op][of](dst[page-n:], src[page-n:])
			set.three[op][of](dst[page-n:], src[:n], src[page-n:])
		}
	})
}
