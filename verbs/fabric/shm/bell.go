package shm

import (
	"math"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	futexWait = 0
	futexWake = 1
)

// recheck bounds the sleep in the kernel: a process that was killed after it changed the word has
// woken nobody.
const recheck = time.Second

// sleep blocks while *word is value, at most for d, or without limit if d <= 0. It is an ordinary
// system call: the scheduler gives the processor to another goroutine meanwhile.
func sleep(word *atomic.Uint32, value uint32, d time.Duration) {
	var end time.Time
	if d > 0 {
		end = time.Now().Add(d)
	}
	for word.Load() == value {
		left := recheck
		if d > 0 {
			if left = min(left, time.Until(end)); left <= 0 {
				return
			}
		}
		limit := unix.NsecToTimespec(int64(left))
		// Whatever the kernel returns, a wake-up, a signal or that the word is another, the word
		// tells what to do next.
		_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWait, uintptr(value),
			uintptr(unsafe.Pointer(&limit)), 0, 0)
	}
}

// wake wakes all who sleep on the word, in any process. It blocks for no time, so the
// scheduler need not know.
func wake(word *atomic.Uint32) {
	_, _, _ = syscall.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWake, math.MaxInt32, 0, 0, 0)
}
