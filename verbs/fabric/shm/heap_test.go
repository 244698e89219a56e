package shm

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"unsafe"

	"outboard/verbs/fabric"

	"pgregory.net/rapid"
)

// The heap against a map: blocks don't overlap, are aligned and zeroed, and all memory comes back.
func TestHeapModel(t *testing.T) {
	const size = 16 << 20
	p, err := Open(Options{Memory: size})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	rapid.Check(t, func(t *rapid.T) {
		type held struct {
			b    []byte
			mark byte
		}
		var all []held
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(all) > 0 && rapid.IntRange(0, 2).Draw(t, "free") == 0 {
				i := rapid.IntRange(0, len(all)-1).Draw(t, "which")
				h := all[i]
				if bytes.Count(h.b[:1], []byte{h.mark}) != 1 || h.b[len(h.b)-1] != h.mark {
					t.Fatal("a block was overwritten")
				}
				if err := p.FreeMem(h.b); err != nil {
					t.Fatal(err)
				}
				all = append(all[:i], all[i+1:]...)
				continue
			}
			n := rapid.OneOf(rapid.IntRange(1, 20000), rapid.IntRange(1, size/2)).Draw(t, "n")
			b, err := p.AllocMem(n)
			if err != nil {
				if !errors.Is(err, fabric.ErrNoMemory) || len(all) == 0 {
					t.Fatalf("%d bytes: %v", n, err)
				}
				continue
			}
			align := uintptr(pageLen)
			if n >= hugeLen {
				align = hugeLen
			}
			if uintptr(unsafe.Pointer(&b[0]))%align != 0 || len(b) != n || cap(b) != n {
				t.Fatalf("%d bytes at %p, cap %d", n, b, cap(b))
			}
			if i := rand.IntN(n); b[0]|b[i]|b[n-1] != 0 {
				t.Fatal("not zeroed")
			}
			mark := byte(len(all)%255 + 1)
			b[0], b[n-1] = mark, mark
			all = append(all, held{b, mark})
		}
		for _, h := range all {
			if err := p.FreeMem(h.b); err != nil {
				t.Fatal(err)
			}
		}
		if f := p.heap.free; len(f) != 1 || f[0] != (span{0, size}) || len(p.heap.used) != 0 {
			t.Fatalf("free %v, used %v in the end", f, p.heap.used)
		}
	})
}

// A free block takes no memory.
func TestFreeGivesBack(t *testing.T) {
	p, err := Open(Options{Memory: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	blocks := func() int64 {
		info, err := p.seg.file.Stat()
		if err != nil {
			t.Fatal(err)
		}
		return sysBlocks(info)
	}
	before := blocks()
	b, err := p.AllocMem(32 << 20)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(b); i += pageLen {
		b[i] = 1
	}
	if got := blocks() - before; got < 32<<20/512 {
		t.Fatalf("%d blocks for 32 MiB", got)
	}
	if err := p.FreeMem(b); err != nil {
		t.Fatal(err)
	}
	if got := blocks() - before; got != 0 {
		t.Fatalf("%d blocks after FreeMem", got)
	}
}
