package unit

import "math/bits"

// pool keeps buffers for the data of unexpected messages, by size class.
type pool struct{ classes [maxClass + 1][][]byte }

const (
	minClass = 6  // 64 bytes
	maxClass = 20 // larger ones are left to the garbage collector
	// maxFree bounds the free buffers that a class keeps.
	maxFree = 256
)

func classOf(n int) int { return max(minClass, bits.Len(uint(n-1))) }

func (p *pool) get(n int) []byte {
	if n == 0 {
		return nil
	}
	c := classOf(n)
	if c > maxClass {
		return make([]byte, n)
	}
	if k := len(p.classes[c]); k > 0 {
		b := p.classes[c][k-1]
		p.classes[c] = p.classes[c][:k-1]
		return b[:n]
	}
	return make([]byte, n, 1<<c)
}

func (p *pool) put(b []byte) {
	if cap(b) == 0 {
		return
	}
	if c := classOf(cap(b)); c <= maxClass && cap(b) == 1<<c && len(p.classes[c]) < maxFree {
		p.classes[c] = append(p.classes[c], b)
	}
}
