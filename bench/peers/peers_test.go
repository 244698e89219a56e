package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"outboard/bench"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// commands puts a folder with the named shell scripts in front of PATH, alone if alone.
func commands(t *testing.T, alone bool, scripts map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	path := dir
	if !alone {
		path += ":" + os.Getenv("PATH")
	}
	t.Setenv("PATH", path)
}

// pingpongJob measures one message of 8 bytes on so many ranks.
func pingpongJob(t *testing.T, ranks int) bench.Job {
	t.Helper()
	cases, err := bench.ParseArguments([]string{"pingpong:8"})
	if err != nil {
		t.Fatal(err)
	}
	return bench.Job{Fabric: bench.Shm, Ranks: ranks, Cases: cases}
}

func TestFindSaysWhatToInstall(t *testing.T) {
	for _, test := range []struct {
		name    string
		scripts map[string]string
		want    []string
		not     string
	}{
		{"nothing", nil, []string{"Open MPI: not installed", "apt-get install openmpi-bin", "MPICH: not installed", "bench/peers/install.sh"}, "\x00"},
		{"no compiler", map[string]string{"mpirun.openmpi": "", "mpicc.openmpi": "", "mpiexec.mpich": ""}, []string{"no mpicc.mpich in PATH"}, "Open MPI"},
	} {
		t.Run(test.name, func(t *testing.T) {
			commands(t, true, test.scripts)
			_, err := Find(context.Background(), t.TempDir(), nil)
			if !errors.Is(err, ErrAbsent) {
				t.Fatalf("error is %v", err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q lacks %q", err, want)
				}
			}
			if strings.Contains(err.Error(), test.not) {
				t.Errorf("error %q has %q", err, test.not)
			}
		})
	}
}

// fakes are the commands of both libraries, with a launcher of Open MPI that runs the script.
func fakes(launcher string) map[string]string {
	compiler := `while [ "$1" != -o ]; do shift; done; : > "$2"`
	return map[string]string{
		"mpicc.openmpi": compiler, "mpicc.mpich": compiler,
		"mpirun.openmpi": `if [ "$1" = --version ]; then echo "mpirun (Fake) 1.2.3"; exit; fi` + "\n" + launcher,
		"mpiexec.mpich":  "echo Version: 4.5",
	}
}

// fakeOpenMPI returns the peer whose launcher runs the script.
func fakeOpenMPI(t *testing.T, launcher, extra string) *Peer {
	t.Helper()
	commands(t, false, fakes(launcher))
	found, err := Find(context.Background(), t.TempDir(), map[string]string{"openmpi": extra})
	if err != nil {
		t.Fatal(err)
	}
	if found[0].Name() != "openmpi" || found[1].Name() != "mpich" || found[1].String() != "MPICH 4.5" {
		t.Fatalf("found %v and %v", found[0], found[1])
	}
	return found[0]
}

func TestRunReadsWhatThePeerPrints(t *testing.T) {
	p := fakeOpenMPI(t, `echo pingpong,2,8,us,0.25`, "")
	values, err := p.Run(context.Background(), pingpongJob(t, 2))
	if err != nil || len(values) != 1 || values[0] != 0.25 {
		t.Errorf("got %v, %v", values, err)
	}
}

func TestRunReportsFailures(t *testing.T) {
	for _, test := range []struct {
		name, script string
		is           error
		want         string
	}{
		{"exit code and standard error", `echo no such network >&2; exit 3`, nil, "exit status 3\nno such network"},
		{"the end of much standard error", `yes noise | head -c 100000 >&2; echo the reason >&2; exit 1`, nil, "the reason"},
		{"something else printed", `echo hello`, bench.ErrOutput, `"hello"`},
		{"nothing printed", ``, bench.ErrOutput, "ended after 0 of 1"},
		{"output without end", `yes`, context.DeadlineExceeded, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := fakeOpenMPI(t, test.script, "")
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			values, err := p.Run(ctx, pingpongJob(t, 2))
			if err == nil || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 2*maxStderr {
				t.Fatalf("got %v, %v; want an error with %q", values, err, test.want)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("error %v does not wrap %v", err, test.is)
			}
			if command := (*CommandError)(nil); test.is == nil && !errors.As(err, &command) {
				t.Errorf("error %v is no CommandError", err)
			}
		})
	}
}

func TestLauncherArguments(t *testing.T) {
	ours := &libraries[0]
	for _, test := range []struct {
		name  string
		ranks int
		want  string
	}{
		{"a core for each rank", 1, "--bind-to core -n 1"},
		{"more ranks than cores", 5000, "--oversubscribe --bind-to none --mca mpi_yield_when_idle 1 -n 5000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := strings.Join(ours.arguments(test.ranks, ""), " "); got != test.want {
				t.Errorf("arguments are %q, want %q", got, test.want)
			}
		})
	}
	want := []string{"--bind-to", "core", "--mca", "btl_vader_single_copy_mechanism", "none", "-n", "1"}
	if got := ours.arguments(1, " --mca  btl_vader_single_copy_mechanism none "); !slices.Equal(got, want) {
		t.Errorf("arguments are %q, want %q", got, want)
	}
}

// When the context ends, so does everything that the launcher started, even if it does not listen.
func TestCancelLeavesNoProcess(t *testing.T) {
	for _, test := range []struct {
		name, script string
		within       time.Duration
	}{
		{"a launcher that ends", `sleep 1000 & echo $! > "$PIDS"; wait`, time.Second},
		{"a launcher that is deaf", `trap '' TERM; sleep 1000 & echo $! > "$PIDS"; while :; do wait; done`, grace + 2*time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			pids := filepath.Join(t.TempDir(), "pids")
			t.Setenv("PIDS", pids)
			p := fakeOpenMPI(t, test.script, "")
			ctx, cancel := context.WithCancelCause(context.Background())
			stopped := errors.New("stopped by the test")
			started := make(chan int, 1)
			go func() {
				started <- awaitPid(pids)
				cancel(stopped)
			}()
			begin := time.Now()
			_, err := p.Run(ctx, pingpongJob(t, 2))
			if !errors.Is(err, stopped) {
				t.Errorf("error is %v", err)
			}
			if took := time.Since(begin); took > test.within+time.Second {
				t.Errorf("took %v to end", took)
			}
			pid := <-started
			if !gone(pid) {
				t.Errorf("process %d is still there", pid)
			}
		})
	}
}

// awaitPid returns the process id in a file that is about to be written.
func awaitPid(file string) int {
	for {
		text, err := os.ReadFile(file)
		if pid, bad := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && bad == nil {
			return pid
		}
		time.Sleep(time.Millisecond)
	}
}

// gone reports whether the process ends within a second; a zombie counts as ended.
func gone(pid int) bool {
	for range 1000 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") || syscall.Kill(pid, 0) != nil {
			return true
		}
		time.Sleep(time.Millisecond)
	}
	return false
}

// The C program must have the benchmarks of package bench, under the same names, units and limits.
func TestProgramIsTheTwin(t *testing.T) {
	entry := regexp.MustCompile(`(?m)^    \{ "(\w+)", "([^"]+)", (\d+), ([^,]+), ([^,]+), \w+ \},$`)
	bytes := map[string]int{"0": 0, "1": 1, "sizeof(double)": 8}
	found := map[string]bool{}
	for _, m := range entry.FindAllStringSubmatch(string(source), -1) {
		found[m[1]] = true
		chosen, err := bench.Select(m[1])
		if err != nil {
			t.Error(err)
			continue
		}
		b := chosen[0]
		minSize, ok1 := bytes[m[4]]
		multiple, ok2 := bytes[m[5]]
		if m[2] != b.Unit || m[3] != strconv.Itoa(b.MinRanks) || !ok1 || !ok2 || minSize != b.MinSize || multiple != b.Multiple {
			t.Errorf("%s of mpibench.c is %q, of bench %+v", b.Name, m[0], b)
		}
	}
	for _, b := range bench.All() {
		if !found[b.Name] {
			t.Errorf("mpibench.c has no %s", b.Name)
		}
	}
}
