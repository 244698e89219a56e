package ring

import (
	"fmt"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"outboard/verbs/fabric"
)

const (
	// Inline is the largest payload that a slot holds.
	Inline = SlotLen - 8 - fabric.HeaderLen
	// SlotLen is the length of a slot, two cache lines.
	SlotLen = 128
	// ControlLen is the length of the control block at the start of a ring. It is no
	// multiple of a page, nor is a ring, so that the slots of neighbouring rings which are
	// polled together fall into different sets of the first-level cache.
	ControlLen = 1152
	// Align is the alignment of a ring's memory, in bytes.
	Align = 128
	// OriginLen is the longest text that SetOrigin stores.
	OriginLen = 200

	lineLen  = 64
	bulkFlag = 1 << 31
	maxBulk  = 1 << 30
	maxSlots = 1 << 20
)

// Geometry is the shape of a ring.
type Geometry struct {
	Slots int // packets that the ring holds, a power of two from 8
	Bulk  int // bytes of the bulk area, a power of two
	MTU   int // largest payload in bytes, from Inline to Bulk/4
}

// Check returns an error that names the first number which is out of range. A quarter of
// the bulk area is the limit of the MTU because the receiver may hold back the release of a
// quarter, and a packet may have to skip nearly its own length at the end of the area.
func (g Geometry) Check() error {
	switch {
	case g.Slots < 8 || g.Slots > maxSlots || bits.OnesCount(uint(g.Slots)) != 1:
		return fmt.Errorf("ring: %d slots, want a power of two from 8 to %d", g.Slots, maxSlots)
	case g.Bulk < 4*lineLen || g.Bulk > maxBulk || bits.OnesCount(uint(g.Bulk)) != 1:
		return fmt.Errorf("ring: bulk area of %d bytes, want a power of two from %d to %d", g.Bulk, 4*lineLen, maxBulk)
	case g.MTU < Inline || g.MTU > g.Bulk/4:
		return fmt.Errorf("ring: MTU of %d bytes, want %d to %d, a quarter of the bulk area", g.MTU, Inline, g.Bulk/4)
	}
	return nil
}

// widenAfter is the number of laps in a window after which it is doubled.
const widenAfter = 16

// window returns how much of the bulk area a sender uses at first: what Check says that four packets need.
func (g Geometry) window() int { return 1 << bits.Len(uint(4*g.MTU-1)) }

// Size returns the bytes that a ring of this shape takes, a multiple of Align.
func (g Geometry) Size() int { return ControlLen + g.Slots*SlotLen + g.Bulk }

// A control is the control block. Words that different sides write lie in different
// pairs of cache lines.
type control struct {
	state atomic.Uint64 // see state.go
	quiet atomic.Uint32 // 1: the receiver looks at the ring without being told
	_     [116]byte

	tail atomic.Uint64 // packets released; the receiver writes it
	_    [120]byte

	hazard atomic.Uint32 // remote key that the sender's side holds; it writes it
	_      [124]byte

	grant grant // the receiver's side writes it
	_     [112]byte

	originLen atomic.Uint32
	_         [4]byte
	origin    [OriginLen]byte // address of the sender's port
}

// A slot is one packet.
type slot struct {
	word atomic.Uint64
	head fabric.Header
	data [Inline]byte
}

var (
	_ [ControlLen - unsafe.Sizeof(control{})]byte
	_ [SlotLen - unsafe.Sizeof(slot{})]byte
	_ [unsafe.Sizeof(slot{}) - SlotLen]byte
)

// A Ring is a view of the memory of one ring. It doesn't keep the memory alive.
type Ring struct {
	ctl   *control
	slots unsafe.Pointer
	bulk  unsafe.Pointer
	more  *extension // of a ring that New made, nil if all of its bulk area lies at bulk
	geo   Geometry
}

// At views the g.Size() bytes at mem, which is aligned to Align. Memory of zeros is a ring
// that nobody has opened.
func At(mem unsafe.Pointer, g Geometry) Ring {
	return Ring{
		ctl:   (*control)(mem),
		slots: unsafe.Add(mem, ControlLen),
		bulk:  unsafe.Add(mem, ControlLen+g.Slots*SlotLen),
		geo:   g,
	}
}

// colours is the number of places in a page where New lets a ring start, so that the rings that are
// polled together fall into different sets of the first-level cache.
const colours = 16

var colour atomic.Uint32

// New makes a ring of ordinary memory, with a bulk area that grows with the sender's window.
func New(g Geometry) Ring {
	const step = 2 * Align
	first := g
	first.Bulk = g.window()
	raw := make([]byte, first.Size()+Align+colours*step)
	skip := -uintptr(unsafe.Pointer(&raw[0])) & (Align - 1)
	skip += uintptr(colour.Add(1)%colours) * step
	r := At(unsafe.Pointer(&raw[skip]), g)
	r.more = &extension{first: uint64(first.Bulk)}
	return r
}

// Valid tells whether the Ring views any memory.
func (r Ring) Valid() bool { return r.ctl != nil }

// Geometry returns the shape of the ring.
func (r Ring) Geometry() Geometry { return r.geo }

// SetQuiet says whether the receiver looks at the ring by itself, so that a sender need not
// tell it of each packet. Only the receiver's side calls it.
func (r Ring) SetQuiet(on bool) {
	var v uint32
	if on {
		v = 1
	}
	r.ctl.quiet.Store(v)
}

// Waiting tells whether a first packet waits in a ring that nobody has opened.
func (r Ring) Waiting() bool {
	return uint32((*slot)(r.slots).word.Load()>>32) == 1
}

// Holds tells whether the sender's side holds the remote key.
func (r Ring) Holds(key uint32) bool { return r.ctl.hazard.Load() == key }

// SetOrigin records the address of the sender's port. The sender calls it once, after Claim.
// A longer text than OriginLen is cut.
func (r Ring) SetOrigin(addr string) {
	n := copy(r.ctl.origin[:], addr)
	r.ctl.originLen.Store(uint32(n))
}

// Origin returns what SetOrigin recorded, "" if there is nothing.
func (r Ring) Origin() string {
	n := r.ctl.originLen.Load()
	return string(r.ctl.origin[:min(n, OriginLen)])
}
