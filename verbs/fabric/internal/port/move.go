package port

import (
	"encoding/binary"
	"math"
	"runtime"
	"unsafe"
)

// Move implements fabric.Mover.
func (d *direct) Move(key, need, bar uint32, addr uint64, p []byte, write bool) bool {
	c := d.c
	if d.held.Key != 0 || !c.joined.Load() || c.port.closed.Load() || !c.tx.Idle() {
		return false
	}
	g := c.tx.Grant()
	e := c.table.entry(key)
	if !g.Ready || g.Access&need != need || e == nil || key == 0 {
		return false
	}
	c.tx.Hold(key)
	moved := false
	if e.key.Load() == key && e.pd == g.PD && e.access&(need|bar) == need {
		if mem := d.at(e, key, addr, len(p)); mem != nil {
			if moved = true; write {
				transfer(mem, p)
			} else {
				transfer(p, mem)
			}
		}
	}
	c.tx.Hold(0)
	runtime.KeepAlive(c)
	return moved
}

// at returns n bytes at addr of the region of an entry whose key is held, as memory of this process, or nil. It reads each
// word of the entry once: another process can change them.
func (d *direct) at(e *Entry, key uint32, addr uint64, n int) []byte {
	base, length, size := e.base, e.length, uint64(n)
	off := addr - base
	if addr < base || off > length || size > length-off || n == 0 {
		return nil
	}
	mem := d.device
	if d.c.table.bufs != nil {
		buf := d.c.table.buf(key)
		if buf == nil {
			return nil
		}
		mem = *buf
	} else {
		seg := e.seg
		if seg == 0 || seg-1 > math.MaxUint64-off {
			return nil
		}
		off += seg - 1
		if mem == nil {
			d.device = d.c.peer.Device()
			mem = d.device
		}
	}
	if room := uint64(len(mem)); off > room || size > room-off {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(mem)), off)), n)
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
