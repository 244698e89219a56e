package reduce_test

import (
	"errors"
	"fmt"
	"unsafe"

	"outboard/nicrt/reduce"
)

// bytesOf views numbers as the bytes that they are stored in.
func bytesOf(s []float64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), 8*len(s))
}

func Example() {
	add, err := reduce.Lookup(reduce.Sum, reduce.Float64)
	if err != nil {
		fmt.Println(err)
		return
	}
	total := []float64{1, 2, 3}
	for _, arrived := range [][]float64{{10, 20, 30}, {100, 200, 300}} {
		add(bytesOf(total), bytesOf(arrived))
	}
	fmt.Println(total)
	// Output: [111 222 333]
}

func ExampleLookup3() {
	larger, err := reduce.Lookup3(reduce.Max, reduce.Float64)
	if err != nil {
		fmt.Println(err)
		return
	}
	mine, theirs, result := []float64{1, 7}, []float64{4, 2}, make([]float64, 2)
	larger(bytesOf(result), bytesOf(mine), bytesOf(theirs))
	fmt.Println(result)
	// Output: [4 7]
}

func ExampleUndefinedError() {
	_, err := reduce.Lookup(reduce.Min, reduce.Complex128)
	var undefined *reduce.UndefinedError
	if errors.As(err, &undefined) {
		fmt.Println(undefined.Op, undefined.Type)
	}
	fmt.Println(err)
	// Output:
	// min complex128
	// reduce: min of complex128: operation is not defined: want an integer or floating-point type
}
