package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"outboard/bench"
)

// runBench runs `outboard bench` in this process.
func runBench(args ...string) (code int, out, errs string) {
	var stdout, stderr bytes.Buffer
	code = benchCommand(stdio{strings.NewReader(""), &stdout, &stderr}, args)
	return code, stdout.String(), stderr.String()
}

func TestBenchRefuses(t *testing.T) {
	for _, test := range []struct {
		name, args, want string
	}{
		{"an unknown flag", "-sizs 8", "-sizs"},
		{"an unknown benchmark", "pingpong pingpang", `"pingpang"`},
		{"ranks in words", "-np two", `"two"`},
		{"no ranks", "-np 0", `"0"`},
		{"one rank too few", "pingpong -np 1", "pingpong on 1 ranks"},
		{"a size in words", "-sizes small", `"small"`},
		{"half a double", "allreduce -sizes 12", "allreduce of 12 bytes"},
		{"an unknown fabric", "-fabric tcp", `"tcp"`},
		{"an unknown format", "-format xml", `"xml"`},
		{"negative turns", "-turns -1", "-1"},
		{"no time", "-timeout 0s", "0s"},
		{"a flag of comparisons", "-openmpi-args x", "are for -peers"},
		{"a flag without its value", "pingpong -np", "-np"},
		{"a worker without a benchmark", "--worker nothing", `"nothing"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, out, errs := runBench(strings.Fields(test.args)...)
			if code != exitUsage || out != "" || !strings.Contains(errs, test.want) {
				t.Errorf("code %d, output %q, complaint %q; want code %d and a complaint with %q", code, out, errs, exitUsage, test.want)
			}
		})
	}
}

func TestBenchMixesFlagsAndNames(t *testing.T) {
	for _, args := range []string{
		"-peers -np 3 -sizes 8,16 allreduce",
		"allreduce -sizes 8,16 --np=3 --peers",
		"-peers -np 3 allreduce -sizes 8:16",
	} {
		r, code, ok := parseBench(stdio{}, strings.Fields(args))
		if !ok {
			t.Fatalf("%s: code %d", args, code)
		}
		if len(r.jobs) != 1 || r.jobs[0].Ranks != 3 || r.jobs[0].Fabric != bench.Shm || len(r.jobs[0].Cases) != 2 || r.turns != turnsCompared || !r.peers {
			t.Errorf("%s: got %+v", args, r)
		}
	}
}

func TestBenchInprocFormats(t *testing.T) {
	args := []string{"-fabric", "inproc", "-np", "2", "-sizes", "128K,256K", "-turns", "2", "pingpong"}
	t.Run("table", func(t *testing.T) {
		code, out, errs := runBench(append(args, "-v")...)
		if code != exitOK || !strings.HasPrefix(out, "BENCHMARK  FABRIC  NP  SIZE     UNIT  OURS\npingpong   inproc  2   128 KiB  us ") {
			t.Errorf("code %d, output %q", code, out)
		}
		if want := "turn 2 of 2: ours, inproc, 2 ranks: pingpong:131072 pingpong:262144\n"; !strings.HasSuffix(errs, want) {
			t.Errorf("progress is %q, want it to end in %q", errs, want)
		}
	})
	t.Run("csv", func(t *testing.T) {
		code, out, errs := runBench(append(args, "-format", "csv")...)
		records, err := csv.NewReader(strings.NewReader(out)).ReadAll()
		if code != exitOK || errs != "" || err != nil || len(records) != 3 || strings.Join(records[2][:5], ",") != "pingpong,inproc,2,262144,us" {
			t.Errorf("code %d, output %q, complaint %q, %v", code, out, errs, err)
		}
	})
	t.Run("json", func(t *testing.T) {
		code, out, errs := runBench(append(args, "-format", "json")...)
		var rows []map[string]any
		err := json.Unmarshal([]byte(out), &rows)
		if code != exitOK || errs != "" || err != nil || len(rows) != 2 || rows[1]["size_bytes"] != 262144.0 {
			t.Errorf("code %d, output %q, complaint %q, %v", code, out, errs, err)
		}
	})
}

func TestBenchWithoutPeers(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	code, out, errs := runBench("-peers", "-peers-dir", t.TempDir())
	if code != exitFail || out != "" || !strings.Contains(errs, "apt-get install openmpi-bin") || !strings.Contains(errs, "apt-get install mpich") {
		t.Errorf("code %d, output %q, complaint %q", code, out, errs)
	}
}

// The peers are scripts that answer at once, so what is tested is the way from their output to ours.
func TestBenchComparesInCSV(t *testing.T) {
	dir := t.TempDir()
	for name, script := range map[string]string{
		"mpicc.openmpi": `while [ "$1" != -o ]; do shift; done; : > "$2"`, "mpicc.mpich": `while [ "$1" != -o ]; do shift; done; : > "$2"`,
		"mpirun.openmpi": `if [ "$1" = --version ]; then echo 4.1; else echo pingpong,2,131072,us,0.001; fi`,
		"mpiexec.mpich":  `if [ "$1" = --version ]; then echo 4.0; else echo pingpong,2,131072,us,0.002; fi`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	code, out, errs := runBench("--peers", "pingpong", "-np", "2", "-sizes", "128K", "-fabric", "inproc", "--format", "csv", "-peers-dir", dir)
	lines := strings.Split(out, "\n")
	if code != exitOK || errs != "" || len(lines) != 3 || lines[0] != "benchmark,fabric,np,size_bytes,unit,ours,openmpi,mpich,ratio" {
		t.Fatalf("code %d, output %q, complaint %q", code, out, errs)
	}
	cells := strings.Split(lines[1], ",")
	if len(cells) != 9 || strings.Join(cells[:5], ",") != "pingpong,inproc,2,131072,us" || cells[6] != "0.00100000" || cells[7] != "0.00200000" {
		t.Errorf("row is %q", lines[1])
	}
}

func TestBenchGivesUp(t *testing.T) {
	begin := time.Now()
	code, out, errs := runBench("-fabric", "inproc", "-timeout", "50ms", "-sizes", "64M", "pingpong")
	if code != exitFail || out != "" || !strings.Contains(errs, "not done after 50ms") {
		t.Errorf("code %d, output %q, complaint %q", code, out, errs)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("took %v to give up", took)
	}
}

// The command as a process, whose ranks are processes.
func TestBenchProcess(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "outboard")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Run("launches ranks", func(t *testing.T) {
		out, err := exec.Command(binary, "bench", "-sizes", "64", "-format", "csv", "-timeout", "30s").CombinedOutput()
		lines := strings.Split(string(out), "\n")
		if err != nil || len(lines) != 5 || !strings.HasPrefix(lines[1], "pingpong,shm,2,64,us,") ||
			!strings.HasPrefix(lines[2], "bandwidth,shm,2,64,MB/s,") || !strings.HasPrefix(lines[3], "allreduce,shm,2,64,us,") {
			t.Errorf("%v, output %q", err, out)
		}
	})
	t.Run("ends when interrupted", func(t *testing.T) {
		var stderr bytes.Buffer
		cmd := exec.Command(binary, "bench", "-v", "-turns", "1000", "allreduce")
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		hung := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
		defer hung.Stop()
		time.Sleep(300 * time.Millisecond) // ranks are at work
		begin := time.Now()
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("took %v to end", took)
		}
		if code := cmd.ProcessState.ExitCode(); code != exitFail || !strings.Contains(stderr.String(), "interrupt") {
			t.Errorf("code %d, %q", code, stderr.String())
		}
		if left := processesOf(binary); len(left) > 0 {
			t.Errorf("processes %v are left", left)
		}
	})
}

// processesOf returns the processes that execute the program.
func processesOf(program string) []string {
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	var left []string
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == program {
			left = append(left, link)
		}
	}
	return left
}
