// Command gen writes the vector kernels of package reduce for one instruction set.
//
// Every kernel has the same frame, which this file builds: whole groups of
// vectors, then single vectors, then (AVX-512 only) a masked rest. What
// differs is the combination of two vectors, and that is a function from
// ops.go.
package main

import (
	"flag"
	"log"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// unroll is the number of vectors in one turn of the main loop.
const unroll = 4

// An isa is the instruction set that a kernel is written in.
type isa struct {
	suffix string
	width  int // bytes in a vector
}

var isas = map[string]isa{
	"avx2":   {suffix: "AVX2", width: 32},
	"avx512": {suffix: "AVX512", width: 64},
}

func (s isa) wide() bool { return s.width == 64 }

// vec returns a fresh vector register.
func (s isa) vec() reg.VecVirtual {
	if s.wide() {
		return ZMM()
	}
	return YMM()
}

// load fills a fresh register from op, which may be memory or a register.
func (s isa) load(op operand.Op) reg.VecVirtual {
	v := s.vec()
	s.move(op, v)
	return v
}

func (s isa) move(from, to operand.Op) {
	if s.wide() {
		VMOVDQU64(from, to)
	} else {
		VMOVDQU(from, to)
	}
}

// A combiner emits the code for d = a OP b. It may overwrite a and return it
// as d. b is a register or memory and is read at will.
type combiner func(a reg.VecVirtual, b operand.Op) reg.VecVirtual

// A kernel is one function to generate. prepare emits what is done once, in
// front of the loops (constants), and returns the combiner.
type kernel struct {
	name    string
	doc     string
	prepare func(s isa) combiner
}

func main() {
	name := flag.String("isa", "", "instruction set: avx2 or avx512")
	flag.Parse()
	s, ok := isas[*name]
	if !ok {
		log.Fatalf("gen: -isa %q: want avx2 or avx512", *name)
	}
	ConstraintExpr("amd64,!noasm")
	for _, k := range kernels() {
		s.generate(k)
	}
	Generate()
}

// generate emits the function of one kernel around its combiner.
func (s isa) generate(k kernel) {
	TEXT(k.name+s.suffix, NOSPLIT, "func(dst, a, b *byte, n int)")
	Pragma("noescape")
	Doc(k.name+s.suffix+" stores "+k.doc+" in dst.", s.contract())
	dst := Load(Param("dst"), GP64())
	a := Load(Param("a"), GP64())
	b := Load(Param("b"), GP64())
	n := Load(Param("n"), GP64())
	combine := k.prepare(s)
	s.loop("group", unroll, dst, a, b, n, combine)
	s.loop("single", 1, dst, a, b, n, combine)
	if s.wide() {
		s.rest(dst, a, b, n, combine)
	}
	Label("done")
	VZEROUPPER()
	RET()
}

func (s isa) contract() string {
	if s.wide() {
		return "n counts bytes."
	}
	return "n counts bytes and is a multiple of 32."
}

// loop combines count vectors a turn for as long as n holds that many.
func (s isa) loop(label string, count int, dst, a, b, n reg.Register, combine combiner) {
	step := operand.U32(count * s.width)
	CMPQ(n, step)
	JB(operand.LabelRef(label + "End"))
	Label(label)
	for i := range count {
		at := i * s.width
		d := combine(s.load(operand.Mem{Base: a, Disp: at}), operand.Mem{Base: b, Disp: at})
		s.move(d, operand.Mem{Base: dst, Disp: at})
	}
	ADDQ(step, dst)
	ADDQ(step, a)
	ADDQ(step, b)
	SUBQ(step, n)
	CMPQ(n, step)
	JAE(operand.LabelRef(label))
	Label(label + "End")
}

// rest combines the last n < 64 bytes under a byte mask. Bytes outside of the
// mask are neither read nor written, so nothing past the end is touched.
func (s isa) rest(dst, a, b, n reg.Register, combine combiner) {
	TESTQ(n, n)
	JZ(operand.LabelRef("done"))
	ones := GP64()
	MOVQ(operand.I32(-1), ones)
	BZHIQ(n, ones, ones)
	mask := K()
	KMOVQ(ones, mask)
	va, vb := s.vec(), s.vec()
	VMOVDQU8_Z(operand.Mem{Base: a}, mask, va)
	VMOVDQU8_Z(operand.Mem{Base: b}, mask, vb)
	VMOVDQU8(combine(va, vb), mask, operand.Mem{Base: dst})
}
