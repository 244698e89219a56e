//go:build amd64 && !noasm

package reduce

// avx2 has every combination that is defined.
var avx2 = blockTable{
	Sum: {
		Int8: sum8AVX2, Int16: sum16AVX2, Int32: sum32AVX2, Int64: sum64AVX2,
		Uint8: sum8AVX2, Uint16: sum16AVX2, Uint32: sum32AVX2, Uint64: sum64AVX2,
		Float32: sumF32AVX2, Float64: sumF64AVX2,
		Complex64: sumF32AVX2, Complex128: sumF64AVX2,
	},
	Prod: {
		Int8: prod8AVX2, Int16: prod16AVX2, Int32: prod32AVX2, Int64: prod64AVX2,
		Uint8: prod8AVX2, Uint16: prod16AVX2, Uint32: prod32AVX2, Uint64: prod64AVX2,
		Float32: prodF32AVX2, Float64: prodF64AVX2,
		Complex64: prodC64AVX2, Complex128: prodC128AVX2,
	},
	Min: {
		Int8: minI8AVX2, Int16: minI16AVX2, Int32: minI32AVX2, Int64: minI64AVX2,
		Uint8: minU8AVX2, Uint16: minU16AVX2, Uint32: minU32AVX2, Uint64: minU64AVX2,
		Float32: minF32AVX2, Float64: minF64AVX2,
	},
	Max: {
		Int8: maxI8AVX2, Int16: maxI16AVX2, Int32: maxI32AVX2, Int64: maxI64AVX2,
		Uint8: maxU8AVX2, Uint16: maxU16AVX2, Uint32: maxU32AVX2, Uint64: maxU64AVX2,
		Float32: maxF32AVX2, Float64: maxF64AVX2,
	},
	LAnd: {
		Int8: land8AVX2, Int16: land16AVX2, Int32: land32AVX2, Int64: land64AVX2,
		Uint8: land8AVX2, Uint16: land16AVX2, Uint32: land32AVX2, Uint64: land64AVX2,
	},
	LOr: {
		Int8: lor8AVX2, Int16: lor16AVX2, Int32: lor32AVX2, Int64: lor64AVX2,
		Uint8: lor8AVX2, Uint16: lor16AVX2, Uint32: lor32AVX2, Uint64: lor64AVX2,
	},
	LXor: {
		Int8: lxor8AVX2, Int16: lxor16AVX2, Int32: lxor32AVX2, Int64: lxor64AVX2,
		Uint8: lxor8AVX2, Uint16: lxor16AVX2, Uint32: lxor32AVX2, Uint64: lxor64AVX2,
	},
	BAnd: {
		Int8: andAVX2, Int16: andAVX2, Int32: andAVX2, Int64: andAVX2,
		Uint8: andAVX2, Uint16: andAVX2, Uint32: andAVX2, Uint64: andAVX2,
	},
	BOr: {
		Int8: orAVX2, Int16: orAVX2, Int32: orAVX2, Int64: orAVX2,
		Uint8: orAVX2, Uint16: orAVX2, Uint32: orAVX2, Uint64: orAVX2,
	},
	BXor: {
		Int8: xorAVX2, Int16: xorAVX2, Int32: xorAVX2, Int64: xorAVX2,
		Uint8: xorAVX2, Uint16: xorAVX2, Uint32: xorAVX2, Uint64: xorAVX2,
	},
}
