//go:build amd64 && !noasm

package reduce

import "golang.org/x/sys/cpu"

//go:generate go run -C _gen . -isa avx2 -pkg reduce -out ../simd_avx2_amd64.s -stubs ../stubs_avx2_amd64.go
//go:generate go run -C _gen . -isa avx512 -pkg reduce -out ../simd_avx512_amd64.s -stubs ../stubs_avx512_amd64.go

// paths lists the ways to compute that this processor has, the quickest first.
func paths() []path {
	var ps []path
	if x := &cpu.X86; x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasBMI2 {
		ps = append(ps, path{name: "avx512", vector: &avx512, step: 1})
	}
	if cpu.X86.HasAVX2 {
		ps = append(ps, path{name: "avx2", vector: &avx2, step: 32})
	}
	return append(ps, goPath)
}
