package reduce

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"
)

func address(s []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(s))) }

// aligned returns n bytes that start on a cache line.
func aligned(n int) []byte {
	s := make([]byte, n+64)
	return s[-int(address(s))&63:][:n:n]
}

// eachKernel runs a test for all paths of this machine and all defined combinations.
func eachKernel(t *testing.T, test func(t *testing.T, set *kernelSet, op Op, of Type)) {
	for _, p := range paths() {
		set := build(p)
		for op := range opEnd {
			for of := range typeEnd {
				if twins[op][of] != nil {
					t.Run(fmt.Sprintf("%s/%v/%v", p.name, op, of), func(t *testing.T) { test(t, set, op, of) })
				}
			}
		}
	}
}

// operands returns random elements and, from the reference, a OP b.
func operands(seed uint64, op Op, of Type, elems int) (a, b, want []byte) {
	rng := rand.New(rand.NewPCG(seed, uint64(op)<<8|uint64(of)))
	m := models[of]
	for range elems {
		x, y := m.random(rng), m.random(rng)
		a, b, want = append(a, x...), append(b, y...), append(want, m.apply(op, x, y)...)
	}
	return a, b, want
}

// check compares elements as the model does.
func check(t *testing.T, op Op, of Type, got, want, a, b []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	m, size := models[of], of.Size()
	for i := 0; i < len(want); i += size {
		if g, w := got[i:i+size], want[i:i+size]; !m.same(g, w) {
			t.Fatalf("element %d of %d: %v of %s and %s = %s, want %s", i/size, len(want)/size,
				op, m.show(a[i:i+size]), m.show(b[i:i+size]), m.show(g), m.show(w))
		}
	}
}

// An arena holds a block at a chosen alignment between guard bytes.
type arena struct {
	mem        []byte
	start, end int
}

const (
	guard     = 0xa5
	guardSize = 64
)

func newArena(capacity int) *arena {
	mem := aligned(capacity + 64 + 2*guardSize)
	for i := range mem {
		mem[i] = guard
	}
	return &arena{mem: mem}
}

// put copies content into the arena, shift bytes after a multiple of 64.
func (r *arena) put(content []byte, shift int) []byte {
	for i := r.start; i < r.end; i++ {
		r.mem[i] = guard
	}
	r.start = guardSize + shift&63
	r.end = r.start + len(content)
	copy(r.mem[r.start:], content)
	return r.mem[r.start:r.end:r.end]
}

var untouched = bytes.Repeat([]byte{guard}, guardSize)

// intact reports whether the bytes on both sides of the block are as before.
func (r *arena) intact() bool {
	return bytes.Equal(r.mem[r.start-guardSize:r.start], untouched) &&
		bytes.Equal(r.mem[r.end:r.end+guardSize], untouched)
}

// maxElems is the longest block in the tests of lengths.
const maxElems = 300

// TestLengthsAndAlignments pairs every alignment of dst with every one of src,
// and goes through all lengths some 13 times on the way.
func TestLengthsAndAlignments(t *testing.T) {
	eachKernel(t, func(t *testing.T, set *kernelSet, op Op, of Type) {
		l := newLengthTest(set, op, of)
		for i := 0; i < 64*64; i += stride {
			l.two(t, i*37%(maxElems+1), i/64, i%64)
			if i/stride%8 == 0 {
				l.three(t, i*37%(maxElems+1), i*11%64, i/64, i%64)
			}
		}
	})
}

// TestEveryLengthAndAlignment is the full product of lengths and alignments
// of one operator: all others share its loops in assembly.
func TestEveryLengthAndAlignment(t *testing.T) {
	for _, p := range paths() {
		if p.vector[Sum][Int32] == nil && len(paths()) > 1 {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			l := newLengthTest(build(p), Sum, Int32)
			for n := range maxElems + 1 {
				for i := n % stride; i < 64*64; i += stride {
					l.two(t, n, i/64, i%64)
				}
			}
		})
	}
}

// A lengthTest runs one operator over prefixes of the same operands.
type lengthTest struct {
	set          *kernelSet
	op           Op
	of           Type
	a, b, want   []byte
	dst, src, in *arena
}

func newLengthTest(set *kernelSet, op Op, of Type) *lengthTest {
	l := &lengthTest{set: set, op: op, of: of}
	l.a, l.b, l.want = operands(1, op, of, maxElems)
	size := maxElems * of.Size()
	l.dst, l.src, l.in = newArena(size), newArena(size), newArena(size)
	return l
}

func (l *lengthTest) two(t *testing.T, elems, dstShift, srcShift int) {
	n := elems * l.of.Size()
	dst, src := l.dst.put(l.a[:n], dstShift), l.src.put(l.b[:n], srcShift)
	l.set.two[l.op][l.of](dst, src)
	l.verify(t, dst, n, dstShift, srcShift)
	if !bytes.Equal(src, l.b[:n]) {
		t.Fatalf("%d bytes: src is changed", n)
	}
}

func (l *lengthTest) three(t *testing.T, elems, dstShift, aShift, bShift int) {
	n := elems * l.of.Size()
	dst, a, b := l.dst.put(untouchedBytes[:n], dstShift), l.in.put(l.a[:n], aShift), l.src.put(l.b[:n], bShift)
	l.set.three[l.op][l.of](dst, a, b)
	l.verify(t, dst, n, dstShift, aShift, bShift)
	if !bytes.Equal(a, l.a[:n]) || !bytes.Equal(b, l.b[:n]) {
		t.Fatalf("%d bytes: an operand is changed", n)
	}
}

var untouchedBytes = bytes.Repeat([]byte{guard}, maxElems*16)

func (l *lengthTest) verify(t *testing.T, dst []byte, n int, shifts ...int) {
	t.Helper()
	check(t, l.op, l.of, dst, l.want[:n], l.a, l.b)
	if !l.dst.intact() || !l.src.intact() {
		t.Fatalf("%d bytes, alignments %v: bytes outside of the block are changed", n, shifts)
	}
}

// TestSpecialValues pairs all special values of a type, in a short block and
// in the middle of a long one, so that they meet the scalar and the vector code.
func TestSpecialValues(t *testing.T) {
	eachKernel(t, func(t *testing.T, set *kernelSet, op Op, of Type) {
		m := models[of]
		for _, x := range m.special() {
			for _, y := range m.special() {
				for _, elems := range []int{1, 2, few + 1, 37} {
					a, b := bytes.Repeat(x, elems), bytes.Repeat(y, elems)
					got := bytes.Clone(a)
					set.two[op][of](got, b)
					check(t, op, of, got, bytes.Repeat(m.apply(op, x, y), elems), a, b)
				}
			}
		}
	})
}

// TestLongBlocks crosses the limit of what one call into assembly takes. The
// operands have periods of 1000 and 999 elements.
func TestLongBlocks(t *testing.T) {
	for _, c := range []struct {
		op Op
		of Type
	}{{Sum, Float64}, {BXor, Uint16}, {Sum, Complex128}} {
		size := c.of.Size()
		longest := 3*stretch + 5*size
		pattern, _, _ := operands(2, c.op, c.of, 1000)
		a := bytes.Repeat(pattern, longest/len(pattern)+1)
		b := bytes.Repeat(pattern[size:], longest/len(pattern)+2)
		var want []byte
		for i := 0; i < longest; i += size {
			want = append(want, models[c.of].apply(c.op, a[i:i+size], b[i:i+size])...)
		}
		for _, p := range paths() {
			set := build(p)
			for _, n := range []int{stretch - size, stretch, stretch + size, 2 * stretch, longest} {
				t.Run(fmt.Sprintf("%s/%v/%v/%d", p.name, c.op, c.of, n), func(t *testing.T) {
					got := bytes.Clone(a)
					set.two[c.op][c.of](got[:n], b[:n])
					check(t, c.op, c.of, got[:n], want[:n], a, b)
					if !bytes.Equal(got[n:], a[n:]) {
						t.Fatal("bytes after the block are changed")
					}
				})
			}
		}
	}
}

func TestAliasing(t *testing.T) {
	eachKernel(t, func(t *testing.T, set *kernelSet, op Op, of Type) {
		two, three := set.two[op][of], set.three[op][of]
		for _, elems := range []int{1, 2, 5, 33, 100} {
			a, b, want := operands(3, op, of, elems)
			var squared []byte
			for i := 0; i < len(a); i += of.Size() {
				x := a[i : i+of.Size()]
				squared = append(squared, models[of].apply(op, x, x)...)
			}

			dst := bytes.Clone(a)
			three(dst, dst, b)
			check(t, op, of, dst, want, a, b)

			dst = bytes.Clone(b)
			three(dst, a, dst)
			check(t, op, of, dst, want, a, b)

			dst = bytes.Clone(a)
			three(dst, dst, dst)
			check(t, op, of, dst, squared, a, a)

			dst = bytes.Clone(a)
			two(dst, dst)
			check(t, op, of, dst, squared, a, a)
		}
	})
}

// TestUnequalLengths holds kernels to the bytes common to all slices.
func TestUnequalLengths(t *testing.T) {
	eachKernel(t, func(t *testing.T, set *kernelSet, op Op, of Type) {
		size := of.Size()
		for _, elems := range []int{0, 1, 2, 40} {
			a, b, want := operands(4, op, of, elems+1)
			n := elems * size
			short, long := newArena(n+size), newArena(n+size)

			dst := short.put(a[:n], 1)
			set.two[op][of](dst, b)
			check(t, op, of, dst, want[:n], a, b)

			dst = long.put(a, 1)
			set.two[op][of](dst, b[:n])
			check(t, op, of, dst, append(bytes.Clone(want[:n]), a[n:]...), a, b)

			dst = long.put(a, 3)
			set.three[op][of](dst, a, b[:n+size-1])
			check(t, op, of, dst[:n], want[:n], a, b)

			if !short.intact() || !long.intact() {
				t.Fatalf("%d elements: bytes outside of the block are changed", elems)
			}
		}
		set.two[op][of](nil, nil)
		set.three[op][of](nil, nil, nil)
	})
}

func TestKernelsDoNotAllocate(t *testing.T) {
	eachKernel(t, func(t *testing.T, set *kernelSet, op Op, of Type) {
		for _, elems := range []int{1, 50} {
			dst, src := make([]byte, elems*of.Size()), make([]byte, elems*of.Size())
			if got := testing.AllocsPerRun(10, func() {
				set.two[op][of](dst, src)
				set.three[op][of](dst, src, src)
			}); got != 0 {
				t.Errorf("%d elements: %v allocations, want 0", elems, got)
			}
		}
	})
}

// FuzzPaths compares all paths with the reference on any content, length and alignment.
func FuzzPaths(f *testing.F) {
	var sets []*kernelSet
	for _, p := range paths() {
		sets = append(sets, build(p))
	}
	f.Add(uint8(Sum), uint8(Float64), uint8(3), uint8(0), []byte(strings.Repeat("0123456789abcdef", 20)))
	f.Add(uint8(Max), uint8(Float32), uint8(0), uint8(1), bytes.Repeat([]byte{0, 0, 0, 0x80, 0, 0, 0xc0, 0x7f}, 9))
	f.Add(uint8(Prod), uint8(Complex64), uint8(9), uint8(63), bytes.Repeat([]byte{0xff}, 70))
	f.Add(uint8(LXor), uint8(Int16), uint8(1), uint8(2), []byte{})
	f.Fuzz(func(t *testing.T, op, of, dstShift, srcShift uint8, content []byte) {
		o, typ := Op(op)%opEnd, Type(of)%typeEnd
		if twins[o][typ] == nil {
			return
		}
		size := typ.Size()
		n := len(content) / 2 / size * size
		a, b := content[:n], content[n:2*n]
		var want []byte
		for i := 0; i < n; i += size {
			want = append(want, models[typ].apply(o, a[i:i+size], b[i:i+size])...)
		}
		dst, src := newArena(n), newArena(n)
		for _, set := range sets {
			got := dst.put(a, int(dstShift))
			set.two[o][typ](got, src.put(b, int(srcShift)))
			check(t, o, typ, got, want, a, b)
			if !dst.intact() || !src.intact() {
				t.Fatalf("%s: bytes outside of the block are changed", set.name)
			}
		}
	})
}
