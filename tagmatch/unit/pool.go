package unit

import "math/bits"

// pool keeps buffers for the data of unexpected messages, by size class.
type pool struct {
	classes [maxClass + 1][][]byte // class c has buffers of 1<<c bytes
	free    int                    // bytes in all of them
}

const (
	minClass = 6  // 64 bytes
	maxClass = 20 // larger ones are left to the garbage collector
	// maxFree bounds the bytes that wait for reuse.
	maxFree = 4 << 20
)

func classOf(n int) int { return max(minClass, bits.Len(uint(n-1))) }

// get returns n bytes with any content, nil for 0.
func (p *pool) get(n int) []byte {
	if n == 0 {
		return nil
	}
	c := classOf(n)
	if c > maxClass {
		return make([]byte, n)
	}
	free := p.classes[c]
	if k := len(free); k > 0 {
		b := free[k-1]
		free[k-1], p.classes[c] = nil, free[:k-1]
		p.free -= 1 << c
		return b[:n]
	}
	return make([]byte, n, 1<<c)
}

// put takes back what get returned.
func (p *pool) put(b []byte) {
	if cap(b) == 0 || cap(b) > min(maxFree-p.free, 1<<maxClass) {
		return
	}
	c := classOf(cap(b))
	p.classes[c] = append(p.classes[c], b)
	p.free += cap(b)
}
