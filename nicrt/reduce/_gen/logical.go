package main

import (
	"math/bits"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// A test emits the logical combination of a and b in AVX-512: the mask of true lanes.
// nonzero is VPTESTM of the element's width; with three operands it writes a
// mask, with four it also keeps the lanes of a mask only.
type wideTest func(a, b reg.VecVirtual, nonzero emit) reg.OpmaskVirtual

// A narrowTest emits it in AVX2 from za and zb, all ones in lanes that are zero,
// and leaves 1 or 0 in every lane of za.
type narrowTest func(za, zb, one reg.VecVirtual)

// logical is 1 or 0 in each lane, where a lane counts as true unless it is 0.
func logical(width int, wide wideTest, narrow narrowTest) func(isa) combiner {
	i := bits.TrailingZeros(uint(width)) - 3
	return func(s isa) combiner {
		if s.wide() {
			return logicalWide(i, wide)
		}
		return logicalNarrow(s, i, narrow)
	}
}

func logicalWide(i int, test wideTest) combiner {
	nonzero := []emit{VPTESTMB, VPTESTMW, VPTESTMD, VPTESTMQ}[i]
	broadcast := []emit{VPBROADCASTB, VPBROADCASTW, VPBROADCASTD, VPBROADCASTQ}[i]
	store := []func(mxyz, k, mxyz1 operand.Op){VMOVDQU8_Z, VMOVDQU16_Z, VMOVDQU32_Z, VMOVDQU64_Z}[i]
	number, one := GP64(), ZMM()
	MOVQ(operand.U32(1), number)
	if i == 3 {
		broadcast(number, one)
	} else {
		broadcast(number.As32(), one)
	}
	return func(a reg.VecVirtual, b operand.Op) reg.VecVirtual {
		vb := ZMM()
		VMOVDQU64(b, vb)
		store(one, test(a, vb, nonzero), a)
		return a
	}
}

func landWide(a, b reg.VecVirtual, nonzero emit) reg.OpmaskVirtual {
	k := K()
	nonzero(a, a, k)
	nonzero(b, b, k, k)
	return k
}

func lorWide(a, b reg.VecVirtual, nonzero emit) reg.OpmaskVirtual {
	k := K()
	VPORQ(b, a, a)
	nonzero(a, a, k)
	return k
}

func lxorWide(a, b reg.VecVirtual, nonzero emit) reg.OpmaskVirtual {
	ka, kb := K(), K()
	nonzero(a, a, ka)
	nonzero(b, b, kb)
	KXORQ(kb, ka, ka)
	return ka
}

func logicalNarrow(s isa, i int, test narrowTest) combiner {
	equal := []emit{VPCMPEQB, VPCMPEQW, VPCMPEQD, VPCMPEQQ}[i]
	zero, one := s.vec(), s.vec()
	VPXOR(zero, zero, zero)
	VPCMPEQB(one, one, one)
	switch i {
	case 0:
		VPABSB(one, one)
	case 1:
		VPSRLW(operand.U8(15), one, one)
	case 2:
		VPSRLD(operand.U8(31), one, one)
	case 3:
		VPSRLQ(operand.U8(63), one, one)
	}
	return func(a reg.VecVirtual, b operand.Op) reg.VecVirtual {
		zb := s.vec()
		equal(b, zero, zb)
		equal(a, zero, a)
		test(a, zb, one)
		return a
	}
}

func landNarrow(za, zb, one reg.VecVirtual) {
	VPOR(zb, za, za)
	VPANDN(one, za, za)
}

func lorNarrow(za, zb, one reg.VecVirtual) {
	VPAND(zb, za, za)
	VPANDN(one, za, za)
}

func lxorNarrow(za, zb, one reg.VecVirtual) {
	VPXOR(zb, za, za)
	VPAND(one, za, za)
}
