//go:build !race

package reduce

func report(dst, a, b *byte, n int) {}
