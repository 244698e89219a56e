package reduce

// The twins take four elements a turn, then one. Go's min and max have the
// package's rule for NaN and zeros.

func sum[T number](dst, a, b *byte, n int) {
	i, size := 0, sizeOf[T]()
	for ; i+4*size <= n; i += 4 * size {
		d, x, y := four[T](dst, i), four[T](a, i), four[T](b, i)
		d[0], d[1], d[2], d[3] = x[0]+y[0], x[1]+y[1], x[2]+y[2], x[3]+y[3]
	}
	for ; i+size <= n; i += size {
		*one[T](dst, i) = *one[T](a, i) + *one[T](b, i)
	}
}

func prod[T ordered](dst, a, b *byte, n int) {
	i, size := 0, sizeOf[T]()
	for ; i+4*size <= n; i += 4 * size {
		d, x, y := four[T](dst, i), four[T](a, i), four[T](b, i)
		d[0], d[1], d[2], d[3] = x[0]*y[0], x[1]*y[1], x[2]*y[2], x[3]*y[3]
	}
	for ; i+size <= n; i += size {
		*one[T](dst, i) = *one[T](a, i) * *one[T](b, i)
	}
}

// prodComplex multiplies pairs of F. The conversions keep the compiler from
// fusing a product with the sum, which would round otherwise than assembly does.
func prodComplex[F float](dst, a, b *byte, n int) {
	size := sizeOf[[2]F]()
	for i := 0; i+size <= n; i += size {
		d, x, y := one[[2]F](dst, i), one[[2]F](a, i), one[[2]F](b, i)
		d[0], d[1] = F(x[0]*y[0])-F(x[1]*y[1]), F(x[0]*y[1])+F(x[1]*y[0])
	}
}

func least[T ordered](dst, a, b *byte, n int) {
	i, size := 0, sizeOf[T]()
	for ; i+4*size <= n; i += 4 * size {
		d, x, y := four[T](dst, i), four[T](a, i), four[T](b, i)
		d[0], d[1], d[2], d[3] = min(x[0], y[0]), min(x[1], y[1]), min(x[2], y[2]), min(x[3], y[3])
	}
	for ; i+size <= n; i += size {
		*one[T](dst, i) = min(*one[T](a, i), *one[T](b, i))
	}
}

func greatest[T ordered](dst, a, b *byte, n int) {
	i, size := 0, sizeOf[T]()
	for ; i+4*size <= n; i += 4 * size {
		d, x, y := four[T](dst, i), four[T](a, i), four[T](b, i)
		d[0], d[1], d[2], d[3] = max(x[0], y[0]), max(x[1], y[1]), max(x[2], y[2]), max(x[3], y[3])
	}
	for ; i+size <= n; i += size {
		*one[T](dst, i) = max(*one[T](a, i), *one[T](b, i))
	}
}
