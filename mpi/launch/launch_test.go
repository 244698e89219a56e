package launch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// sortedLines returns the lines of an output in an order that does not depend
// on the ranks' timing.
func sortedLines(b *bytes.Buffer) []string {
	return slices.Sorted(strings.Lines(b.String()))
}

func TestRun(t *testing.T) {
	job, stdout, stderr := testJob(4, "act", "0=ring", "1=ring", "2=ring", "3=ring")
	if code, err := run(t, job); code != 0 || err != nil {
		t.Fatalf("code %d, %v; printed %s%s", code, err, stdout, stderr)
	}
	want := []string{"0 1 <nil>\n", "1 4 <nil>\n", "2 9 <nil>\n", "3 0 <nil>\n"}
	if diff := cmp.Diff(want, sortedLines(stdout)); diff != "" {
		t.Error(diff)
	}
}

func TestRunManyRanks(t *testing.T) {
	const ranks = 100
	job, stdout, _ := testJob(ranks, "print", "%d")
	job.Path, job.Args = "/bin/sh", []string{"-c", "echo $PMI_RANK"}
	if code, err := run(t, job); code != 0 || err != nil {
		t.Fatalf("code %d, %v", code, err)
	}
	if n := len(sortedLines(stdout)); n != ranks {
		t.Errorf("%d lines, want %d", n, ranks)
	}
}

// Programs that know nothing of PMI can be run as well.
func TestRunWithoutPMI(t *testing.T) {
	job, stdout, _ := testJob(2, "print", "one", "rank %d")
	if code, err := run(t, job); code != 0 || err != nil {
		t.Fatalf("code %d, %v", code, err)
	}
	if diff := cmp.Diff([]string{"one\n", "one\n", "rank 0\n", "rank 1\n"}, sortedLines(stdout)); diff != "" {
		t.Error(diff)
	}
}

func TestFailures(t *testing.T) {
	tests := []struct {
		name string
		acts []string // of four ranks; the others wait for the end
		want RankError
	}{
		{"exit code", []string{"2=exit:7"}, RankError{Rank: 2, Failure: Exited, Code: 7}},
		{"last words", []string{"1=fail:12"}, RankError{Rank: 1, Failure: Exited, Code: 5, Tail: []string{
			"last words 2", "last words 3", "last words 4", "last words 5", "last words 6",
			"last words 7", "last words 8", "last words 9", "last words 10", "last words 11",
		}}},
		{"SIGKILL", []string{"3=kill:9"}, RankError{Rank: 3, Failure: Killed, Code: 137, Signal: unix.SIGKILL}},
		{"SIGTERM", []string{"0=kill:15"}, RankError{Rank: 0, Failure: Killed, Code: 143, Signal: unix.SIGTERM}},
		{"abort", []string{"1=abort:9"}, RankError{Rank: 1, Failure: Aborted, Code: 9}},
		{"abort and stay", []string{"1=abortwait:9"}, RankError{Rank: 1, Failure: Aborted, Code: 9}},
		{"abort with 0", []string{"1=abort:0"}, RankError{Rank: 1, Failure: Aborted, Code: 1}},
		{"abort with 256", []string{"1=abort:256"}, RankError{Rank: 1, Failure: Aborted, Code: 1}},
		{"not finalized", []string{"2=leave"}, RankError{Rank: 2, Failure: Unfinalized, Code: 1}},
		{"code after finalize", []string{"2=finalize:3"}, RankError{Rank: 2, Failure: Exited, Code: 3}},
		{"never in the job", []string{"0=hang", "1=hang", "2=exit:0", "3=hang"}, RankError{Rank: 2, Failure: Stranded, Code: 1}},
		{"finalized early", []string{"0=hang", "1=hang", "2=finalize:0", "3=hang"}, RankError{Rank: 2, Failure: Stranded, Code: 1}},
		{"no PMI but babble", []string{"0=hang", "1=hang", "2=babble", "3=hang"}, RankError{Rank: 2, Failure: Stranded, Code: 1}},
		{"killed while others are in a barrier", []string{"0=hang", "1=hang", "2=kill:9", "3=hang"},
			RankError{Rank: 2, Failure: Killed, Code: 137, Signal: unix.SIGKILL}},
		{"survivors are stubborn", []string{"0=stubborn", "1=stubborn", "2=exit:1", "3=stubborn"}, RankError{Rank: 2, Failure: Exited, Code: 1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			job, stdout, stderr := testJob(4, "act", test.acts...)
			code, err := run(t, job)
			var got *RankError
			if !errors.As(err, &got) || !errors.Is(err, ErrRank) {
				t.Fatalf("error %v; printed %s%s", err, stdout, stderr)
			}
			if code != test.want.Code {
				t.Errorf("code %d, want %d", code, test.want.Code)
			}
			pid := got.PID
			got.PID, got.Core = 0, false
			if diff := cmp.Diff(&test.want, got); diff != "" {
				t.Error(diff)
			}
			if alive(pid) {
				t.Errorf("process %d is still there", pid)
			}
			for _, line := range sortedLines(stdout) {
				if strings.HasPrefix(line, "rank") && !strings.Contains(line, "aborted by rank "+strconv.Itoa(test.want.Rank)) {
					t.Errorf("a survivor reports %q", line)
				}
			}
		})
	}
}

// Survivors that wait for the end of the job learn who has failed, and their
// reports are printed.
func TestSurvivorsReport(t *testing.T) {
	job, stdout, _ := testJob(3, "act", "0=meet", "1=meet:4", "2=meet")
	job.TagOutput = true
	if code, _ := run(t, job); code != 4 {
		t.Errorf("code %d, want 4", code)
	}
	want := []string{
		"[0] rank 0: pmi: the job was aborted by rank 1 with code 4\n",
		"[2] rank 2: pmi: the job was aborted by rank 1 with code 4\n",
	}
	if diff := cmp.Diff(want, sortedLines(stdout)); diff != "" {
		t.Error(diff)
	}
}

// With the default grace, a killed rank ends a stubborn job within 3 s.
func TestDefaultGrace(t *testing.T) {
	job, _, _ := testJob(2, "act", "0=kill:9", "1=stubborn")
	job.Grace = 0
	begin := time.Now()
	code, err := run(t, job)
	if took := time.Since(begin); code != 137 || took > 3*time.Second {
		t.Errorf("code %d, %v after %v", code, err, took)
	}
}

func TestBadJobs(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("no program"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		job   Job
		field string
		cause error
	}{
		{"no ranks", Job{Path: "true"}, "N", nil},
		{"negative ranks", Job{N: -1, Path: "true"}, "N", nil},
		{"too many ranks", Job{N: MaxRanks + 1, Path: "true"}, "N", nil},
		{"no program", Job{N: 1}, "Path", nil},
		{"unknown program", Job{N: 1, Path: "no-such-program"}, "Path", nil},
		{"missing file", Job{N: 1, Path: "./no/such/file"}, "Path", fs.ErrNotExist},
		{"not executable", Job{N: 1, Path: plain}, "Path", fs.ErrPermission},
		{"a folder", Job{N: 1, Path: dir}, "Path", nil},
		{"no such folder", Job{N: 1, Path: "true", Dir: plain + "x"}, "Dir", fs.ErrNotExist},
		{"folder is a file", Job{N: 1, Path: "true", Dir: plain}, "Dir", nil},
		{"negative grace", Job{N: 1, Path: "true", Grace: -1}, "Grace", nil},
		{"unknown binding", Job{N: 1, Path: "true", Bind: 9}, "Bind", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.job.Temp = t.TempDir()
			code, err := run(t, test.job)
			var got *ArgError
			if code != 2 || !errors.Is(err, ErrJob) || !errors.As(err, &got) || got.Field != test.field {
				t.Errorf("code %d, %v; want 2 and an ArgError about %s", code, err, test.field)
			}
			if test.cause != nil && !errors.Is(err, test.cause) {
				t.Errorf("%v is not %v", err, test.cause)
			}
			if _, err := os.Stat(test.job.Temp); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the temporary folder: %v", err)
			}
		})
	}
}

// A file that may be executed but is no program fails when it is started.
func TestStartFails(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("\x7fELF nonsense"), 0o700); err != nil {
		t.Fatal(err)
	}
	code, err := run(t, Job{N: 3, Path: bad})
	var got *StartError
	if code != 126 || !errors.Is(err, ErrStart) || !errors.As(err, &got) || got.Rank != 0 {
		t.Errorf("code %d, %v; want 126 and a StartError of rank 0", code, err)
	}
	if !errors.Is(err, unix.ENOEXEC) {
		t.Errorf("%v is not ENOEXEC", err)
	}
}

func TestContext(t *testing.T) {
	cause := errors.New("enough")
	for _, deed := range []string{"wait", "stubborn"} {
		t.Run(deed, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(context.Background())
			job, _, _ := testJob(2, "act", "0="+deed, "1="+deed)
			time.AfterFunc(200*time.Millisecond, func() { cancel(cause) })
			if code, err := job.Run(ctx); code != 1 || !errors.Is(err, cause) {
				t.Errorf("code %d, %v", code, err)
			}
			if code, err := job.Run(ctx); code != 1 || !errors.Is(err, cause) {
				t.Errorf("with an ended context: code %d, %v", code, err)
			}
		})
	}
}

// watch is a writer that tells when a text has come by so many times.
type watch struct {
	bytes.Buffer // to be read when the job is over
	text         string
	times        int
	seen         chan string // gets what has come so far
}

func newWatch(text string, times int) *watch {
	return &watch{text: text, times: times, seen: make(chan string, 1)}
}

func (w *watch) Write(p []byte) (int, error) {
	before := strings.Count(w.String(), w.text)
	n, err := w.Buffer.Write(p)
	if before < w.times && strings.Count(w.String(), w.text) >= w.times {
		w.seen <- w.String()
	}
	return n, err
}

func TestSignals(t *testing.T) {
	tests := []struct {
		name string
		deed string // of both ranks
		send []syscall.Signal
		code int
		err  error
		out  []string
	}{
		{"harmless ones are passed on", "counting", []syscall.Signal{unix.SIGUSR1, unix.SIGUSR2}, 0, nil, []string{"SIGUSR1", "SIGUSR2"}},
		{"the program may survive one interrupt", "counting", []syscall.Signal{unix.SIGINT, unix.SIGUSR2}, 0, nil, []string{"SIGINT", "SIGUSR2"}},
		{"but not two", "counting", []syscall.Signal{unix.SIGINT, unix.SIGINT}, 130, ErrInterrupted, []string{"SIGINT"}},
		{"interrupt", "sleep", []syscall.Signal{unix.SIGINT}, 130, ErrInterrupted, nil},
		{"hang-up", "sleep", []syscall.Signal{unix.SIGHUP}, 129, ErrInterrupted, nil},
		{"termination", "counting", []syscall.Signal{unix.SIGTERM}, 143, ErrInterrupted, nil},
		{"termination of the stubborn", "stubborn", []syscall.Signal{unix.SIGTERM}, 143, ErrInterrupted, nil},
		{"death by another signal", "sleep", []syscall.Signal{unix.SIGUSR1}, 138, ErrRank, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			job, _, _ := testJob(2, "act", "0="+test.deed, "1="+test.deed)
			out := newWatch("ready\n", 2)
			signals := make(chan os.Signal)
			job.Stdout, job.Signals = out, signals
			go func() {
				<-out.seen
				for _, s := range test.send {
					signals <- s
					time.Sleep(100 * time.Millisecond) // two of a kind may become one
				}
			}()
			code, err := run(t, job)
			if code != test.code || !errors.Is(err, test.err) {
				t.Errorf("code %d, %v; want %d, %v", code, err, test.code, test.err)
			}
			for _, line := range test.out {
				if n := strings.Count(out.String(), line+"\n"); n != 2 {
					t.Errorf("%d ranks heard %s", n, line)
				}
			}
		})
	}
}

// What ranks leave running does not outlive the job; only a process that has
// put itself into its own session outlives a job that succeeds.
func TestChildrenOfRanks(t *testing.T) {
	tests := []struct {
		name, deed string
		code       int
		stays      bool
	}{
		{"success", "child:0", 0, false},
		{"failure", "child:3", 3, false},
		{"session of a success", "daemon:0", 0, true},
		{"session of a failure", "daemon:3", 3, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			job, stdout, _ := testJob(1, "act", "0="+test.deed)
			if code, err := run(t, job); code != test.code {
				t.Errorf("code %d, %v; want %d", code, err, test.code)
			}
			var pid int
			if _, err := fmt.Sscanf(stdout.String(), "child %d", &pid); err != nil {
				t.Fatalf("%q: %v", stdout, err)
			}
			if test.stays {
				if !alive(pid) {
					t.Error("the process has ended")
				}
				unix.Kill(pid, unix.SIGKILL)
				return
			}
			waitUntil(t, "the end of the child", func() bool { return !alive(pid) })
		})
	}
}
