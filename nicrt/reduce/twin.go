package reduce

import "unsafe"

type integer interface {
	~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64
}

type float interface{ ~float32 | ~float64 }

type ordered interface{ integer | float }

type number interface {
	ordered | ~complex64 | ~complex128
}

// twins has every defined combination in Go. It is the reference for the
// vector kernels, and what runs where there are none.
var twins = newTwins()

func newTwins() *blockTable {
	t := new(blockTable)
	addInteger[int8](t, Int8)
	addInteger[int16](t, Int16)
	addInteger[int32](t, Int32)
	addInteger[int64](t, Int64)
	addInteger[uint8](t, Uint8)
	addInteger[uint16](t, Uint16)
	addInteger[uint32](t, Uint32)
	addInteger[uint64](t, Uint64)
	addFloat[float32](t, Float32)
	addFloat[float64](t, Float64)
	addComplex[complex64, float32](t, Complex64)
	addComplex[complex128, float64](t, Complex128)
	return t
}

func addInteger[T integer](tab *blockTable, t Type) {
	tab[Sum][t], tab[Prod][t] = sum[T], prod[T]
	tab[Min][t], tab[Max][t] = least[T], greatest[T]
	tab[LAnd][t], tab[LOr][t], tab[LXor][t] = logicalAnd[T], logicalOr[T], logicalXor[T]
	tab[BAnd][t], tab[BOr][t], tab[BXor][t] = bitwiseAnd[T], bitwiseOr[T], bitwiseXor[T]
}

func addFloat[T float](tab *blockTable, t Type) {
	tab[Sum][t], tab[Prod][t] = sum[T], prod[T]
	tab[Min][t], tab[Max][t] = least[T], greatest[T]
}

func addComplex[T ~complex64 | ~complex128, F float](tab *blockTable, t Type) {
	tab[Sum][t], tab[Prod][t] = sum[T], prodComplex[F]
}

// one and four view memory at p+i as elements. Addresses need no alignment: on
// every 64-bit port of Go but mips64 the processor, or the system in its place,
// loads and stores unaligned words.
func one[T any](p *byte, i int) *T { return (*T)(unsafe.Pointer(offset(p, i))) }

func four[T any](p *byte, i int) *[4]T { return (*[4]T)(unsafe.Pointer(offset(p, i))) }

func sizeOf[T any]() int { return int(unsafe.Sizeof(*new(T))) }
