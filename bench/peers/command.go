package peers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// A CommandError says how a command of a peer failed.
type CommandError struct {
	Command string // the command line, its middle left out if it is long
	Err     error  // an *exec.ExitError, or the context's error
	Stderr  string // the end of what the command wrote there
}

func (e *CommandError) Error() string {
	text := fmt.Sprintf("%s: %v", e.Command, e.Err)
	if e.Stderr != "" {
		text += "\n" + e.Stderr
	}
	return text
}

func (e *CommandError) Unwrap() error { return e.Err }

const (
	// grace is what a launcher has to end its ranks before it is killed.
	grace = 3 * time.Second
	// Output beyond these is dropped, in bytes.
	maxOutput = 1 << 20
	maxStderr = 4 << 10
	// maxCommand is what an error shows of a command line, in bytes.
	maxCommand = 400
)

// output runs a command and returns its standard output. When ctx ends, or this process dies, the command's process group is told
// to end, and killed if it does not.
func output(ctx context.Context, env []string, name string, args ...string) ([]byte, error) {
	// The kernel sends Pdeathsig when the thread that started the command ends, so that thread has to outlive it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	stdout, stderr := &head{limit: maxOutput}, &tail{limit: maxStderr}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace

	err := cmd.Run()
	if cmd.Process != nil {
		// Nothing of the group may stay, whatever became of its leader; as a rule it is empty.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		command := strings.Join(append([]string{name}, args...), " ")
		if len(command) > maxCommand {
			command = command[:maxCommand/2] + " … " + command[len(command)-maxCommand/2:]
		}
		return nil, &CommandError{Command: command, Err: err, Stderr: strings.TrimSpace(string(stderr.kept))}
	}
	return stdout.kept, nil
}

// head keeps the first bytes written to it, tail the last ones.
type head struct {
	kept  []byte
	limit int
}

func (h *head) Write(p []byte) (int, error) {
	h.kept = append(h.kept, p[:min(len(p), h.limit-len(h.kept))]...)
	return len(p), nil
}

type tail struct {
	kept  []byte
	limit int
}

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - t.limit; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}
