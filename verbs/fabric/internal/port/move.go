package port

import (
	"encoding/binary"
	"math"
	"runtime"
	"sync/atomic"
	"unsafe"

	"outboard/verbs/fabric"
)

// Move implements fabric.Mover.
func (d *direct) Move(key uint32, t *fabric.Terms, addr uint64, p []byte, write bool) bool {
	mem := d.grasp(key, t, addr, len(p))
	if mem == nil {
		return false
	}
	if write {
		transfer(mem, p)
	} else {
		transfer(p, mem)
	}
	d.c.tx.Hold(0)
	runtime.KeepAlive(d)
	return true
}

// FetchAddAt implements fabric.Mover.
func (d *direct) FetchAddAt(key uint32, t *fabric.Terms, addr, add uint64) (old uint64, ok bool) {
	w := d.graspWord(key, t, addr)
	if w == nil {
		return 0, false
	}
	old = atomic.AddUint64(w, add) - add
	d.c.tx.Hold(0)
	runtime.KeepAlive(d)
	return old, true
}

// CompareSwapAt implements fabric.Mover.
func (d *direct) CompareSwapAt(key uint32, t *fabric.Terms, addr, compare, swap uint64) (old uint64, ok bool) {
	w := d.graspWord(key, t, addr)
	if w == nil {
		return 0, false
	}
	old = compareSwap(w, compare, swap)
	d.c.tx.Hold(0)
	runtime.KeepAlive(d)
	return old, true
}

// grasp holds a key and returns n bytes at addr of its region as memory of this process, if all is well that fabric.Mover names;
// else nil, and nothing is held. What does not depend on the entry is loaded before the key is held: nothing passes the fence
// there, and somebody waits for the data.
func (d *direct) grasp(key uint32, t *fabric.Terms, addr uint64, n int) []byte {
	c := d.c
	if key == 0 || d.held.Key != 0 || !c.joined.Load() || c.port.closed.Load() || !c.tx.Idle() || d.known.key != key && !d.find(key) {
		return nil
	}
	g := c.tx.Grant()
	if !g.Ready || g.Access&(t.Need|t.BarGrant) != t.Need {
		return nil
	}
	e, buf, mem, mask, need := d.known.entry, d.known.buf, d.device, t.Need|t.BarRegion, t.Need
	c.tx.Hold(key)
	if e.key.Load() == key && e.pd == g.PD && e.access&mask == need {
		if mem := e.at(buf, mem, addr, uint64(n)); mem != nil {
			return mem
		}
	}
	c.tx.Hold(0)
	return nil
}

// known is what a key led to: places that stay the same as long as the table is there, whatever becomes of the key.
type known struct {
	key   uint32
	entry *Entry
	buf   *[]byte // where the memory stands, if it is of this process
}

// find looks a key up, and maps the device memory of a peer in another process if the key's lies there. It returns false if the key leads nowhere.
func (d *direct) find(key uint32) bool {
	e := d.c.table.entry(key)
	if e == nil {
		return false
	}
	buf := d.c.table.buf(key)
	if buf == nil {
		if e.seg == 0 { // for now it is not in device memory
			return false
		}
		if d.device == nil {
			d.device = d.c.peer.Device()
		}
	}
	d.known = known{key, e, buf}
	return true
}

// graspWord is grasp of one aligned word.
func (d *direct) graspWord(key uint32, t *fabric.Terms, addr uint64) *uint64 {
	mem := d.grasp(key, t, addr, 8)
	if mem == nil {
		return nil
	}
	w := unsafe.Pointer(unsafe.SliceData(mem))
	if uintptr(w)%8 != 0 {
		d.c.tx.Hold(0)
		return nil
	}
	return (*uint64)(w)
}

// at returns n bytes at addr of the region of an entry whose key is held, or nil: they lie in *buf, unless that is nil, or else in
// the device memory of the entry's owner. It reads each word of the entry once: another process can change them.
func (e *Entry) at(buf *[]byte, device []byte, addr, n uint64) []byte {
	base, length, seg := e.base, e.length, e.seg
	off := addr - base
	if addr < base || off > length || n > length-off || n == 0 {
		return nil
	}
	if buf != nil {
		device = *buf
	} else {
		if seg == 0 || seg-1 > math.MaxUint64-off {
			return nil
		}
		off += seg - 1
	}
	if room := uint64(len(device)); off > room || n > room-off {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(device)), off)), int(n))
}

const (
	// pieceLen is what one copy is asked to move, in bytes. From 1 MiB on Go's copy goes round the cache (amd64): memory that is
	// in it moves at 28 GB/s instead of 48, and who reads it next has to fetch it.
	pieceLen = 512 << 10
	// piecesMost is the length up to which that is so, since both sides fit in the cache.
	piecesMost = 8 << 20
)

// transfer copies src to dst, which is as long.
func transfer(dst, src []byte) {
	if len(src) == 8 {
		binary.NativeEndian.PutUint64(dst, binary.NativeEndian.Uint64(src))
		return
	}
	if len(src) <= piecesMost {
		for len(src) > pieceLen {
			n := copy(dst, src[:pieceLen])
			dst, src = dst[n:], src[n:]
		}
	}
	copy(dst, src)
}
