package reduce

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/cmplx"
	"math/rand/v2"
)

// A model is what a type is in the plainest Go: the reference for all paths.
type model interface {
	// apply is x OP y on single elements, each in its bytes.
	apply(op Op, x, y []byte) []byte
	// same reports whether two elements are the same bits, or both NaN.
	same(x, y []byte) bool
	// random is any element, often a special one.
	random(rng *rand.Rand) []byte
	// special lists the elements at the edges.
	special() [][]byte
	// show prints an element.
	show(x []byte) string
}

var models = [typeEnd]model{
	Int8:    integers[int8]{math.MinInt8, -1, 0, 1, 2, 16, math.MaxInt8},
	Int16:   integers[int16]{math.MinInt16, -1, 0, 1, 2, 256, math.MaxInt16},
	Int32:   integers[int32]{math.MinInt32, -1, 0, 1, 2, 1 << 16, math.MaxInt32},
	Int64:   integers[int64]{math.MinInt64, -1, 0, 1, 2, 1 << 32, -1 << 32, math.MaxInt64},
	Uint8:   integers[uint8]{0, 1, 2, 16, 127, 128, math.MaxUint8},
	Uint16:  integers[uint16]{0, 1, 2, 256, 1 << 15, math.MaxUint16},
	Uint32:  integers[uint32]{0, 1, 2, 1 << 16, 1 << 31, math.MaxUint32},
	Uint64:  integers[uint64]{0, 1, 2, 1 << 32, 1<<32 - 1, 1 << 63, 1<<63 - 1, math.MaxUint64},
	Float32: floats[float32](specialFloat32()),
	Float64: floats[float64](specialFloat64()),
	Complex64: complexes[complex64, float32]{
		0, 1, -1, 1i, complex64(cmplx.Inf()), complex64(cmplx.NaN()), 3e38 - 3e38i, 1e-45i,
	},
	Complex128: complexes[complex128, float64]{
		0, 1, -1, 1i, cmplx.Inf(), cmplx.NaN(), 1e308 - 1e308i, 5e-324i,
	},
}

func encode[T any](x T) []byte {
	b, err := binary.Append(nil, binary.NativeEndian, x)
	if err != nil {
		panic(err)
	}
	return b
}

func decode[T any](b []byte) (x T) {
	if _, err := binary.Decode(b, binary.NativeEndian, &x); err != nil {
		panic(err)
	}
	return x
}

func encodeAll[T any](xs []T) (all [][]byte) {
	for _, x := range xs {
		all = append(all, encode(x))
	}
	return all
}

// randomBytes is any pattern of bits, or one of the special elements in one of
// four cases.
func randomBytes[T any](rng *rand.Rand, special []T) []byte {
	if rng.IntN(4) == 0 {
		return encode(special[rng.IntN(len(special))])
	}
	b := make([]byte, sizeOf[T]())
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

type integers[T integer] []T

func (s integers[T]) special() [][]byte            { return encodeAll(s) }
func (s integers[T]) random(rng *rand.Rand) []byte { return randomBytes(rng, s) }
func (s integers[T]) same(x, y []byte) bool        { return string(x) == string(y) }
func (s integers[T]) show(x []byte) string         { return fmt.Sprint(decode[T](x)) }

func (s integers[T]) apply(op Op, bx, by []byte) []byte {
	x, y := decode[T](bx), decode[T](by)
	number := map[bool]T{true: 1}
	switch op {
	case Sum:
		x += y
	case Prod:
		x *= y
	case Min:
		if y < x {
			x = y
		}
	case Max:
		if y > x {
			x = y
		}
	case LAnd:
		x = number[x != 0 && y != 0]
	case LOr:
		x = number[x != 0 || y != 0]
	case LXor:
		x = number[(x != 0) != (y != 0)]
	case BAnd:
		x &= y
	case BOr:
		x |= y
	case BXor:
		x ^= y
	}
	return encode(x)
}

type floats[T float] []T

func specialFloat32() []float32 {
	bits := math.Float32frombits
	return []float32{
		0, bits(1 << 31), 1, -1, bits(0x7f800000), bits(0xff800000), // ±0, ±1, ±Inf
		bits(0x7fc00000), bits(0xffc00001), bits(0x7f800001), bits(0xffbfffff), // NaN, quiet and signalling
		math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32,
	}
}

func specialFloat64() []float64 {
	bits := math.Float64frombits
	return []float64{
		0, bits(1 << 63), 1, -1, math.Inf(1), math.Inf(-1),
		bits(0x7ff8 << 48), bits(0xfff8<<48 + 1), bits(0x7ff0<<48 + 1), bits(0xfff0<<48 + 1),
		math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, -math.SmallestNonzeroFloat64,
	}
}

func (s floats[T]) special() [][]byte            { return encodeAll(s) }
func (s floats[T]) random(rng *rand.Rand) []byte { return randomBytes(rng, s) }
func (s floats[T]) show(x []byte) string         { return fmt.Sprintf("%v (%#x)", decode[T](x), x) }

func (s floats[T]) same(x, y []byte) bool {
	a, b := decode[T](x), decode[T](y)
	return string(x) == string(y) || a != a && b != b
}

func (s floats[T]) apply(op Op, bx, by []byte) []byte {
	x, y := decode[T](bx), decode[T](by)
	switch op {
	case Sum:
		x += y
	case Prod:
		x *= y
	case Min:
		x = pick(x, y, math.Min)
	case Max:
		x = pick(x, y, math.Max)
	}
	return encode(x)
}

// pick is math.Min or math.Max, but NaN also beside an infinity.
func pick[T float](x, y T, of func(x, y float64) float64) T {
	if x != x || y != y {
		return T(math.NaN())
	}
	return T(of(float64(x), float64(y)))
}

// complexes are numbers T with parts F.
type complexes[T ~complex64 | ~complex128, F float] []T

func (s complexes[T, F]) special() [][]byte            { return encodeAll(s) }
func (s complexes[T, F]) random(rng *rand.Rand) []byte { return randomBytes(rng, s) }
func (s complexes[T, F]) show(x []byte) string         { return fmt.Sprintf("%v (%#x)", decode[T](x), x) }

func (s complexes[T, F]) same(x, y []byte) bool {
	half, part := sizeOf[F](), floats[F](nil)
	return part.same(x[:half], y[:half]) && part.same(x[half:], y[half:])
}

func (s complexes[T, F]) apply(op Op, bx, by []byte) []byte {
	x, y := decode[[2]F](bx), decode[[2]F](by)
	if op == Sum {
		return encode([2]F{x[0] + y[0], x[1] + y[1]})
	}
	rr, ii, ri, ir := x[0]*y[0], x[1]*y[1], x[0]*y[1], x[1]*y[0]
	return encode([2]F{F(rr) - F(ii), F(ri) + F(ir)})
}
