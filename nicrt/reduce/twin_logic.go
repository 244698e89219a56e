package reduce

// truth is 1 for every number but 0; it compiles without a branch.
func truth[T integer](x T) T {
	if x != 0 {
		return 1
	}
	return 0
}

func logicalAnd[T integer](dst, a, b *byte, n int) {
	i, size := 0, sizeOf[T]()
	for ; i+4*size <= n; i += 4 * size {
		d, x, y := four[T](dst, i), four[T](a, i), four[T](b, i)
		d[0] = truth(x[0]) & truth(y[0])
		d[1] = truth(x[1]) & truth(y[1])
		d[2] = truth(x[2]) & truth(y[2])
		d[3] = truth(x[3]) & truth(y[3])
	}
	for ; i+size <= n; i += size {
		*one[T](dst, i) = truth(*one[T](a, i)) & truth(*one[T](b, i))
	}
}

func logicalOr[T integer](dst, a, b *byte, n int) {
	i, size := 0, sizeOf[T]()
	for ; i+4*size <= n; i += 4 * size {
		d, x, y := four[T](dst, i), four[T](a, i), four[T](b, i)
		d[0] = truth(x[0] | y[0])
		d[1] = truth(x[1] | y[1])
		d[2] = truth(x[2] | y[2])
		d[3] = truth(x[3] | y[3])
	}
	for ; i+size <= n; i += size {
		*one[T](dst, i) = truth(*one[T](a, i) | *one[T](b, i))
	}
}

func logicalXor[T integer](dst, a, b *byte, n int) {
	i, size := 0, sizeOf[T]()
	for ; i+4*size <= n; i += 4 * size {
		d, x, y := four[T](dst, i), four[T](a, i), four[T](b, i)
		d[0] = truth(x[0]) ^ truth(y[0])
		d[1] = truth(x[1]) ^ truth(y[1])
		d[2] = truth(x[2]) ^ truth(y[2])
		d[3] = truth(x[3]) ^ truth(y[3])
	}
	for ; i+size <= n; i += size {
		*one[T](dst, i) = truth(*one[T](a, i)) ^ truth(*one[T](b, i))
	}
}

// Bits have no element: the bitwise twins take words for as long as they can.

func bitwiseAnd[T integer](dst, a, b *byte, n int) {
	i, size := 0, sizeOf[T]()
	for ; i+4*8 <= n; i += 4 * 8 {
		d, x, y := four[uint64](dst, i), four[uint64](a, i), four[uint64](b, i)
		d[0], d[1], d[2], d[3] = x[0]&y[0], x[1]&y[1], x[2]&y[2], x[3]&y[3]
	}
	for ; i+size <= n; i += size {
		*one[T](dst, i) = *one[T](a, i) & *one[T](b, i)
	}
}

func bitwiseOr[T integer](dst, a, b *byte, n int) {
	i, size := 0, sizeOf[T]()
	for ; i+4*8 <= n; i += 4 * 8 {
		d, x, y := four[uint64](dst, i), four[uint64](a, i), four[uint64](b, i)
		d[0], d[1], d[2], d[3] = x[0]|y[0], x[1]|y[1], x[2]|y[2], x[3]|y[3]
	}
	for ; i+size <= n; i += size {
		*one[T](dst, i) = *one[T](a, i) | *one[T](b, i)
	}
}

func bitwiseXor[T integer](dst, a, b *byte, n int) {
	i, size := 0, sizeOf[T]()
	for ; i+4*8 <= n; i += 4 * 8 {
		d, x, y := four[uint64](dst, i), four[uint64](a, i), four[uint64](b, i)
		d[0], d[1], d[2], d[3] = x[0]^y[0], x[1]^y[1], x[2]^y[2], x[3]^y[3]
	}
	for ; i+size <= n; i += size {
		*one[T](dst, i) = *one[T](a, i) ^ *one[T](b, i)
	}
}
