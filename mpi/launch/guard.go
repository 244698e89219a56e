package launch

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

const guardShell = "/bin/sh"

// guardScript waits for the death of the launcher, which is the end of its
// standard input. It then kills what the job $1 has running, also outside the
// process group, removes the folder $2, and kills the group with itself.
const guardScript = `
trap '' HUP INT QUIT TERM USR1 USR2 TSTP TTIN TTOU
read -r line
for round in 1 2 3; do
	for file in $(grep -lszxF "` + jobVariable + `=$1" /proc/[0-9]*/environ); do
		pid=${file#/proc/}
		kill -KILL "${pid%/environ}"
	done
done
if [ -n "$2" ]; then rm -rf -- "$2"; fi
kill -KILL 0
`

// guard is the process that leads the process group of a job and outlives a
// launcher that is killed. Its number stays taken until it is reaped, so the
// group cannot be mistaken for another.
type guard struct {
	cmd   *exec.Cmd
	life  *os.File      // the pipe whose end tells it of our death
	pulse *os.File      // the pipe whose end tells us of its death
	dead  chan struct{} // closed at its death
}

// startGuard starts the guard of a job.
func startGuard(id, temp string) (*guard, error) {
	if temp != "" {
		abs, err := filepath.Abs(temp)
		if err != nil {
			return nil, err
		}
		temp = abs
	}
	in, life, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	pulse, out, err := os.Pipe()
	if err != nil {
		life.Close()
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(guardShell, "-c", guardScript, "outboard-guard", id, temp)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin"}
	cmd.Stdin, cmd.Stdout = in, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		life.Close()
		pulse.Close()
		return nil, err
	}
	g := &guard{cmd, life, pulse, make(chan struct{})}
	go func() {
		pulse.Read(make([]byte, 1)) // it writes nothing: this is the end
		close(g.dead)
	}()
	return g, nil
}

// group returns the process group of the job.
func (g *guard) group() int { return g.cmd.Process.Pid }

// signal sends a signal to all processes of the group. The guard ignores those
// that can be ignored.
func (g *guard) signal(s syscall.Signal) { unix.Kill(-g.group(), s) }

// dismiss kills what is left of the group, and the guard.
func (g *guard) dismiss() {
	g.signal(unix.SIGKILL)
	g.cmd.Wait()
	g.life.Close()
	g.pulse.Close()
	<-g.dead
}
