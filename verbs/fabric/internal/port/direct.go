package port

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"outboard/verbs/fabric"
)

// Held is what a Conn knows of the region that it holds. Unless Buf is set it was read
// from memory of another process and is to be checked before use.
type Held struct {
	fabric.Region
	Real uint64 // address of the first byte in the owner
	Seg  uint64 // 1 + its offset in the owner's device memory, or 0
}

// direct implements fabric.Direct for a Conn. While held.Key is not 0 the key stands in
// the hazard word of the ring that the Conn sends on, which lies in the owner's memory.
type direct struct {
	c      *Conn
	held   Held
	known  known
	device []byte // the peer's device memory, once it was needed
}

var _ fabric.Mover = (*direct)(nil)

func (d *direct) Enter(key uint32) (fabric.Region, bool) {
	c := d.c
	if d.held.Key != 0 || !c.joined.Load() || c.port.closed.Load() {
		return fabric.Region{}, false
	}
	c.tx.Hold(key)
	if !c.table.look(key, &d.held) {
		c.tx.Hold(0)
		return fabric.Region{}, false
	}
	return d.held.Region, true
}

func (d *direct) Leave() {
	if d.held.Key != 0 {
		d.held = Held{}
		if d.c.joined.Load() {
			d.c.tx.Hold(0)
		}
	}
}

// span checks that n bytes at addr lie in the held region, which must be r, and returns
// their offset in it.
func (d *direct) span(r *fabric.Region, addr uint64, n int) (uint64, error) {
	h := &d.held
	if h.Key == 0 || r.Key != h.Key {
		return 0, fmt.Errorf("%w: key %#x is not the one entered, %#x", fabric.ErrRegion, r.Key, h.Key)
	}
	off := addr - h.Base
	if addr < h.Base || off > h.Len || uint64(n) > h.Len-off {
		return 0, fmt.Errorf("%w: %d bytes at %#x are outside region %#x of %d bytes at %#x",
			fabric.ErrFault, n, addr, h.Key, h.Len, h.Base)
	}
	return off, nil
}

func (d *direct) ReadAt(r *fabric.Region, p []byte, addr uint64) error {
	return d.move(r, p, addr, false)
}

func (d *direct) WriteAt(r *fabric.Region, p []byte, addr uint64) error {
	return d.move(r, p, addr, true)
}

func (d *direct) move(r *fabric.Region, p []byte, addr uint64, write bool) error {
	off, err := d.span(r, addr, len(p))
	if err != nil || len(p) == 0 {
		return err
	}
	mem, err := d.c.peer.Map(&d.held, off, len(p))
	switch {
	case err != nil:
		return err
	case mem == nil:
		return d.c.peer.Copy(&d.held, off, p, write)
	case write:
		transfer(mem, p)
	default:
		transfer(p, mem)
	}
	return nil
}

// word returns the 8 bytes at addr as a word of this process's memory.
func (d *direct) word(r *fabric.Region, addr uint64) (*uint64, error) {
	off, err := d.span(r, addr, 8)
	if err != nil {
		return nil, err
	}
	mem, err := d.c.peer.Map(&d.held, off, 8)
	if err != nil {
		return nil, err
	}
	if mem == nil {
		return nil, fmt.Errorf("%w: atomics on memory that the peer did not allocate from its port", fabric.ErrRefused)
	}
	w := unsafe.Pointer(&mem[0])
	if uintptr(w)%8 != 0 {
		return nil, fmt.Errorf("%w: atomic at %#x, which is not 8-byte aligned", fabric.ErrFault, addr)
	}
	return (*uint64)(w), nil
}

func (d *direct) FetchAdd(r *fabric.Region, addr, add uint64) (old uint64, err error) {
	w, err := d.word(r, addr)
	if err != nil {
		return 0, err
	}
	return atomic.AddUint64(w, add) - add, nil
}

func (d *direct) CompareSwap(r *fabric.Region, addr, compare, swap uint64) (old uint64, err error) {
	w, err := d.word(r, addr)
	if err != nil {
		return 0, err
	}
	return compareSwap(w, compare, swap), nil
}

// compareSwap returns the value before.
func compareSwap(w *uint64, compare, swap uint64) uint64 {
	for {
		if old := atomic.LoadUint64(w); old != compare {
			return old
		}
		if atomic.CompareAndSwapUint64(w, compare, swap) {
			return compare
		}
	}
}
