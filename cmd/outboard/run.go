package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"outboard/mpi/launch"
)

func init() {
	commands = append(commands, command{
		name:    "run",
		args:    "-n N [flags] PROGRAM [arguments]",
		summary: "Start N ranks of a program, or of a Go main package given as a folder or a .go file",
		run:     run,
	})
}

// run starts a job and returns its exit code.
func run(std stdio, args []string) int {
	job, code, ok := parseRun(std, args)
	if !ok {
		return code
	}
	// A signal in between building and running waits here for the ranks.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	defer signal.Stop(signals)
	if isGo(job.Path) {
		built, err := build(job.Path, signals)
		if err != nil {
			return failBuild(std, err)
		}
		job.Path, job.Temp = built.program, built.temp
	}
	signal.Notify(signals, unix.SIGUSR1, unix.SIGUSR2, unix.SIGTSTP, unix.SIGCONT)
	signal.Ignore(unix.SIGTTIN) // in the background the terminal reads as empty
	defer signal.Reset(unix.SIGTTIN)
	job.Signals = signals
	job.Stdin, job.Stdout, job.Stderr = std.in, std.out, std.err
	code, err := job.Run(context.Background())
	report(std, err)
	return code
}

// parseRun reads the command line. When ok is false the command ends with the
// code.
func parseRun(std stdio, args []string) (job launch.Job, code int, ok bool) {
	job.N, job.Env = 1, os.Environ()
	fs := newFlags("run")
	setRanks := func(s string) (err error) {
		job.N, err = parseRanks(s)
		return err
	}
	setVariable := func(s string) error {
		if name, _, ok := strings.Cut(s, "="); !ok || name == "" {
			return errors.New("want NAME=VALUE")
		}
		job.Env = append(job.Env, s)
		return nil
	}
	fs.Func("n", "start `N` ranks (default 1)", setRanks)
	fs.Func("np", "the same as -n `N`", setRanks)
	fs.TextVar(&job.Bind, "bind", launch.BindAuto, "bind each rank to CPUs of its own: core, none, or auto: core if there are enough")
	fs.BoolVar(&job.TagOutput, "tag", false, "put [rank] in front of each line of output")
	fs.StringVar(&job.Dir, "dir", "", "run the ranks in this `folder`")
	fs.Func("env", "give the ranks a variable, as `NAME=VALUE`; may be repeated", setVariable)
	fs.DurationVar(&job.Grace, "grace", launch.DefaultGrace, "when a rank fails, let the others report and exit for so long, then kill them")
	if code, ok = parse(std, fs, args); !ok {
		return job, code, false
	}
	if fs.NArg() == 0 {
		return job, complain(std, "run: no program; `outboard help run` shows the usage"), false
	}
	job.Path, job.Args = fs.Arg(0), fs.Args()[1:]
	return job, exitOK, true
}

// parseRanks reads a number of ranks.
func parseRanks(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > launch.MaxRanks {
		return 0, fmt.Errorf("want a number from 1 to %d", launch.MaxRanks)
	}
	return n, nil
}

// report says why a job has failed.
func report(std stdio, err error) {
	var rank *launch.RankError
	var arg *launch.ArgError
	switch {
	case err == nil:
	case errors.As(err, &rank):
		fmt.Fprintf(std.err, "outboard: %s\n", rank.Report())
	case errors.As(err, &arg) && arg.Field == "Path":
		complain(std, "run: program %q: want %s", arg.Got, arg.Want)
	case errors.As(err, &arg):
		complain(std, "run: -%s %s: want %s", strings.ToLower(arg.Field), arg.Got, arg.Want)
	default:
		fmt.Fprintf(std.err, "outboard: %s\n", strings.TrimPrefix(err.Error(), "launch: "))
	}
}
