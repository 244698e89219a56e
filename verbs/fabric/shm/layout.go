package shm

import (
	"fmt"
	"unsafe"

	"outboard/verbs/fabric/internal/port"
	"outboard/verbs/fabric/internal/ring"
)

const (
	magic   = 0x6472616f6274756f // "outboard"
	version = 2

	pageLen  = 4 << 10
	hugeLen  = 2 << 20
	maxTotal = 1 << 44
)

// A header is the first thing in a segment. Only the owner writes it, before it tells
// anybody the address.
type header struct {
	magic     uint64
	version   uint64
	nonce     [16]byte
	endpoints uint64
	regions   uint64
	slots     uint64
	bulk      uint64
	mtu       uint64
	memory    uint64
}

const controlOff = 256 // offset of the port.Control, in the first page

var (
	_ [controlOff - unsafe.Sizeof(header{})]byte
	_ [pageLen - controlOff - unsafe.Sizeof(port.Control{})]byte
)

// A shape is what the header says, checked: the sizes of all parts of a segment.
type shape struct {
	endpoints int
	regions   int
	ring      ring.Geometry
	memory    int // bytes of device memory, a multiple of hugeLen
}

// shapeOf checks the numbers of a header.
func shapeOf(h *header) (shape, error) {
	const limit = 1 << 46 // all numbers fit in an int
	for _, n := range []uint64{h.endpoints, h.regions, h.slots, h.bulk, h.mtu, h.memory} {
		if n > limit {
			return shape{}, fmt.Errorf("shm: %d in the header, want at most %d", n, uint64(limit))
		}
	}
	s := shape{
		endpoints: int(h.endpoints),
		regions:   int(h.regions),
		ring:      ring.Geometry{Slots: int(h.slots), Bulk: int(h.bulk), MTU: int(h.mtu)},
		memory:    int(h.memory),
	}
	return s, s.check()
}

func (s shape) check() error {
	if s.endpoints < 1 || s.endpoints > port.MaxEndpoints {
		return fmt.Errorf("shm: %d endpoints, want 1 to %d", s.endpoints, port.MaxEndpoints)
	}
	if err := port.CheckRegions(s.regions); err != nil {
		return err
	}
	if err := s.ring.Check(); err != nil {
		return err
	}
	if s.memory < 0 || s.memory > maxTotal || s.memory%hugeLen != 0 {
		return fmt.Errorf("shm: %d bytes of device memory, want a multiple of %d up to %d", s.memory, hugeLen, maxTotal)
	}
	if t := s.total(); t > maxTotal {
		return fmt.Errorf("shm: %d bytes in all, want at most %d", t, maxTotal)
	}
	return nil
}

func (s shape) header(nonce [16]byte) header {
	return header{
		magic:     magic,
		version:   version,
		nonce:     nonce,
		endpoints: uint64(s.endpoints),
		regions:   uint64(s.regions),
		slots:     uint64(s.ring.Slots),
		bulk:      uint64(s.ring.Bulk),
		mtu:       uint64(s.ring.MTU),
		memory:    uint64(s.memory),
	}
}

// Offsets of the parts. The device memory starts at a multiple of 2 MiB.
func (s shape) tableOff() int      { return pageLen }
func (s shape) ringOff(ep int) int { return s.tableOff() + s.regions*port.EntryLen + ep*s.ring.Size() }
func (s shape) memoryOff() int     { return (s.ringOff(s.endpoints) + hugeLen - 1) &^ (hugeLen - 1) }
func (s shape) total() int         { return s.memoryOff() + s.memory }
