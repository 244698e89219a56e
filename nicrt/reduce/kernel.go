package reduce

import "unsafe"

// A Kernel sets dst[i] = dst[i] OP src[i] for all elements of a block. Both
// slices have the same length in bytes, a multiple of the element size, which
// may be 0; they may start at any address. They are the same memory or do not
// overlap.
//
// These lengths are the caller's to check: they are not reported. If they
// differ, or end within an element, then the values after the last element
// common to both are unspecified, but no byte outside of either slice is
// touched. A Kernel does not allocate and does not keep the slices. Any number
// of goroutines may use it at once on different blocks.
type Kernel func(dst, src []byte)

// A Kernel3 sets dst[i] = a[i] OP b[i]. What holds for a Kernel holds for it;
// dst may be the same memory as a, as b or as both.
type Kernel3 func(dst, a, b []byte)

// Lookup returns the kernel of an operator and a type. It costs two array
// indexes, but is meant to be called once for each operation rather than for
// each block. The error is an *UndefinedError.
func Lookup(op Op, t Type) (Kernel, error) {
	if !op.Valid() || !t.Valid() || active.two[op][t] == nil {
		return nil, &UndefinedError{op, t}
	}
	return active.two[op][t], nil
}

// Lookup3 is Lookup for the form with three operands.
func Lookup3(op Op, t Type) (Kernel3, error) {
	if !op.Valid() || !t.Valid() || active.three[op][t] == nil {
		return nil, &UndefinedError{op, t}
	}
	return active.three[op][t], nil
}

// Features names the instruction set in use: "avx512", "avx2" or "go".
func Features() string { return active.name }

// active holds the kernels for this machine's processor. It never changes.
var active = build(paths()[0])

// A block computes n bytes of dst = a OP b.
type block func(dst, a, b *byte, n int)

// A blockTable has a block for each operator and type, nil where there is none.
type blockTable [opEnd][typeEnd]block

// A path is a way to compute blocks.
type path struct {
	name string
	// vector has the blocks in assembly; nil entries are computed by the Go twin.
	vector *blockTable
	// step is the number of bytes, a power of 2, that vector's blocks take multiples of.
	step int
}

// goPath computes everything in Go.
var goPath = path{name: "go", vector: new(blockTable), step: 1}

// A kernelSet is what one path offers.
type kernelSet struct {
	name  string
	two   [opEnd][typeEnd]Kernel
	three [opEnd][typeEnd]Kernel3
}

func build(p path) *kernelSet {
	set := &kernelSet{name: p.name}
	for op := range opEnd {
		for t := range typeEnd {
			twin, vector := twins[op][t], p.vector[op][t]
			switch {
			case twin == nil:
			case vector == nil:
				set.two[op][t], set.three[op][t] = scalarKernels(twin)
			default:
				v := vectorBlock{vector: vector, twin: twin, step: p.step, scalar: max(few*t.Size(), p.step-1)}
				set.two[op][t], set.three[op][t] = v.kernels()
			}
		}
	}
	return set
}

func scalarKernels(twin block) (Kernel, Kernel3) {
	two := func(dst, src []byte) {
		d := unsafe.SliceData(dst)
		twin(d, d, unsafe.SliceData(src), min(len(dst), len(src)))
	}
	three := func(dst, a, b []byte) {
		twin(unsafe.SliceData(dst), unsafe.SliceData(a), unsafe.SliceData(b), min(len(dst), len(a), len(b)))
	}
	return two, three
}

// few is the number of elements up to which the twin is quicker than the way
// into assembly and back. Its plain stores also forward to the loads that send
// the result on, which a masked store does not.
const few = 3

// A vectorBlock splits a block between assembly and its twin in Go.
type vectorBlock struct {
	vector, twin block
	step         int // bytes, a power of 2; vector takes multiples of it
	scalar       int // bytes; up to here the twin is quicker
}

func (v vectorBlock) kernels() (Kernel, Kernel3) {
	vector, twin, step, scalar := v.vector, v.twin, v.step, v.scalar
	two := func(dst, src []byte) {
		d, s, n := unsafe.SliceData(dst), unsafe.SliceData(src), min(len(dst), len(src))
		if n <= scalar {
			twin(d, d, s, n)
			return
		}
		split(vector, twin, step, d, d, s, n)
	}
	three := func(dst, a, b []byte) {
		d, x, y, n := unsafe.SliceData(dst), unsafe.SliceData(a), unsafe.SliceData(b), min(len(dst), len(a), len(b))
		if n <= scalar {
			twin(d, x, y, n)
			return
		}
		split(vector, twin, step, d, x, y, n)
	}
	return two, three
}

// stretch is how many bytes one call into assembly takes at most: the garbage
// collector cannot stop a goroutine there, and waits some 10 µs for this much.
const stretch = 256 << 10

// split gives whole steps to vector and the rest to twin; n is at least a step.
func split(vector, twin block, step int, dst, a, b *byte, n int) {
	at, whole := 0, n&^(step-1)
	report(dst, a, b, whole)
	for whole-at > stretch {
		vector(offset(dst, at), offset(a, at), offset(b, at), stretch)
		at += stretch
	}
	vector(offset(dst, at), offset(a, at), offset(b, at), whole-at)
	if whole < n {
		twin(offset(dst, whole), offset(a, whole), offset(b, whole), n-whole)
	}
}

func offset(p *byte, n int) *byte { return (*byte)(unsafe.Add(unsafe.Pointer(p), n)) }
