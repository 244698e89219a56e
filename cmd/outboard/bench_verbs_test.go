package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"outboard/bench"
)

func TestBenchVerbsRefuses(t *testing.T) {
	for _, test := range []struct {
		name, args, want string
	}{
		{"an unknown flag", "-z 8", "-z"},
		{"an argument", "write", `unexpected argument "write"`},
		{"a size in words", "-s small", `"small"`},
		{"no bytes", "-s 0", "0 bytes"},
		{"more than the memory", "-s 1G -q 2 --metric bw", "2 queue pairs"},
		{"sizes twice", "-a -s 8", "-a and -s"},
		{"no iterations", "-n 0", "-n 0"},
		{"negative iterations", "-n -5", "-n -5"},
		{"no queue pairs", "-q 0", "-q 0"},
		{"too many queue pairs", "-q 1000", "queue pairs 1000"},
		{"no depth", "-t 0", "-t 0"},
		{"too deep", "-t 99999", "tx depth 99999"},
		{"moderation beyond the depth", "-t 8 -Q 9", "CQ moderation 9, want 1 to 8"},
		{"no moderation", "-Q 0", "-Q 0"},
		{"too much inline", "-I 1000", "inline size 1000"},
		{"negative inline", "-I -2", "-I -2"},
		{"an unknown operation", "--op put", `"put"`},
		{"an unknown metric", "--metric jitter", `"jitter"`},
		{"an unknown memory", "--memory disk", `"disk"`},
		{"an unknown fabric", "--fabric ib", `"ib"`},
		{"two formats", "--csv --json", "-csv and -json"},
		{"negative turns", "--turns -1", "-turns -1"},
		{"no time", "--timeout 0s", "-timeout 0s"},
		{"peers within a process", "--peers --fabric inproc", "want shm"},
		{"targets of one's own", "--targets --op read", "-op and -targets"},
		{"a worker without options", "--worker", "needs its options"},
		{"a worker with bad options", "--worker {\"qps\":-1} write_lat:8", "queue pairs -1"},
		{"a worker without an experiment", "--worker {} nothing:8", `"nothing:8"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, out, errs := runBench(append([]string{benchVerbsWord}, strings.Fields(test.args)...)...)
			if code != exitUsage || out != "" || !strings.Contains(errs, test.want) {
				t.Errorf("code %d, output %q, complaint %q; want code %d and a complaint with %q", code, out, errs, exitUsage, test.want)
			}
		})
	}
}

func TestBenchVerbsHelp(t *testing.T) {
	code, out, errs := runBench(benchVerbsWord, "-h")
	if code != exitOK || errs != "" || !strings.HasPrefix(out, "usage: outboard bench verbs [flags]") || !strings.Contains(out, "-targets") {
		t.Errorf("code %d, output %q, complaint %q", code, out, errs)
	}
}

func TestBenchVerbsPlan(t *testing.T) {
	for _, test := range []struct {
		name, args string
		turns      int
		cases      string // of the last job
	}{
		{"one", "--op write --metric lat -s 8", 1, "write_lat:8"},
		{"atomics", "--op atomic --metric rate -s 64 --turns 3", 3, "fetch_add_rate:8 cmp_swap_rate:8"},
		{"all sizes", "--op send --metric bw -a", 1, "send_bw:2 send_bw:4 send_bw:8 send_bw:16 send_bw:32 send_bw:64 send_bw:128 send_bw:256 " +
			"send_bw:512 send_bw:1024 send_bw:2048 send_bw:4096 send_bw:8192 send_bw:16384 send_bw:32768 send_bw:65536 send_bw:131072 " +
			"send_bw:262144 send_bw:524288 send_bw:1048576 send_bw:2097152 send_bw:4194304 send_bw:8388608"},
		{"limits", "--peers --op read --metric bw -s 1M --memory go", 5,
			"read_bw/go:1048576 raw_line_lat:8 raw_copy_bw:1048576 raw_vm_read_bw:1048576 raw_vm_write_bw:1048576"},
		{"targets", "--targets", 5, "write_lat:8 raw_line_lat:8 read_bw:1048576 raw_copy_bw:1048576 write_bw:1048576 " +
			"read_bw/go:1048576 raw_vm_read_bw:1048576 write_bw/go:1048576"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, code, ok := parseVerbs(stdio{}, strings.Fields(test.args))
			if !ok {
				t.Fatalf("code %d", code)
			}
			job := r.jobs[len(r.jobs)-1]
			if got := strings.Join(bench.Arguments(job.Cases), " "); got != test.cases || r.turns != test.turns || job.Ranks != 2 || job.Fabric != bench.Shm {
				t.Errorf("got %d turns of %v on %s: %s", r.turns, job.Ranks, job.Fabric, got)
			}
		})
	}
}

func TestBenchVerbsInproc(t *testing.T) {
	args := []string{benchVerbsWord, "--fabric", "inproc", "--op", "write,fetch_add", "--metric", "lat", "-s", "64", "-n", "10", "--turns", "2"}
	code, out, errs := runBench(args...)
	if code != exitOK || errs != "" || !strings.HasPrefix(out, "BENCHMARK      FABRIC  NP  SIZE  UNIT  VERBS\nwrite_lat      inproc  2   64 B  us ") ||
		!strings.Contains(out, "\nfetch_add_lat  inproc  2   8 B   us ") || !strings.HasSuffix(out, "\nMedians of 2 turns, with the range.\n") {
		t.Errorf("code %d, output %q, complaint %q", code, out, errs)
	}
	code, out, errs = runBench(append(args, "--csv")...)
	records, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if code != exitOK || errs != "" || err != nil || len(records) != 3 || strings.Join(records[1][:5], ",") != "write_lat,inproc,2,64,us" {
		t.Errorf("code %d, output %q, complaint %q, %v", code, out, errs, err)
	}
	code, out, errs = runBench(append(args, "--json")...)
	var rows []map[string]any
	if err := json.Unmarshal([]byte(out), &rows); code != exitOK || errs != "" || err != nil || len(rows) != 2 || rows[1]["benchmark"] != "fetch_add_lat" {
		t.Errorf("code %d, output %q, complaint %q, %v", code, out, errs, err)
	}
}

// The command as a process, whose ranks are processes.
func TestBenchVerbsProcess(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "outboard")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Run("targets", func(t *testing.T) {
		out, err := exec.Command(binary, "bench", "verbs", "--targets", "--turns", "1", "-n", "100", "--csv").CombinedOutput()
		records, e := csv.NewReader(bytes.NewReader(out)).ReadAll()
		if err != nil || e != nil || len(records) != 6 || records[1][0] != "write_lat" || records[5][0] != "write_bw/go" {
			t.Errorf("%v, %v, output %q", err, e, out)
		}
	})
	t.Run("peers that are not there", func(t *testing.T) {
		cmd := exec.Command(binary, "bench", "verbs", "--peers", "--turns", "1", "-n", "10", "--op", "write", "--metric", "lat", "-s", "8")
		cmd.Env = append(os.Environ(), "PATH="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "raw_vm_write_bw  shm") || !strings.Contains(string(out), "Left out: UCX: not installed") {
			t.Errorf("%v, output %q", err, out)
		}
	})
	t.Run("a worker is killed", func(t *testing.T) {
		var stderr bytes.Buffer
		cmd := exec.Command(binary, "bench", "verbs", "--turns", "1000")
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		hung := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
		defer hung.Stop()
		self := fmt.Sprintf("/proc/%d/exe", cmd.Process.Pid)
		deadline := time.Now().Add(20 * time.Second)
		for killed := false; !killed && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			for _, link := range processesOf(binary) {
				var pid int
				if _, err := fmt.Sscanf(link, "/proc/%d/exe", &pid); err == nil && link != self && !killed {
					killed = syscall.Kill(pid, syscall.SIGKILL) == nil
				}
			}
		}
		cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != exitFail || !strings.Contains(stderr.String(), "SIGKILL") {
			t.Errorf("code %d, %q", code, stderr.String())
		}
		if left := processesOf(binary); len(left) > 0 {
			t.Errorf("processes %v are left", left)
		}
	})
}
