package launch

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// sweepRounds bounds the chase after processes that start others while they
// are being killed.
const sweepRounds = 5

// sweep kills the processes of a job wherever they are. Only a failed job is
// swept: what a successful one has put into a session of its own was meant to
// stay.
func sweep(id string) {
	for range sweepRounds {
		if sweepOnce(id) == 0 {
			return
		}
	}
}

// sweepOnce returns how many processes it has killed.
func sweepOnce(id string) (killed int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	mark := []byte("\x00" + jobVariable + "=" + id + "\x00")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && killIfMarked(pid, mark) {
			killed++
		}
	}
	return killed
}

// killIfMarked kills a process whose environment has the mark. The descriptor
// makes sure that it is the same process that is looked at and killed.
func killIfMarked(pid int, mark []byte) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil || !bytes.Contains(append([]byte{0}, env...), mark) {
		return false
	}
	return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil
}
