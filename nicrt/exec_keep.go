package nicrt

import "math/bits"

// kept is a message that came before its operation was ready, or the state of
// one that is being read from its sender.
type kept struct {
	next *kept
	hdr  Header
	peer int32
	n    int32
	// small holds a payload of up to its length, big a longer one.
	small [64]byte
	big   []byte
	class int8 // of big in the pool
	// How far an offered payload has been read: bytes whose read has begun,
	// bytes whose read has ended, and reads under way.
	offer          offer
	issued, landed int
	flying         int
}

// payload gives the bytes of the message, which the executor may overwrite.
func (k *kept) payload() []byte {
	if k.big != nil {
		return k.big[:k.n]
	}
	return k.small[:k.n]
}

// keptList is a queue of kept messages.
type keptList struct{ first, last *kept }

func (l *keptList) push(k *kept) {
	k.next = nil
	if l.last == nil {
		l.first = k
	} else {
		l.last.next = k
	}
	l.last = k
}

func (l *keptList) pop() *kept {
	k := l.first
	if k == nil {
		return nil
	}
	if l.first = k.next; l.first == nil {
		l.last = nil
	}
	k.next = nil
	return k
}

const (
	keptMinClass = 7  // buffers of 128 bytes are the smallest
	keptClasses  = 25 // up to 2 GiB
	keptCharge   = 192
)

// keptPool holds what kept messages are made of. Buffers come from NIC memory
// as far as its share goes, from the host's otherwise, and are used again.
type keptPool struct {
	e       *exec
	free    *kept
	buffers [keptClasses][][]byte
	nic     int // bytes taken of NIC memory
}

// put copies a message, or returns nil if that would exceed the bound.
func (p *keptPool) put(peer int, h *Header, payload []byte) *kept {
	st := &p.e.stats
	charge := keptCharge + len(payload)
	if st.KeptBytes+charge > p.e.cfg.keepMax {
		st.Refused++
		return nil
	}
	st.KeptBytes += charge
	st.KeptPeak = max(st.KeptPeak, st.KeptBytes)
	st.Kept++
	k := p.free
	if k == nil {
		k = new(kept)
	} else {
		p.free = k.next
		k.next = nil
	}
	k.hdr, k.peer, k.n = *h, int32(peer), int32(len(payload))
	k.offer, k.issued, k.landed, k.flying = offer{}, 0, 0, 0
	if len(payload) > len(k.small) {
		k.big, k.class = p.buffer(len(payload))
	}
	copy(k.payload(), payload)
	return k
}

// drop gives a message's memory back.
func (p *keptPool) drop(k *kept) {
	p.e.stats.KeptBytes -= keptCharge + int(k.n)
	if k.big != nil {
		p.buffers[k.class] = append(p.buffers[k.class], k.big)
		k.big = nil
	}
	k.next = p.free
	p.free = k
}

// dropAll empties a list.
func (p *keptPool) dropAll(l *keptList) {
	for k := l.pop(); k != nil; k = l.pop() {
		p.drop(k)
	}
}

// buffer gives at least n bytes, n > 0.
func (p *keptPool) buffer(n int) ([]byte, int8) {
	class := max(bits.Len(uint(n-1))-keptMinClass, 0)
	if list := p.buffers[class]; len(list) > 0 {
		b := list[len(list)-1]
		p.buffers[class] = list[:len(list)-1]
		return b, int8(class)
	}
	size := 1 << (class + keptMinClass)
	if p.nic+size <= p.e.cfg.keepNIC {
		if b, err := p.e.cfg.memory.alloc(size); err == nil {
			p.nic += size
			return b, int8(class)
		}
	}
	p.e.stats.Spilled++
	return make([]byte, size), int8(class)
}
