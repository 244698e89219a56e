package ring

import (
	"encoding/binary"
	"unsafe"

	"outboard/verbs/fabric"
)

var order = binary.NativeEndian

func (r Ring) slot(i uint64) *slot {
	return (*slot)(unsafe.Add(r.slots, i*SlotLen))
}

// A Sender is the sending end of a ring that the caller has claimed. The zero Sender has
// no room for any packet. It is for one goroutine at a time.
type Sender struct {
	slots unsafe.Pointer
	mask  uint64
	room  uint64 // slots of the ring, 0 when the Sender is stopped
	head  uint64 // packets sent
	tail  uint64 // packets released, as last seen

	ends     []uint64 // bulkHead after the packet of each slot
	bulkHead uint64   // bytes taken from the bulk area, skipped ones included
	bulkTail uint64   // bytes given back
	window   uint64   // bytes of the bulk area in use, a power of two
	ring     Ring
}

// NewSender returns the sending end of r.
func NewSender(r Ring) Sender {
	return Sender{
		slots:  r.slots,
		mask:   uint64(r.geo.Slots - 1),
		room:   uint64(r.geo.Slots),
		ends:   make([]uint64, r.geo.Slots),
		window: uint64(r.geo.window()),
		ring:   r,
	}
}

// Ring returns the ring that the Sender sends on.
func (s *Sender) Ring() Ring { return s.ring }

// Stop takes away all room: Put returns false from now on.
func (s *Sender) Stop() {
	s.Acked()
	s.room = 0
}

// Put writes one packet whose payload is a followed by b. It returns false if there is
// no room now, or if the payload is longer than the ring's MTU. It ends with a full memory
// fence: what the caller loads next is not older than the packet.
func (s *Sender) Put(h *fabric.Header, a, b []byte) bool {
	pos := s.head
	if pos-s.tail >= s.room && !s.refresh() {
		return false
	}
	n := len(a) + len(b)
	i := pos & s.mask
	sl := (*slot)(unsafe.Add(s.slots, i*SlotLen))
	word := uint64(uint32(pos+1))<<32 | uint64(n)
	if n <= Inline {
		move(sl.data[:], a)
		move(sl.data[len(a):], b)
	} else {
		off, ok := s.reserve(n)
		if !ok {
			return false
		}
		bulk := unsafe.Slice((*byte)(s.ring.at(off)), n)
		copy(bulk, a)
		copy(bulk[len(a):], b)
		*(*uint32)(unsafe.Pointer(&sl.data)) = uint32(off)
		word |= bulkFlag
	}
	sl.head = *h
	s.ends[i] = s.bulkHead
	s.head = pos + 1
	sl.word.Store(word)
	return true
}

// move copies src to dst, which is long enough. Most payloads are a few words, for which the general
// copy costs more in being called than in moving.
func move(dst, src []byte) {
	switch n := len(src); {
	case n == 8:
		order.PutUint64(dst, order.Uint64(src))
	case n == 16:
		order.PutUint64(dst, order.Uint64(src))
		order.PutUint64(dst[8:], order.Uint64(src[8:]))
	case n > 0:
		copy(dst, src)
	}
}

// Loud tells whether the receiver wants to be told of packets: it has not opened the ring,
// or has too many of them to look at each.
func (s *Sender) Loud() bool { return s.ring.ctl.quiet.Load() == 0 }

// reserve takes n bytes in one piece from the bulk area, at a cache line.
func (s *Sender) reserve(n int) (off uint64, ok bool) {
	if n > s.ring.geo.MTU {
		return 0, false
	}
	take := uint64(n+lineLen-1) &^ (lineLen - 1)
	start := s.bulkHead
	if left := s.ring.geo.piece(start & (s.window - 1)); take > left {
		start += left
	}
	if start+take-s.bulkTail > s.window {
		s.refresh()
		if start+take-s.bulkTail > s.window {
			return 0, false
		}
	}
	// Each byte in flight lies at its number modulo the window. There is room at the start of this lap: so all of them
	// are of the lap before, and if that is an even one, they are where a window of twice the size has them, too.
	if start&(2*s.window-1) == s.window && start >= widenAfter*s.window && s.window < uint64(s.ring.geo.Bulk) {
		s.window *= 2
		s.ring.extend(s.window / 2)
	}
	s.bulkHead = start + take
	return start & (s.window - 1), true
}

// refresh looks how far the receiver is and tells whether a slot is free. A count that
// can't be true is ignored.
func (s *Sender) refresh() bool {
	if s.room == 0 {
		return false
	}
	tail := s.ring.ctl.tail.Load()
	if tail-s.tail-1 < s.head-s.tail {
		s.tail = tail
		s.bulkTail = s.ends[(tail-1)&s.mask]
	}
	return s.head-s.tail < s.room
}

// Sent returns the number of packets sent.
func (s *Sender) Sent() uint64 { return s.head }

// Acked returns the number of packets that the receiver has released and said so.
func (s *Sender) Acked() uint64 {
	s.refresh()
	return s.tail
}

// Idle tells whether the receiver has released, and said so, everything that was sent.
func (s *Sender) Idle() bool {
	return s.head == s.tail || s.Acked() == s.head
}

// Grant returns what the receiver's side published.
func (s *Sender) Grant() fabric.Grant { return s.ring.ctl.grant.load() }

// Hold says in the ring that the sender's side uses the remote key, 0 for none. It ends
// with a full memory fence.
func (s *Sender) Hold(key uint32) { s.ring.ctl.hazard.Store(key) }
