//go:build race

package reduce

import (
	"runtime"
	"unsafe"
)

// report tells the race detector what assembly is about to do, which it
// cannot see for itself.
func report(dst, a, b *byte, n int) {
	runtime.RaceReadRange(unsafe.Pointer(a), n)
	runtime.RaceReadRange(unsafe.Pointer(b), n)
	runtime.RaceWriteRange(unsafe.Pointer(dst), n)
}
