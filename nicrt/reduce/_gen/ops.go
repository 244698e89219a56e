package main

import (
	"strconv"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// widths are the element sizes of integers, in bits.
var widths = []int{8, 16, 32, 64}

// kernels lists every function to generate.
func kernels() []kernel {
	ks := []kernel{
		{"sumF32", "a + b, float32 by float32,", plain(VADDPS)},
		{"sumF64", "a + b, float64 by float64,", plain(VADDPD)},
		{"prodF32", "a * b, float32 by float32,", plain(VMULPS)},
		{"prodF64", "a * b, float64 by float64,", plain(VMULPD)},
		{"minF32", "min(a, b), float32 by float32,", minFloat(VMINPS, VRANGEPS, VCMPPS, VADDPS)},
		{"minF64", "min(a, b), float64 by float64,", minFloat(VMINPD, VRANGEPD, VCMPPD, VADDPD)},
		{"maxF32", "max(a, b), float32 by float32,", maxFloat(VMAXPS, VSUBPS, VRANGEPS, VCMPPS, VADDPS)},
		{"maxF64", "max(a, b), float64 by float64,", maxFloat(VMAXPD, VSUBPD, VRANGEPD, VCMPPD, VADDPD)},
		{"prodC64", "a * b, complex64 by complex64,", productComplex(VMOVSLDUP, VMOVSHDUP, VPERMILPS, 0b10110001, VMULPS, VADDSUBPS, VADDPS, VSUBPS)},
		{"prodC128", "a * b, complex128 by complex128,", productComplex(VMOVDDUP, imaginary64, VPERMILPD, 0b01010101, VMULPD, VADDSUBPD, VADDPD, VSUBPD)},
		{"and", "a & b", bitwise(VPAND, VPANDQ)},
		{"or", "a | b", bitwise(VPOR, VPORQ)},
		{"xor", "a ^ b", bitwise(VPXOR, VPXORQ)},
	}
	for i, w := range widths {
		bits := strconv.Itoa(w)
		lanes := ", " + bits + " bits by " + bits + ","
		ks = append(ks,
			kernel{"sum" + bits, "a + b" + lanes, plain([]emit{VPADDB, VPADDW, VPADDD, VPADDQ}[i])},
			kernel{"prod" + bits, "a * b" + lanes, product(w)},
			kernel{"minI" + bits, "min(a, b), signed" + lanes, least([]emit{VPMINSB, VPMINSW, VPMINSD, VPMINSQ}[i], w, true)},
			kernel{"minU" + bits, "min(a, b), unsigned" + lanes, least([]emit{VPMINUB, VPMINUW, VPMINUD, VPMINUQ}[i], w, false)},
			kernel{"maxI" + bits, "max(a, b), signed" + lanes, greatest([]emit{VPMAXSB, VPMAXSW, VPMAXSD, VPMAXSQ}[i], w, true)},
			kernel{"maxU" + bits, "max(a, b), unsigned" + lanes, greatest([]emit{VPMAXUB, VPMAXUW, VPMAXUD, VPMAXUQ}[i], w, false)},
			kernel{"land" + bits, "1 where a and b are not 0, else 0" + lanes, logical(w, landWide, landNarrow)},
			kernel{"lor" + bits, "1 where a or b is not 0, else 0" + lanes, logical(w, lorWide, lorNarrow)},
			kernel{"lxor" + bits, "1 where just one of a and b is not 0, else 0" + lanes, logical(w, lxorWide, lxorNarrow)},
		)
	}
	return ks
}

// An emit is one of avo's instruction functions; operands are in Go's order,
// the destination last.
type emit = func(ops ...operand.Op)

// plain is d = a OP b in one instruction.
func plain(op emit) func(isa) combiner {
	return func(isa) combiner {
		return func(a reg.VecVirtual, b operand.Op) reg.VecVirtual {
			op(b, a, a)
			return a
		}
	}
}

// bitwise is plain with two names for the one instruction.
func bitwise(narrow func(mxy, xy, xy1 operand.Op), wide emit) func(isa) combiner {
	return func(s isa) combiner {
		if s.wide() {
			return plain(wide)(s)
		}
		return func(a reg.VecVirtual, b operand.Op) reg.VecVirtual {
			narrow(b, a, a)
			return a
		}
	}
}

// Immediates of VRANGE: which of the two to select, with its own sign (so that
// -0 is less than +0); and VCMP's predicate "either is NaN".
const (
	rangeMin  = operand.U8(0b0100)
	rangeMax  = operand.U8(0b0101)
	unordered = operand.U8(3)
)

// minFloat orders -0 before +0 and gives NaN where either side is NaN.
//
// AVX2's minimum returns its second source for two zeros and for NaN, so both
// orders are taken: the OR of the two is -0 where one zero is, NaN where one
// side is, and changes nothing elsewhere.
func minFloat(least, rng, cmp, add emit) func(isa) combiner {
	return func(s isa) combiner {
		if s.wide() {
			return ranged(rangeMin, rng, cmp, add)
		}
		return func(a reg.VecVirtual, b operand.Op) reg.VecVirtual {
			vb, t := s.load(b), s.vec()
			least(vb, a, t)
			least(a, vb, a)
			VORPD(t, a, a)
			return a
		}
	}
}

// maxFloat orders -0 before +0 and gives NaN where either side is NaN.
//
// Both orders of AVX2's maximum differ for two zeros and for NaN only. With d
// their difference (XOR), (first OR d) - d is +0 for unlike zeros, NaN where
// one side is NaN, and the maximum itself where d is 0.
func maxFloat(most, sub, rng, cmp, add emit) func(isa) combiner {
	return func(s isa) combiner {
		if s.wide() {
			return ranged(rangeMax, rng, cmp, add)
		}
		return func(a reg.VecVirtual, b operand.Op) reg.VecVirtual {
			vb, t := s.load(b), s.vec()
			most(vb, a, t)
			most(a, vb, a)
			VXORPD(t, a, a)
			VORPD(a, t, t)
			sub(a, t, a)
			return a
		}
	}
}

// ranged takes AVX-512's ordering of zeros and replaces lanes with a NaN by
// the sum, which is NaN.
func ranged(which operand.U8, rng, cmp, add emit) combiner {
	return func(a reg.VecVirtual, b operand.Op) reg.VecVirtual {
		vb, d, nan := ZMM(), ZMM(), K()
		VMOVDQU64(b, vb)
		rng(which, vb, a, d)
		cmp(unordered, vb, a, nan)
		add(vb, a, nan, d)
		return d
	}
}

// least is the minimum of integers.
func least(op emit, bits int, signed bool) func(isa) combiner {
	return func(s isa) combiner {
		if bits < 64 || s.wide() {
			return plain(op)(s)
		}
		greater := greater64(s, signed)
		return func(a reg.VecVirtual, b operand.Op) reg.VecVirtual {
			vb := s.load(b)
			VBLENDVPD(greater(a, vb), vb, a, a)
			return a
		}
	}
}

// greatest is the maximum of integers.
func greatest(op emit, bits int, signed bool) func(isa) combiner {
	return func(s isa) combiner {
		if bits < 64 || s.wide() {
			return plain(op)(s)
		}
		greater := greater64(s, signed)
		return func(a reg.VecVirtual, b operand.Op) reg.VecVirtual {
			vb := s.load(b)
			VBLENDVPD(greater(a, vb), a, vb, a)
			return a
		}
	}
}

// greater64 returns an emitter for the mask of a > b, 64 bits by 64, which
// AVX2 has for signed numbers only: unsigned ones are moved down by half their
// range first.
func greater64(s isa, signed bool) func(a, b reg.VecVirtual) reg.VecVirtual {
	if signed {
		return func(a, b reg.VecVirtual) reg.VecVirtual {
			m := s.vec()
			VPCMPGTQ(b, a, m)
			return m
		}
	}
	sign := s.vec()
	VPCMPEQQ(sign, sign, sign)
	VPSLLQ(operand.U8(63), sign, sign)
	return func(a, b reg.VecVirtual) reg.VecVirtual {
		m, low := s.vec(), s.vec()
		VPXOR(sign, a, m)
		VPXOR(sign, b, low)
		VPCMPGTQ(low, m, m)
		return m
	}
}

// product is the low half of the product of integers.
func product(bits int) func(isa) combiner {
	switch bits {
	case 8:
		return product8
	case 16:
		return plain(VPMULLW)
	case 32:
		return plain(VPMULLD)
	}
	return func(s isa) combiner {
		if s.wide() {
			return plain(VPMULLQ)(s)
		}
		return product64(s)
	}
}

// product8 multiplies odd and even bytes apart, as 16-bit lanes: no
// instruction set has a product of bytes.
func product8(s isa) combiner {
	and, or := bitwise(VPAND, VPANDQ)(s), bitwise(VPOR, VPORQ)(s)
	low := s.vec()
	if s.wide() {
		VPTERNLOGD(operand.U8(0xff), low, low, low)
	} else {
		VPCMPEQB(low, low, low)
	}
	VPSRLW(operand.U8(8), low, low)
	return func(a reg.VecVirtual, b operand.Op) reg.VecVirtual {
		vb, odd, t := s.load(b), s.vec(), s.vec()
		VPSRLW(operand.U8(8), a, odd)
		VPSRLW(operand.U8(8), vb, t)
		VPMULLW(t, odd, odd)
		VPSLLW(operand.U8(8), odd, odd)
		VPMULLW(vb, a, a)
		return or(and(a, low), odd)
	}
}

// product64 puts a 64-bit product together from 32-bit halves.
func product64(s isa) combiner {
	return func(a reg.VecVirtual, b operand.Op) reg.VecVirtual {
		vb, cross, t := s.load(b), s.vec(), s.vec()
		VPSRLQ(operand.U8(32), a, cross)
		VPMULUDQ(vb, cross, cross)
		VPSRLQ(operand.U8(32), vb, t)
		VPMULUDQ(t, a, t)
		VPADDQ(t, cross, cross)
		VPSLLQ(operand.U8(32), cross, cross)
		VPMULUDQ(vb, a, a)
		VPADDQ(cross, a, a)
		return a
	}
}

// productComplex is (re·re - im·im, re·im + im·re), each step rounded.
//
// real and imaginary double one part of a number over both of its lanes; swap
// with immediate exchange trades them.
func productComplex(real, imaginary, swap emit, exchange operand.U8, mul emit,
	addsub func(mxy, xy, xy1 operand.Op), add, sub emit) func(isa) combiner {
	return func(s isa) combiner {
		even := s.evenLanes()
		return func(a reg.VecVirtual, b operand.Op) reg.VecVirtual {
			vb, im := s.load(b), s.vec()
			imaginary(a, im)
			real(a, a)
			mul(vb, a, a)
			swap(exchange, vb, vb)
			mul(vb, im, im)
			if !s.wide() {
				addsub(im, a, a)
				return a
			}
			d := s.vec()
			add(im, a, d)
			sub(im, a, even, d)
			return d
		}
	}
}

// imaginary64 doubles the odd one of two float64.
func imaginary64(ops ...operand.Op) {
	VPERMILPD(operand.U8(0xff), ops[0], ops[1])
}

// evenLanes is the mask of real parts; AVX2 needs none.
func (s isa) evenLanes() reg.OpmaskVirtual {
	if !s.wide() {
		return nil
	}
	lanes, even := GP64(), K()
	MOVQ(operand.U32(0x5555), lanes)
	KMOVQ(lanes, even)
	return even
}
