package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// built is a program that was built for this one run.
type built struct {
	program string
	temp    string // the folder that holds it, and nothing of anybody else
}

// buildError is a Go package that could not be built.
type buildError struct {
	source string
	output []byte // what go build printed
	err    error
}

func (e *buildError) Error() string { return fmt.Sprintf("cannot build %s: %v", e.source, e.err) }
func (e *buildError) Unwrap() error { return e.err }

// interruptedError is a signal that came during the build.
type interruptedError struct{ signal syscall.Signal }

func (e *interruptedError) Error() string {
	return "the build was ended by " + unix.SignalName(e.signal)
}

// isGo reports whether a path names Go source: a folder or a .go file.
func isGo(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	return info.IsDir() || info.Mode().IsRegular() && strings.HasSuffix(path, ".go")
}

// build builds a main package into a folder of its own, which the caller
// removes. A signal ends it.
func build(source string, signals <-chan os.Signal) (b built, err error) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		return b, &buildError{source: source, err: errors.New("the go command is not in PATH")}
	}
	temp, err := os.MkdirTemp("", "outboard-run-")
	if err != nil {
		return b, &buildError{source: source, err: err}
	}
	defer func() {
		if err != nil {
			os.RemoveAll(temp)
		}
	}()
	dir, target := source, "."
	if info, err := os.Stat(source); err == nil && !info.IsDir() {
		dir, target = filepath.Dir(source), filepath.Base(source)
	}
	b = built{filepath.Join(temp, programName(source)), temp}
	var output bytes.Buffer
	cmd := exec.Command(goTool, "build", "-o", b.program, target)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOTMPDIR="+temp)
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := await(cmd, signals); err != nil {
		return b, &buildError{source, output.Bytes(), err}
	}
	if info, err := os.Stat(b.program); err != nil || info.Mode()&0o111 == 0 {
		return b, &buildError{source, nil, errors.New("it is no main package")}
	}
	return b, nil
}

// programName is what the ranks are called: as `go build` would call them.
func programName(source string) string {
	abs, err := filepath.Abs(source)
	name := strings.TrimSuffix(filepath.Base(abs), ".go")
	if err != nil || name == "" || name == string(filepath.Separator) {
		return "program"
	}
	return name
}

// await runs a command to its end, or until a signal ends it.
func await(cmd *exec.Cmd, signals <-chan os.Signal) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return err
	case sig := <-signals:
		cmd.Process.Signal(unix.SIGINT) // go build tidies up after itself
		<-ended
		return &interruptedError{sig.(syscall.Signal)}
	}
}

// failBuild reports a build that failed and returns the exit code.
func failBuild(std stdio, err error) int {
	var stopped *interruptedError
	if errors.As(err, &stopped) {
		fmt.Fprintf(std.err, "outboard: %v\n", stopped)
		return 128 + int(stopped.signal)
	}
	var failed *buildError
	if errors.As(err, &failed) {
		std.err.Write(failed.output)
	}
	fmt.Fprintf(std.err, "outboard: run: %v\n", err)
	return exitFail
}
