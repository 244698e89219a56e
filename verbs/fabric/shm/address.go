package shm

import (
	"encoding/hex"
	"fmt"
	"strings"

	"outboard/verbs/fabric"
)

const addressForm = "shm:PID:FD:START:NONCE"

// An address says where a port's memory is found.
type address struct {
	pid   uint32   // process of the port
	fd    uint32   // its descriptor of the memory
	start uint64   // when the process started, in clock ticks after boot, against reuse of pids
	nonce [16]byte // random, stands in the memory
}

func (a address) String() string {
	return fmt.Sprintf("shm:%d:%d:%d:%x", a.pid, a.fd, a.start, a.nonce)
}

// file is the name under which the kernel shows the memory.
func (a address) file() string { return fmt.Sprintf("/proc/%d/fd/%d", a.pid, a.fd) }

// parseAddress accepts exactly what String returns.
func parseAddress(text string) (a address, err error) {
	fail := func() (address, error) {
		return address{}, fmt.Errorf("%w: %.250q, want %s", fabric.ErrAddress, text, addressForm)
	}
	part := strings.Split(text, ":")
	if len(part) != 5 || part[0] != "shm" {
		return fail()
	}
	nonce, err := hex.DecodeString(part[4])
	if err != nil || len(nonce) != len(a.nonce) {
		return fail()
	}
	copy(a.nonce[:], nonce)
	if _, err := fmt.Sscan(part[1], &a.pid); err != nil {
		return fail()
	}
	if _, err := fmt.Sscan(part[2], &a.fd); err != nil {
		return fail()
	}
	if _, err := fmt.Sscan(part[3], &a.start); err != nil {
		return fail()
	}
	if a.String() != text || a.pid == 0 || a.pid > 1<<30 || a.fd > 1<<30 {
		return fail()
	}
	return a, nil
}
