package peers

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
)

// A library is an MPI implementation as Debian installs it.
type library struct {
	name     string
	title    string
	compiler string
	launcher string
	packages string
	pinned   []string // launcher arguments while there is a core for each rank
	crowded  []string // and when there is not
	env      []string
}

var libraries = []library{
	{
		name: "openmpi", title: "Open MPI", compiler: "mpicc.openmpi", launcher: "mpirun.openmpi",
		packages: "openmpi-bin libopenmpi-dev",
		pinned:   []string{"--bind-to", "core"},
		crowded:  []string{"--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1"},
		// Without these, Open MPI refuses to run as root, as in a container.
		env: []string{"OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"},
	},
	{
		name: "mpich", title: "MPICH", compiler: "mpicc.mpich", launcher: "mpiexec.mpich",
		packages: "mpich libmpich-dev",
		pinned:   []string{"-bind-to", "core"},
		crowded:  []string{"-bind-to", "none"},
	},
}

// ErrAbsent is wrapped by errors about a library that is not installed.
var ErrAbsent = errors.New("not installed")

// installed reports whether the library's commands are in PATH.
func (l *library) installed() error {
	for _, command := range []string{l.launcher, l.compiler} {
		if _, err := exec.LookPath(command); err != nil {
			return fmt.Errorf("%s: %w: there is no %s in PATH; run bench/peers/install.sh, or apt-get install %s",
				l.title, ErrAbsent, command, l.packages)
		}
	}
	return nil
}

var versionNumber = regexp.MustCompile(`[0-9]+\.[0-9]+(\.[0-9]+)*`)

// version asks the launcher.
func (l *library) version(ctx context.Context) (string, error) {
	out, err := output(ctx, l.env, l.launcher, "--version")
	if err != nil {
		return "", err
	}
	number := versionNumber.FindString(string(out))
	if number == "" {
		return "", fmt.Errorf("%s --version names no version", l.launcher)
	}
	return number, nil
}

// arguments returns the launcher's arguments before the program.
func (l *library) arguments(ranks int, extra string) []string {
	args := l.pinned
	if ranks > runtime.NumCPU() {
		args = l.crowded
	}
	args = append([]string(nil), args...)
	args = append(args, strings.Fields(extra)...)
	return append(args, "-n", fmt.Sprint(ranks))
}
