package mpi

import (
	"math/bits"
	"reflect"
	"unsafe"

	"outboard/nicrt/reduce"
)

// Number is what can be sent and computed with: every numeric type of fixed
// size, int, uint, and types made from them.
type Number interface {
	~int8 | ~int16 | ~int32 | ~int64 | ~int |
		~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uint |
		~float32 | ~float64 | ~complex64 | ~complex128
}

func sizeOf[T Number]() int {
	var z T
	return int(unsafe.Sizeof(z))
}

// typeOf is the NIC's name of T.
func typeOf[T Number]() reduce.Type { return types[reflect.TypeFor[T]().Kind()] }

var types = [...]reduce.Type{
	reflect.Int8: reduce.Int8, reflect.Int16: reduce.Int16, reflect.Int32: reduce.Int32, reflect.Int64: reduce.Int64,
	reflect.Uint8: reduce.Uint8, reflect.Uint16: reduce.Uint16, reflect.Uint32: reduce.Uint32, reflect.Uint64: reduce.Uint64,
	reflect.Int: intType, reflect.Uint: uintType,
	reflect.Float32: reduce.Float32, reflect.Float64: reduce.Float64,
	reflect.Complex64: reduce.Complex64, reflect.Complex128: reduce.Complex128,
}

var intType, uintType = func() (reduce.Type, reduce.Type) {
	if bits.UintSize == 32 {
		return reduce.Int32, reduce.Uint32
	}
	return reduce.Int64, reduce.Uint64
}()

// overlap reports whether two buffers share memory, and whether they are the same.
func overlap(a, b []byte) (same, partial bool) {
	if len(a) == 0 || len(b) == 0 {
		return false, false
	}
	pa, pb := uintptr(unsafe.Pointer(&a[0])), uintptr(unsafe.Pointer(&b[0]))
	same = pa == pb && len(a) == len(b)
	return same, !same && pa < pb+uintptr(len(b)) && pb < pa+uintptr(len(a))
}
