package launch

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// startLauncher runs the test binary as a launcher of two ranks.
func startLauncher(t *testing.T, temp string, acts ...string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{temp}, acts...)...)
	cmd.Env = append(os.Environ(), roleVariable+"=launcher", quickExit)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd, bufio.NewScanner(stdout)
}

// descendants returns the living processes below pid, and those of its
// process groups.
func descendants(t *testing.T, pid int) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	parent := map[int]int{}
	for _, e := range entries {
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		var id, ppid int
		_, rest, _ := strings.Cut(string(stat), ") ")
		fmt.Sscan(e.Name(), &id)
		fmt.Sscanf(rest[2:], "%d", &ppid)
		parent[id] = ppid
	}
	var found []int
	for id := range parent {
		for up := parent[id]; up > 1; up = parent[up] {
			if up == pid {
				found = append(found, id)
				break
			}
		}
	}
	return found
}

// A launcher that is killed leaves nothing: no ranks, no children of theirs in
// whatever session, no guard and no temporary folder.
func TestKilledLauncher(t *testing.T) {
	for _, deed := range []string{"child:wait", "daemon:wait"} {
		t.Run(deed, func(t *testing.T) {
			t.Parallel()
			temp := t.TempDir()
			if err := os.WriteFile(filepath.Join(temp, "file"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd, out := startLauncher(t, temp, "0="+deed, "1="+deed)
			var children []int
			for range 2 {
				var pid int
				if !out.Scan() {
					t.Fatal("no output of the ranks")
				}
				if _, err := fmt.Sscanf(out.Text(), "child %d", &pid); err != nil {
					t.Fatalf("%q: %v", out.Text(), err)
				}
				children = append(children, pid)
			}
			all := append(descendants(t, cmd.Process.Pid), children...)
			if len(all) < 2+1+2 { // ranks, guard and children
				t.Fatalf("processes %v below %d", all, cmd.Process.Pid)
			}
			cmd.Process.Kill()
			for _, pid := range all {
				waitUntil(t, fmt.Sprint("the end of process ", pid), func() bool { return !alive(pid) })
			}
			waitUntil(t, "the end of the folder", func() bool {
				_, err := os.Stat(temp)
				return errors.Is(err, fs.ErrNotExist)
			})
		})
	}
}

// processState returns the letter of a process's state.
func processState(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return rest[:1]
}

// Stopping and continuing the launcher stops and continues the ranks.
func TestStopAndContinue(t *testing.T) {
	cmd, out := startLauncher(t, t.TempDir(), "0=child:wait", "1=child:wait")
	var children []int
	for range 2 {
		var pid int
		if !out.Scan() {
			t.Fatal("no output of the ranks")
		}
		fmt.Sscanf(out.Text(), "child %d", &pid)
		children = append(children, pid)
	}
	cmd.Process.Signal(unix.SIGTSTP)
	stopped := append(children, cmd.Process.Pid)
	for _, pid := range stopped {
		waitUntil(t, "a stop", func() bool { return processState(pid) == "T" })
	}
	cmd.Process.Signal(unix.SIGCONT)
	for _, pid := range stopped {
		waitUntil(t, "a continuation", func() bool { return processState(pid) != "T" })
	}
	cmd.Process.Signal(unix.SIGTERM)
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 143 {
		t.Errorf("code %d, want 143", code)
	}
	for _, pid := range children {
		waitUntil(t, "the end of a child", func() bool { return !alive(pid) })
	}
}

// A job does not go on without its guard.
func TestKilledGuard(t *testing.T) {
	job, _, _ := testJob(2, "act", "0=group", "1=group")
	out := newWatch("group ", 2)
	job.Stdout = out
	go func() {
		var guard int
		fmt.Sscanf(<-out.seen, "group %d", &guard)
		unix.Kill(guard, unix.SIGKILL)
	}()
	if code, err := run(t, job); code != 1 || !errors.Is(err, ErrGuard) {
		t.Errorf("code %d, %v", code, err)
	}
}
