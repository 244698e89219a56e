package ring

import (
	"fmt"
	"unsafe"

	"outboard/verbs/fabric"
)

// Status is what a Receiver found at the head of its ring.
type Status int

const (
	Empty   Status = iota // no packet
	Packet                // a packet
	Corrupt               // something that no sender writes
)

// A Receiver is the receiving end of a ring that the caller has opened. It is for one goroutine at
// a time.
type Receiver struct {
	slots unsafe.Pointer
	at    uint64 // offset of the slot where the next packet arrives
	mask  uint64 // of offsets
	want  uint32 // upper half of the next packet's word
	bulk  uint32 // bytes of bulk area since the last publication
	cur   uint32 // bytes of bulk area of the packet that Peek returned

	bulkBatch uint32 // bytes of bulk area that may stay unpublished
	pos       uint64 // packets released
	published uint64 // packets released and published
	batch     uint64 // packets that may stay unpublished
	ring      Ring
}

// NewReceiver returns the receiving end of r.
func NewReceiver(r Ring) Receiver {
	return Receiver{
		slots:     r.slots,
		mask:      uint64(r.geo.Slots*SlotLen - 1),
		want:      1,
		batch:     uint64(r.geo.Slots / 4),
		bulkBatch: uint32(r.geo.window() / 4),
		ring:      r,
	}
}

// Ring returns the ring that the Receiver receives from.
func (r *Receiver) Ring() Ring { return r.ring }

func (r *Receiver) next() *slot { return (*slot)(unsafe.Add(r.slots, r.at)) }

// Ready tells whether a packet is there.
func (r *Receiver) Ready() bool { return uint32(r.next().word.Load()>>32) == r.want }

// Peek copies the header of the next packet to h and returns its payload, which lies in the ring
// until Release. Without a packet it leaves h alone.
func (r *Receiver) Peek(h *fabric.Header) ([]byte, Status) {
	sl := r.next()
	word := sl.word.Load()
	if uint32(word>>32) != r.want {
		return nil, r.idle(word)
	}
	n := uint32(word)
	if n <= Inline {
		r.cur = 0
		*h = sl.head
		return sl.data[:n], Packet
	}
	if n&bulkFlag == 0 {
		return nil, Corrupt
	}
	n &^= bulkFlag
	off := *(*uint32)(unsafe.Pointer(&sl.data))
	if n > uint32(r.ring.geo.MTU) || off >= uint32(r.ring.geo.Bulk) || uint64(n) > r.ring.geo.piece(uint64(off)) {
		return nil, Corrupt
	}
	mem := r.ring.at(uint64(off))
	if mem == nil {
		return nil, Corrupt
	}
	r.cur = n
	if end := off + n; end > 4*r.bulkBatch { // the window is wider
		r.bulkBatch = end / 4
	}
	*h = sl.head
	return unsafe.Slice((*byte)(mem), n), Packet
}

// Status tells what is at the head of the ring without touching the packet.
func (r *Receiver) Status() Status {
	word := r.next().word.Load()
	if uint32(word>>32) == r.want {
		return Packet
	}
	return r.idle(word)
}

// idle judges the word of a slot without a packet: it is new, or as the last lap left it.
func (r *Receiver) idle(word uint64) Status {
	if word == 0 || uint32(word>>32) == r.want-uint32(r.ring.geo.Slots) {
		return Empty
	}
	return Corrupt
}

// Release gives the slot of the packet that Peek returned back to the sender; now publishes that at
// once. It tells whether it published.
func (r *Receiver) Release(now bool) (published bool) {
	r.pos++
	r.want++
	r.at = (r.at + SlotLen) & r.mask
	r.bulk += r.cur
	if now || r.pos-r.published >= r.batch || r.bulk >= r.bulkBatch {
		r.Publish()
		return true
	}
	return false
}

// Publish lets the sender see all releases. It ends with a full memory fence.
func (r *Receiver) Publish() {
	r.published = r.pos
	r.bulk = 0
	r.ring.ctl.tail.Store(r.pos)
}

// Pending tells whether there are releases that the sender can't see yet.
func (r *Receiver) Pending() bool { return r.pos != r.published }

// Fault describes what is wrong at the head of a ring whose status is Corrupt.
func (r *Receiver) Fault() error {
	return fmt.Errorf("ring: packet %d has the word %#x, no packet of a %d-byte MTU", r.pos, r.next().word.Load(), r.ring.geo.MTU)
}
