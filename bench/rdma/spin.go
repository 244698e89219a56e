package rdma

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// spinLoads is the number of looks at memory before others get a turn: some microseconds.
	spinLoads = 4 << 10
	// spinPolls is the number of polls before that.
	spinPolls = 64
	// turns is the number of yields to goroutines before one to processes.
	turns = 16
)

// rest is called after a poll without a result, the idle-th in a row.
func rest(idle int) {
	if idle%spinPolls == spinPolls-1 {
		yield(idle / spinPolls)
	}
}

// yield lets other goroutines run, and now and then other processes: if the two ranks share a processor, neither should
// wait for the end of the other's time slice.
func yield(idle int) {
	runtime.Gosched()
	if idle%turns == turns-1 {
		_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
	}
}

// A watch looks at one byte of memory that somebody else writes.
type watch struct {
	word  *uint32 // the aligned word that holds it
	shift uint    // and where
	b     *byte
}

// watchByte watches b[i]. The word around it lies in b's memory, which is aligned and a multiple of a word.
func watchByte(b []byte, i int) watch {
	p := &b[i]
	off := uintptr(unsafe.Pointer(p)) % 4
	return watch{word: (*uint32)(unsafe.Add(unsafe.Pointer(p), -int(off))), shift: byteShift(off), b: p}
}

var littleEndian = func() bool { x := uint16(1); return *(*byte)(unsafe.Pointer(&x)) == 1 }()

func byteShift(off uintptr) uint {
	if littleEndian {
		return uint(off) * 8
	}
	return uint(3-off) * 8
}
