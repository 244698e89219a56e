package reduce

import (
	"fmt"
	"testing"
)

// BenchmarkKernel measures dst = dst OP src; MB/s counts the bytes of dst.
func BenchmarkKernel(b *testing.B) {
	cases := []struct {
		op Op
		t  Type
	}{
		{Sum, Float64}, {Max, Float64}, {Prod, Float32}, {Sum, Int32}, {Min, Int64}, {Prod, Int64}, {LAnd, Int32}, {BXor, Uint8}, {Prod, Complex128},
	}
	for _, p := range paths() {
		set := build(p)
		for _, c := range cases {
			for _, elems := range []int{1, 2, 8, 64, 512 << 10 / 8, 1 << 20 / 8} {
				n := elems * c.t.Size()
				b.Run(fmt.Sprintf("%s/%v/%v/%d", p.name, c.op, c.t, n), func(b *testing.B) {
					run(b, set.two[c.op][c.t], n, 0, 0)
				})
			}
		}
	}
}

// BenchmarkAlignment measures sums whose blocks start off a cache line.
func BenchmarkAlignment(b *testing.B) {
	for _, p := range paths() {
		set := build(p)
		for _, n := range []int{256, 4 << 10, 64 << 10, 1 << 20} {
			for _, shift := range [][2]int{{0, 0}, {0, 16}, {16, 0}, {16, 16}} {
				b.Run(fmt.Sprintf("%s/%d/dst+%d,src+%d", p.name, n, shift[0], shift[1]), func(b *testing.B) {
					run(b, set.two[Sum][Float64], n, shift[0], shift[1])
				})
			}
		}
	}
}

func run(b *testing.B, k Kernel, n, dstShift, srcShift int) {
	dst, src := aligned(n + 64)[dstShift:][:n], aligned(n + 64)[srcShift:][:n]
	b.SetBytes(int64(n))
	b.ReportAllocs()
	for b.Loop() {
		k(dst, src)
	}
}
