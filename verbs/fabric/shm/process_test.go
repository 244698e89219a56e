package shm

import (
	"errors"
	"math"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/internal/port"
)

func TestProcessGone(t *testing.T) {
	self := uint32(os.Getpid())
	start, err := startTime(self)
	if err != nil || start == 0 {
		t.Fatalf("start %d, %v", start, err)
	}
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := uint32(cmd.Process.Pid)
	childStart, err := startTime(pid)
	if err != nil || childStart < start {
		t.Fatalf("start %d, %v; ours is %d", childStart, err, start)
	}
	check := func(name string, pid uint32, start uint64, want bool) {
		t.Helper()
		if got := processGone(pid, start); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	check("self", self, start, false)
	check("self, any start", self, 0, false)
	check("self, another start", self, start+1, true)
	check("child", pid, childStart, false)
	check("no process", 1<<29, 0, true)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); !processGone(pid, childStart); {
		if time.Now().After(end) {
			t.Fatal("a killed process that nobody has waited for is not gone")
		}
	}
	_ = cmd.Wait()
	check("waited for", pid, childStart, true)
	if _, err := startTime(1 << 29); err == nil {
		t.Error("start time of no process")
	}
}

// Errors of cross-memory attach.
func TestCopyErrors(t *testing.T) {
	r := cmaRemote(t)
	p := make([]byte, 100)
	held := func(at uint64) *port.Held { return &port.Held{Real: at} }
	for _, write := range []bool{false, true} {
		if err := r.Copy(held(8), 0, p, write); !errors.Is(err, fabric.ErrFault) {
			t.Errorf("write %v to address 8: %v", write, err)
		}
		if err := r.Copy(held(math.MaxUint64), 1, p, write); !errors.Is(err, fabric.ErrRefused) {
			t.Errorf("write %v past the address space: %v", write, err)
		}
	}
	if err := syscall.Kill(int(r.addr.pid), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err := r.Copy(held(8), 0, p, false)
	for end := time.Now().Add(5 * time.Second); !errors.Is(err, fabric.ErrPeerDied) && time.Now().Before(end); {
		err = r.Copy(held(8), 0, p, false)
	}
	if !errors.Is(err, fabric.ErrPeerDied) {
		t.Errorf("dead process: %v", err)
	}
}
