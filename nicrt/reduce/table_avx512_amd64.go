//go:build amd64 && !noasm

package reduce

// avx512 has every combination that is defined.
var avx512 = blockTable{
	Sum: {
		Int8: sum8AVX512, Int16: sum16AVX512, Int32: sum32AVX512, Int64: sum64AVX512,
		Uint8: sum8AVX512, Uint16: sum16AVX512, Uint32: sum32AVX512, Uint64: sum64AVX512,
		Float32: sumF32AVX512, Float64: sumF64AVX512,
		Complex64: sumF32AVX512, Complex128: sumF64AVX512,
	},
	Prod: {
		Int8: prod8AVX512, Int16: prod16AVX512, Int32: prod32AVX512, Int64: prod64AVX512,
		Uint8: prod8AVX512, Uint16: prod16AVX512, Uint32: prod32AVX512, Uint64: prod64AVX512,
		Float32: prodF32AVX512, Float64: prodF64AVX512,
		Complex64: prodC64AVX512, Complex128: prodC128AVX512,
	},
	Min: {
		Int8: minI8AVX512, Int16: minI16AVX512, Int32: minI32AVX512, Int64: minI64AVX512,
		Uint8: minU8AVX512, Uint16: minU16AVX512, Uint32: minU32AVX512, Uint64: minU64AVX512,
		Float32: minF32AVX512, Float64: minF64AVX512,
	},
	Max: {
		Int8: maxI8AVX512, Int16: maxI16AVX512, Int32: maxI32AVX512, Int64: maxI64AVX512,
		Uint8: maxU8AVX512, Uint16: maxU16AVX512, Uint32: maxU32AVX512, Uint64: maxU64AVX512,
		Float32: maxF32AVX512, Float64: maxF64AVX512,
	},
	LAnd: {
		Int8: land8AVX512, Int16: land16AVX512, Int32: land32AVX512, Int64: land64AVX512,
		Uint8: land8AVX512, Uint16: land16AVX512, Uint32: land32AVX512, Uint64: land64AVX512,
	},
	LOr: {
		Int8: lor8AVX512, Int16: lor16AVX512, Int32: lor32AVX512, Int64: lor64AVX512,
		Uint8: lor8AVX512, Uint16: lor16AVX512, Uint32: lor32AVX512, Uint64: lor64AVX512,
	},
	LXor: {
		Int8: lxor8AVX512, Int16: lxor16AVX512, Int32: lxor32AVX512, Int64: lxor64AVX512,
		Uint8: lxor8AVX512, Uint16: lxor16AVX512, Uint32: lxor32AVX512, Uint64: lxor64AVX512,
	},
	BAnd: {
		Int8: andAVX512, Int16: andAVX512, Int32: andAVX512, Int64: andAVX512,
		Uint8: andAVX512, Uint16: andAVX512, Uint32: andAVX512, Uint64: andAVX512,
	},
	BOr: {
		Int8: orAVX512, Int16: orAVX512, Int32: orAVX512, Int64: orAVX512,
		Uint8: orAVX512, Uint16: orAVX512, Uint32: orAVX512, Uint64: orAVX512,
	},
	BXor: {
		Int8: xorAVX512, Int16: xorAVX512, Int32: xorAVX512, Int64: xorAVX512,
		Uint8: xorAVX512, Uint16: xorAVX512, Uint32: xorAVX512, Uint64: xorAVX512,
	},
}
