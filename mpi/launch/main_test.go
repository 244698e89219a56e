package launch

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"outboard/mpi/internal/pmi"
)

// roleVariable makes the test binary play a part as a rank, or as a launcher.
const roleVariable = "LAUNCH_TEST_ROLE"

func TestMain(m *testing.M) {
	if role, ok := os.LookupEnv(roleVariable); ok {
		os.Exit(roles[role](os.Args[1:]))
	}
	// Under nohup SIGHUP is ignored, and ranks would inherit that; of a handler they inherit nothing.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent())
}

// quickExit keeps the race detector from sleeping in processes that exit.
const quickExit = "GORACE=atexit_sleep_ms=0"

// patience bounds every wait of a test that could hang.
const patience = 20 * time.Second

// testJob is a job whose ranks play a role; its output goes to the buffers.
func testJob(n int, role string, args ...string) (job Job, stdout, stderr *bytes.Buffer) {
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	return Job{
		N: n, Path: os.Args[0], Args: args,
		Env:    append(os.Environ(), roleVariable+"="+role, quickExit),
		Stdout: stdout, Stderr: stderr,
		Grace: 300 * time.Millisecond,
	}, stdout, stderr
}

// run runs a job and complains if it takes too long.
func run(t *testing.T, job Job) (int, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	code, err := job.Run(ctx)
	if ctx.Err() != nil {
		t.Fatalf("the job takes longer than %v", patience)
	}
	if (code == 0) != (err == nil) {
		t.Errorf("code %d with error %v", code, err)
	}
	return code, err
}

// roles are what ranks do in tests. The result is the exit code.
var roles = map[string]func(args []string) int{
	// print: each argument is a line, %d standing for the rank.
	"print": func(args []string) int {
		for _, a := range args {
			fmt.Println(strings.ReplaceAll(a, "%d", os.Getenv("PMI_RANK")))
		}
		return 0
	},
	// lines: N times a long line on each stream.
	"lines": func(args []string) int {
		n, _ := strconv.Atoi(args[0])
		line := strings.Repeat(os.Getenv("PMI_RANK"), 3000)
		for range n {
			fmt.Println(line)
			fmt.Fprintln(os.Stderr, line)
		}
		return 0
	},
	// raw: the arguments without a newline.
	"raw": func(args []string) int {
		fmt.Print(strings.Join(args, " "))
		return 0
	},
	// cat: what comes in goes out.
	"cat": func([]string) int {
		n, err := io.Copy(os.Stdout, os.Stdin)
		fmt.Fprintf(os.Stderr, "%s: %d bytes, %v\n", os.Getenv("PMI_RANK"), n, err)
		return 0
	},
	// env: the variables that are named.
	"env": func(args []string) int {
		for _, name := range args {
			value, ok := os.LookupEnv(name)
			fmt.Println(os.Getenv("PMI_RANK"), name, value, ok)
		}
		return 0
	},
	// pwd: the working folder.
	"pwd": func([]string) int {
		dir, err := os.Getwd()
		fmt.Println(dir, err)
		return 0
	},
	// cpus: the CPUs that the rank may use.
	"cpus": func([]string) int {
		fmt.Println(os.Getenv("PMI_RANK"), allowedCPUs(os.DirFS("/sys")))
		return 0
	},
	// act: "rank=deed" for some ranks; the others wait as "wait" does.
	"act": func(args []string) int {
		for _, a := range args {
			if deed, ok := strings.CutPrefix(a, os.Getenv("PMI_RANK")+"="); ok {
				return act(deed)
			}
		}
		return act("wait")
	},
	// launcher: runs a job of two ranks that act as told, with a Temp folder.
	"launcher": func(args []string) int {
		job, _, _ := testJob(2, "act", args[1:]...)
		job.Temp, job.Stdout, job.Stderr = args[0], os.Stdout, os.Stderr
		signals := make(chan os.Signal, 8)
		signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1, unix.SIGTSTP, unix.SIGCONT)
		job.Signals = signals
		code, err := job.Run(context.Background())
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return code
	},
}

// act does one of the deeds of a rank.
func act(deed string) int {
	verb, arg, _ := strings.Cut(deed, ":")
	n, _ := strconv.Atoi(arg)
	switch verb {
	case "exit":
		return n
	case "say":
		fmt.Println(arg)
		return 0
	case "fail": // with so many lines of last words
		for i := range n {
			fmt.Println("last words", i)
		}
		return 5
	case "kill":
		unix.Kill(os.Getpid(), syscall.Signal(n))
	case "stubborn": // neither PMI nor SIGTERM ends it
		signal.Ignore(unix.SIGTERM, unix.SIGINT)
		fmt.Println("ready")
		time.Sleep(time.Hour)
	case "group": // tells its process group, whose leader is the guard
		fmt.Println("group", unix.Getpgrp())
	case "sleep": // as a program that does not handle signals
		fmt.Println(unix.Exec("/bin/sh", []string{"sh", "-c", "echo ready; exec sleep 3600"}, os.Environ()))
		return 95
	case "babble": // what is no PMI, and stay
		unix.Write(pmiFD, []byte("hello\n"))
	case "counting": // says which signals it gets, until SIGUSR2
		return count()
	case "child", "daemon": // leaves a process running, in its group or in a session of its own
		child := exec.Command("sleep", "3600")
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: verb == "daemon"}
		if err := child.Start(); err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println("child", child.Process.Pid)
		if arg == "wait" {
			time.Sleep(time.Hour)
		}
		return n
	default:
		return actPMI(verb, n)
	}
	time.Sleep(time.Hour) // until the signal arrives
	return 0
}

// count prints the signals that arrive.
func count() int {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2)
	fmt.Println("ready")
	for s := range signals {
		fmt.Println(unix.SignalName(s.(syscall.Signal)))
		if s == unix.SIGUSR2 {
			break
		}
	}
	return 0
}

// actPMI does one of the deeds that concern PMI.
func actPMI(verb string, n int) int {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, found, err := pmi.FromEnv()
	if err != nil || !found {
		fmt.Println("FromEnv:", found, err)
		return 99
	}
	switch verb {
	case "wait": // for the end of the job, and report it
		<-c.Done()
		fmt.Printf("rank %d: %v\n", c.Rank, c.Err())
		return 98
	case "meet": // and then exit with a code, or wait for the end of the job
		if err = c.Barrier(ctx); err == nil && n != 0 {
			return n
		}
		<-c.Done()
		fmt.Printf("rank %d: %v\n", c.Rank, c.Err())
		return 98
	case "hang": // in a barrier
		err = c.Barrier(ctx)
		fmt.Printf("rank %d: %v\n", c.Rank, err)
		return 97
	case "abort":
		c.Abort(n)
		return n
	case "abortwait":
		c.Abort(n)
		time.Sleep(time.Hour)
	case "leave": // without finalizing
		return 0
	case "ring": // all ranks exchange their numbers
		return ring(ctx, c)
	case "finalize":
		if err = c.Finalize(ctx); err == nil {
			return n
		}
	}
	fmt.Println(verb, err)
	return 96
}

// ring puts, meets and gets.
func ring(ctx context.Context, c *pmi.Client) int {
	err := c.Put(ctx, fmt.Sprint("n", c.Rank), fmt.Sprint(c.Rank*c.Rank))
	if err == nil {
		err = c.Barrier(ctx)
	}
	value := ""
	if err == nil {
		value, err = c.Get(ctx, fmt.Sprint("n", (c.Rank+1)%c.Size))
	}
	if err == nil {
		err = c.Finalize(ctx)
	}
	fmt.Println(c.Rank, value, err)
	if err != nil {
		return 1
	}
	return 0
}

// alive reports whether a process exists and is no zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}

// waitUntil polls until f holds.
func waitUntil(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long: %s", what)
		}
	}
}
