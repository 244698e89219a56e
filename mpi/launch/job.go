package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// MaxRanks is the largest Job.N.
const MaxRanks = 4096

// DefaultGrace is the grace of a job that does not say.
const DefaultGrace = time.Second

// Exit codes of jobs that fail without a rank's doing.
const (
	codeFail  = 1   // for want of a better one
	codeUsage = 2   // an ArgError
	codeStart = 126 // a StartError
)

// Job is a program to run as several ranks. The zero value of every field but
// N and Path is a sensible choice.
type Job struct {
	N    int      // ranks, from 1 to MaxRanks
	Path string   // the program: a path, or a name to look up in PATH
	Args []string // its arguments, without the program's name

	Env  []string // environment of the ranks; nil for the caller's
	Dir  string   // working folder of the ranks; "" for the caller's
	Bind Bind     // how ranks are bound to CPUs

	// TagOutput puts the rank in front of each line: "[3] hello".
	TagOutput bool

	// Stdin is copied to rank 0; nil, and every other rank, reads nothing. Run
	// does not wait for a pending Read of it.
	Stdin io.Reader
	// Stdout and Stderr get what the ranks print, whole lines at a time, from
	// one goroutine at a time; nil discards. A last line without a newline
	// gets one if there are several ranks.
	Stdout, Stderr io.Writer

	// Signals are passed on to the ranks. A SIGTERM, and a second one of
	// SIGINT, SIGQUIT and SIGHUP, end the job as the end of the context does.
	// After SIGTSTP the caller's process stops too.
	Signals <-chan os.Signal

	// Grace is how long the survivors of a failure may take to report and to
	// exit before they get SIGTERM; half of it later they get SIGKILL. When
	// the context or a signal ends the job, SIGTERM comes at once and SIGKILL
	// after Grace. 0 means DefaultGrace.
	Grace time.Duration

	// Temp is a folder that is removed when the job is over, or when the
	// caller is killed meanwhile. Run removes it also when it cannot start.
	Temp string
}

// Run starts the ranks, waits for all of them to end, and returns the exit
// code of the job: 0, or that of the first rank that failed, where death by
// signal n counts as 128+n. The error is nil exactly if the code is 0;
// otherwise it is an *ArgError (code 2), a *StartError (126), a *RankError,
// an *InterruptError, an ErrGuard, an ErrOutput, or the cause of the context's end. When
// Run returns no process of the job is left. Several jobs may run at a time.
func (j Job) Run(ctx context.Context) (int, error) {
	if j.Temp != "" {
		defer os.RemoveAll(j.Temp)
	}
	if err := j.complete(); err != nil {
		return codeUsage, err
	}
	if ctx.Err() != nil {
		return codeFail, cancelled(ctx)
	}
	s, err := start(&j)
	if err != nil {
		return codeStart, err
	}
	s.supervise(ctx)
	return s.finish()
}

// complete checks the fields and puts in the defaults.
func (j *Job) complete() error {
	if j.N < 1 || j.N > MaxRanks {
		return &ArgError{Field: "N", Got: strconv.Itoa(j.N), Want: fmt.Sprintf("1 to %d ranks", MaxRanks)}
	}
	if j.Grace < 0 {
		return &ArgError{Field: "Grace", Got: j.Grace.String(), Want: "no negative time"}
	}
	if j.Bind < BindAuto || j.Bind > BindNone {
		return &ArgError{Field: "Bind", Got: strconv.Itoa(int(j.Bind)), Want: "BindAuto, BindCore or BindNone"}
	}
	if j.Dir != "" {
		if info, err := os.Stat(j.Dir); err != nil || !info.IsDir() {
			return &ArgError{Field: "Dir", Got: j.Dir, Want: "a folder", Err: err}
		}
	}
	path, err := resolve(j.Path)
	if err != nil {
		return err
	}
	j.Path = path
	if j.Grace == 0 {
		j.Grace = DefaultGrace
	}
	if j.Env == nil {
		j.Env = os.Environ()
	}
	return nil
}

// resolve returns the absolute path of an executable file.
func resolve(path string) (string, error) {
	found, err := exec.LookPath(path)
	if err == nil {
		found, err = filepath.Abs(found)
	}
	if err == nil {
		return found, nil
	}
	want := "an executable file"
	switch {
	case path == "":
		want = "a program"
	case errors.Is(err, fs.ErrPermission):
		want = "a file that may be executed"
	case errors.Is(err, exec.ErrNotFound):
		want = "a program in PATH, or a path with a '/'"
	case errors.Is(err, fs.ErrNotExist):
		want = "a file that exists"
	case errors.Is(err, exec.ErrDot):
		want = "a path with a '/', as the program is in the current folder"
	}
	return "", &ArgError{Field: "Path", Got: path, Want: want, Err: err}
}

func cancelled(ctx context.Context) error {
	return fmt.Errorf("launch: the job was ended: %w", context.Cause(ctx))
}
