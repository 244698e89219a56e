package shm_test

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"outboard/verbs/fabric/fabrictest"
)

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		target, err := os.Readlink(dir + "/" + e.Name())
		if err != nil || !strings.Contains(target, "/proc/") { // the descriptor that reads the directory
			all = append(all, e.Name())
		}
	}
	return strings.Join(all, " ")
}

// mapped counts the mappings of ports.
func mapped(t *testing.T) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(maps), "memfd:outboard")
}

// After the suite, in which children were killed and ports closed in all ways, no descriptor is
// open, nothing is mapped, and no file is left.
func TestNothingIsLeft(t *testing.T) {
	fds, files := names(t, "/proc/self/fd"), names(t, "/dev/shm")
	t.Run("Suite", func(t *testing.T) { fabrictest.RunProcesses(t, open) })
	if now := names(t, "/dev/shm"); now != files {
		t.Errorf("/dev/shm has %q, had %q", now, files)
	}
	if now := names(t, "/proc/self/fd"); now != fds {
		t.Errorf("descriptors %q, were %q", now, fds)
	}
	for end := time.Now().Add(5 * time.Second); mapped(t) > 0; {
		if time.Now().After(end) {
			t.Fatalf("%d mappings of ports are left", mapped(t))
		}
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
}
