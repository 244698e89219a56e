package shm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// startTime returns when a process started, in clock ticks after boot.
func startTime(pid uint32) (uint64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field, the name in parentheses, may contain anything. After it come
	// the third and so on; the time of start is the 22nd.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return 0, fmt.Errorf("shm: /proc/%d/stat has %d fields after the name, want at least 20", pid, len(fields))
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

// processGone tells whether the process has surely ended, also while nobody has waited for
// it. A start of 0 is not compared.
func processGone(pid uint32, start uint64) bool {
	fd, err := unix.PidfdOpen(int(pid), 0)
	if err != nil {
		return errors.Is(err, unix.ESRCH)
	}
	defer unix.Close(fd)
	if ended(fd) {
		return true
	}
	now, err := startTime(pid)
	return err == nil && start != 0 && now != start
}

// ended tells whether the process of a pidfd has ended.
func ended(pidfd int) bool {
	for {
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		if !errors.Is(err, unix.EINTR) {
			return err == nil && n == 1
		}
	}
}
