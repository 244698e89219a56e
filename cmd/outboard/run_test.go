package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const goProgram = `package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Println("built", os.Getenv("PMI_RANK"), os.Args[1:])
	if len(os.Args) > 2 {
		os.Exit(4)
	}
}
`

// temporaries makes a folder for temporary files and checks, when the test is
// over, that nothing was left in it.
func temporaries(t *testing.T) {
	t.Helper()
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Cleanup(func() {
		left, err := os.ReadDir(temp)
		if err != nil || len(left) > 0 {
			t.Errorf("left in the temporary folder: %v, %v", left, err)
		}
	})
}

// goSource makes a module and returns its folder.
func goSource(t *testing.T, program string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "go.mod", "module example\n\ngo 1.26\n", 0o600)
	write(t, dir, "main.go", program, 0o600)
	return dir
}

func TestRunGo(t *testing.T) {
	dir := goSource(t, goProgram)
	bad := goSource(t, "package main\n\nfunc main() { undefined() }\n")
	library := goSource(t, "package library\n")
	empty := t.TempDir()
	tests := []struct {
		name   string
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{"folder", []string{"-n", "2", dir, "x"}, 0, "built 1 [x]\n", ""},
		{"file", []string{filepath.Join(dir, "main.go"), "x"}, 0, "built 0 [x]\n", ""},
		{"failure of the program", []string{dir, "x", "y"}, 4, "built 0 [x y]\n", "exited with code 4"},
		{"compile error", []string{bad}, 1, "", "main.go:3:15: undefined: undefined"},
		{"no main package", []string{library}, 1, "", "it is no main package"},
		{"no Go at all", []string{empty}, 1, "", "cannot build"},
		{"no ranks after all", []string{"-dir", "/no/such", dir}, 2, "", "want a folder"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			temporaries(t)
			code, stdout, stderr := invoke("", append([]string{"run"}, test.args...)...)
			if code != test.code || !strings.Contains(stdout, test.stdout) || !strings.Contains(stderr, test.stderr) {
				t.Errorf("code %d, want %d; printed %q, %q", code, test.code, stdout, stderr)
			}
		})
	}
}

// The relative paths that people type.
func TestRunGoRelative(t *testing.T) {
	dir := goSource(t, goProgram)
	t.Chdir(filepath.Dir(dir))
	for _, path := range []string{filepath.Base(dir), "./" + filepath.Base(dir) + "/", filepath.Base(dir) + "/main.go"} {
		if code, stdout, stderr := invoke("", "run", path); code != 0 || stdout != "built 0 []\n" {
			t.Errorf("%s: code %d, %q, %q", path, code, stdout, stderr)
		}
	}
	t.Chdir(dir)
	for _, path := range []string{".", "main.go"} {
		if code, stdout, stderr := invoke("", "run", path); code != 0 || stdout != "built 0 []\n" {
			t.Errorf("%s: code %d, %q, %q", path, code, stdout, stderr)
		}
	}
}

func TestRunWithoutGo(t *testing.T) {
	temporaries(t)
	dir := goSource(t, goProgram)
	t.Setenv("PATH", t.TempDir())
	if code, _, stderr := invoke("", "run", dir); code != 1 || !strings.Contains(stderr, "the go command is not in PATH") {
		t.Errorf("code %d, %q", code, stderr)
	}
}

// A signal during the build ends it and leaves nothing.
func TestBuildInterrupted(t *testing.T) {
	temporaries(t)
	dir, bin := goSource(t, goProgram), t.TempDir()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	write(t, bin, "go", "#!/bin/sh\nexec "+sleep+" 3600\n", 0o700)
	t.Setenv("PATH", bin)
	signals := make(chan os.Signal, 1)
	time.AfterFunc(100*time.Millisecond, func() { signals <- unix.SIGTERM })
	_, err = build(dir, signals)
	var stopped *interruptedError
	if !errors.As(err, &stopped) || stopped.signal != unix.SIGTERM {
		t.Fatalf("%v, want the signal", err)
	}
	var std stdio
	var text strings.Builder
	std.err = &text
	if code := failBuild(std, err); code != 143 || !strings.Contains(text.String(), "SIGTERM") {
		t.Errorf("code %d, %q", code, text.String())
	}
}

// The command as a process: it passes signals on, ends within 3 s of a rank's
// death, and returns the job's code.
func TestRunProcess(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "outboard")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	tests := []struct {
		name   string
		script string // of both ranks
		signal os.Signal
		code   int
		stderr string
	}{
		{"interrupt", "echo ready; exec sleep 3600", unix.SIGINT, 130, "ended by SIGINT"},
		{"termination", "echo ready; exec sleep 3600", unix.SIGTERM, 143, "ended by SIGTERM"},
		{"hang-up", "echo ready; exec sleep 3600", unix.SIGHUP, 129, "ended by SIGHUP"},
		{"user signal", "trap 'exit 9' USR1; echo ready; while :; do sleep 0.05; done", unix.SIGUSR1, 9, "exited with code 9"},
		{"death of a rank", "trap '' TERM; echo ready; [ $PMI_RANK = 0 ] && kill -KILL $$; sleep 3600", nil, 137, "rank 0 (pid "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(binary, "run", "-n", "2", "sh", "-c", test.script)
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			var stderr strings.Builder
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			hung := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
			defer hung.Stop()
			ready := make([]byte, len("ready\nready\n"))
			for n := 0; n < len(ready); {
				more, err := stdout.Read(ready[n:])
				if n += more; err != nil {
					t.Fatalf("%q, %v; %s", ready[:n], err, stderr.String())
				}
			}
			begin := time.Now()
			if test.signal != nil {
				cmd.Process.Signal(test.signal)
			}
			cmd.Wait()
			if took := time.Since(begin); took > 3*time.Second {
				t.Errorf("it took %v to end", took)
			}
			if code := cmd.ProcessState.ExitCode(); code != test.code || !strings.Contains(stderr.String(), test.stderr) {
				t.Errorf("code %d, want %d; %q", code, test.code, stderr.String())
			}
		})
	}
}
