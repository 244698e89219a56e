package peers

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"outboard/bench"
)

// needPeers skips the test where the libraries are not installed, which is nothing unusual.
func needPeers(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath(ucxCommand); err != nil { // install.sh would install it
		t.Skip(err)
	}
	for i := range libraries {
		if err := libraries[i].installed(); err != nil {
			t.Skip(err)
		}
	}
}

func TestProgramCompilesWithoutWarnings(t *testing.T) {
	needPeers(t)
	for i := range libraries {
		out, err := exec.Command(libraries[i].compiler, "-std=c11", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "mpibench.c").CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", libraries[i].compiler, err, out)
		}
	}
}

// install.sh and Find must agree where the programs are, and a second run must find everything there.
func TestInstallScriptBuildsWhatFindLooksFor(t *testing.T) {
	needPeers(t)
	dir := filepath.Join(t.TempDir(), "cache", "outboard", "peers")
	t.Setenv("XDG_CACHE_HOME", filepath.Dir(filepath.Dir(dir)))
	first := install(t)
	for i := range libraries {
		if program := libraries[i].program(dir); !strings.Contains(first, program+"\n") {
			t.Errorf("install.sh printed %q, which lacks %s", first, program)
		}
	}
	before := modTimes(t, dir)
	if second := install(t); second != first {
		t.Errorf("install.sh printed %q and then %q", first, second)
	}
	if _, err := Find(context.Background(), dir, nil); err != nil {
		t.Error(err)
	}
	if after := modTimes(t, dir); !slices.Equal(before, after) {
		t.Errorf("programs were built again: %v, then %v", before, after)
	}
}

func install(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("sh", "install.sh").Output()
	if err != nil {
		t.Fatalf("install.sh: %v", err)
	}
	return string(out)
}

func modTimes(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var times []string
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, e.Name()+" "+info.ModTime().String())
	}
	return times
}

func TestInstallScriptRefuses(t *testing.T) {
	for _, test := range []struct {
		name, script, want string
		arguments          []string
	}{
		{"two folders", "", "at most one argument", []string{"a", "b"}},
		{"no apt", "", "there is no apt-get", []string{"a"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			// Only what the script uses before it installs anything.
			dir := t.TempDir()
			dirname, err := exec.LookPath("dirname")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(dirname, filepath.Join(dir, "dirname")); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("/bin/sh", append([]string{"install.sh"}, test.arguments...)...)
			cmd.Env = []string{"PATH=" + dir, "HOME=" + t.TempDir()}
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), test.want) {
				t.Errorf("got %v and %q, want a failure with %q", err, out, test.want)
			}
		})
	}
}

func TestPeersMeasure(t *testing.T) {
	needPeers(t)
	found, err := Find(context.Background(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	cases, err := bench.ParseArguments([]string{"pingpong:0", "bandwidth:4096", "allreduce:8"})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range found {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := p.Run(ctx, bench.Job{Fabric: bench.Shm, Ranks: 2, Cases: cases}); err != nil {
			t.Error(err)
		}
	}
}

// The ranks of a real launcher are in process groups of their own; they must end too.
func TestCancelEndsTheRanks(t *testing.T) {
	needPeers(t)
	dir := t.TempDir()
	found, err := Find(context.Background(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	long, err := bench.ParseArguments([]string{"bandwidth:134217728", "bandwidth:134217728"})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range found {
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			for len(processesOf(p.program)) < 2 {
				time.Sleep(5 * time.Millisecond)
			}
			cancel()
		}()
		if _, err := p.Run(ctx, bench.Job{Fabric: bench.Shm, Ranks: 2, Cases: long}); !errors.Is(err, context.Canceled) {
			t.Errorf("%v: error is %v", p, err)
		}
		for _, pid := range processesOf(p.program) {
			if !gone(pid) {
				t.Errorf("%v: process %d is still there", p, pid)
			}
		}
	}
}

// processesOf returns the processes that execute the program.
func processesOf(program string) []int {
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	var pids []int
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == program {
			pid, _ := strconv.Atoi(strings.Split(link, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestPeersFailWithTheirReason(t *testing.T) {
	needPeers(t)
	found, err := Find(context.Background(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range found {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err := p.Run(ctx, pingpongJob(t, 1))
		if err == nil || !strings.Contains(err.Error(), "pingpong:8: needs 2 ranks, has 1") {
			t.Errorf("%v: error is %v", p, err)
		}
	}
}
