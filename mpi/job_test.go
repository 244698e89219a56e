package mpi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"outboard/mpi"
	"outboard/mpi/launch"
)

// programs are what the test binary can be as a rank, besides the workers of TestKill: each a whole main.
var programs = map[string]func(){
	"solve":    func() { mpi.Main(solve) },
	"idle":     func() { mpi.Main(idle) },
	"progress": func() { mpi.Main(progressBetweenProcesses) },
	"fail": func() {
		mpi.Main(func(world *mpi.Comm) error {
			if world.Rank() == 1 {
				return errors.New("the matrix is singular")
			}
			return waitInSomeWay(world)
		})
	},
	"panic": func() {
		mpi.Main(func(world *mpi.Comm) error {
			if world.Rank() == 1 {
				panic("index out of luck")
			}
			return waitInSomeWay(world)
		})
	},
	"disagree": func() {
		mpi.Main(func(world *mpi.Comm) error {
			return errors.Join(mpi.AllreduceInPlace(world, make([]int, 10+world.Rank()/2), mpi.Sum), world.Barrier())
		})
	},
	"finish early": func() {
		mpi.Main(func(world *mpi.Comm) error {
			if world.Rank() == 1 {
				time.Sleep(50 * time.Millisecond)
				return errors.New("late trouble")
			}
			return nil // and waits in Finalize
		})
	},
	"abort": func() {
		mpi.Main(func(world *mpi.Comm) error {
			if world.Rank() == 1 {
				world.Abort(7)
			}
			return waitInSomeWay(world)
		})
	},
	"abort with 0": func() {
		mpi.Main(func(world *mpi.Comm) error {
			world.Abort(0)
			return nil
		})
	},
	"leave a receive": func() {
		mpi.Main(func(world *mpi.Comm) error {
			if world.Rank() == 0 {
				_, err := mpi.Irecv(world, make([]int, 3), 1, 9)
				return err
			}
			return nil
		})
	},
	"leave a message": func() {
		mpi.Main(func(world *mpi.Comm) error {
			if world.Rank() == 1 {
				if err := mpi.Send(world, []int16{1, 2, 3}, 0, 11); err != nil {
					return err
				}
			}
			return world.Barrier()
		})
	},
	"init and finalize": initAndFinalize,
	"survive":           func() { mpi.Main(survive) },
	"exit": func() {
		if _, err := mpi.Init(); err != nil {
			os.Exit(1) // another has left before
		}
	},
}

// waitInSomeWay waits for what never comes.
func waitInSomeWay(world *mpi.Comm) error {
	switch world.Rank() % 3 {
	case 0:
		return world.Barrier()
	case 1:
		_, err := world.Probe(mpi.AnySource, mpi.AnyTag)
		return err
	}
	_, err := mpi.Recv(world, make([]int, 1), 0, 0)
	return err
}

// initAndFinalize calls them too often and in the wrong order.
func initAndFinalize() {
	complain := func(err error) {
		if err != nil {
			fmt.Println(err)
			os.Exit(5)
		}
	}
	complain(expect(mpi.Finalize(), mpi.ErrInit, "Init was not called"))
	world, err := mpi.Init()
	complain(err)
	_, err = mpi.Init()
	complain(expect(err, mpi.ErrInit, "called before"))
	complain(world.Barrier())
	complain(mpi.Finalize())
	complain(expect(mpi.Finalize(), mpi.ErrInit))
	if world.Barrier() == nil && world.Size() > 1 {
		complain(errors.New("a barrier after Finalize"))
	}
	_, err = mpi.Init()
	complain(expect(err, mpi.ErrLaunch, "Init")) // a rank joins its job once
}

// output collects what ranks print.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

// launched runs a program as a job of n processes.
func launched(t *testing.T, program string, n int, env ...string) (code int, text string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(bg, time.Minute)
	defer cancel()
	var out output
	job := launch.Job{N: n, Path: os.Args[0], Env: append(append(os.Environ(), workerEnv+"="+program), env...), Stdout: &out, Stderr: &out}
	code, err = job.Run(ctx)
	if ctx.Err() != nil {
		t.Fatalf("%s hangs:\n%s", program, out.text.String())
	}
	return code, out.text.String(), err
}

// Ends of jobs: the exit code, whom the launcher blames, and what is printed: the culprit's words, and no others'.
func TestJobs(t *testing.T) {
	cases := []struct {
		program string
		code    int
		rank    int // that the launcher blames, -1 for none
		lines   []string
	}{
		{"init and finalize", 0, -1, nil},
		{"fail", 1, 1, []string{"the matrix is singular"}},
		{"panic", 1, 1, []string{"index out of luck", "job_test.go"}},
		{"finish early", 1, 1, []string{"late trouble"}},
		{"abort", 7, 1, []string{}},
		{"abort with 0", 1, -2, []string{}},
		{"leave a receive", 1, 0, []string{"operations still pending", "Irecv made at", "job_test.go", "peer 1", "tag 9", "count 3"}},
		{"leave a message", 1, 0, []string{"operations still pending", "message of 6 bytes was never received", "peer 1", "tag 11"}},
		{"exit", 1, -2, []string{}},
	}
	for _, k := range cases {
		t.Run(k.program, func(t *testing.T) {
			code, text, err := launched(t, k.program, 4)
			var re *launch.RankError
			if code != k.code || errors.As(err, &re) != (k.rank != -1) || k.rank >= 0 && re.Rank != k.rank {
				t.Errorf("ended with %d, %v: want %d by rank %d", code, err, k.code, k.rank)
			}
			for _, line := range k.lines {
				if !strings.Contains(text, line) {
					t.Errorf("%q is not in the output", line)
				}
			}
			if len(k.lines) == 0 && text != "" || len(k.lines) > 0 && k.program != "panic" && strings.Count(text, "\n") != 1 {
				t.Error("there is more in the output than there should be")
			}
			if n := strings.Count(text, "aborted"); n > 0 && k.program != "panic" || n > 1 {
				t.Error("ranks print what was not their fault")
			}
			if t.Failed() {
				t.Logf("output:\n%s", text)
			}
		})
	}
}

// Counts that disagree between processes: whoever noticed says so.
func TestJobDisagrees(t *testing.T) {
	code, text, err := launched(t, "disagree", 4)
	if code != 1 || err == nil || !strings.Contains(text, mpi.ErrCount.Error()) || !strings.Contains(text, "Allreduce on world") {
		t.Errorf("ended with %d, %v\n%s", code, err, text)
	}
}

// The same under MPICH's launcher.
func TestHydra(t *testing.T) {
	hydra, err := exec.LookPath("mpiexec.hydra")
	if err != nil {
		t.Log("no mpiexec.hydra here: our own launcher stands for it")
	}
	for _, k := range []struct {
		program string
		code    int
	}{{"solve", 0}, {"init and finalize", 0}, {"fail", 1}, {"abort", 7}} {
		t.Run(k.program, func(t *testing.T) {
			if hydra == "" {
				if code, text, _ := launched(t, k.program, 3); code != k.code {
					t.Errorf("exit code %d, want %d\n%s", code, k.code, text)
				}
				return
			}
			ctx, cancel := context.WithTimeout(bg, time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, hydra, "-n", "3", os.Args[0])
			cmd.Env = append(os.Environ(), workerEnv+"="+k.program)
			text, err := cmd.CombinedOutput()
			if ctx.Err() != nil || cmd.ProcessState.ExitCode() != k.code {
				t.Errorf("ended with %v, want exit code %d\n%s", err, k.code, text)
			}
		})
	}
}

// A process that nobody launched is a world of one, as often as it likes.
func TestSingleton(t *testing.T) {
	if err := expect(mpi.Finalize(), mpi.ErrInit); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		world, err := mpi.Init()
		if err != nil {
			t.Fatal(err)
		}
		if world.Rank() != 0 || world.Size() != 1 {
			t.Errorf("rank %d of %d", world.Rank(), world.Size())
		}
		_, err = mpi.Init()
		if err := errors.Join(expect(err, mpi.ErrInit), exercise[float64](world, 1000, 0, []int{0})); err != nil {
			t.Error(err)
		}
		in := make([]int, 1)
		if _, err := mpi.Sendrecv(world, []int{5}, 0, 1, in, 0, 1); err != nil || in[0] != 5 {
			t.Errorf("a message to oneself: %v, %v", in, err)
		}
		if err := mpi.Finalize(); err != nil {
			t.Fatal(err)
		}
	}
	world, err := mpi.Init()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mpi.Irecv(world, make([]int, 1), 0, 4); err != nil {
		t.Fatal(err)
	}
	if err := expect(mpi.Finalize(), mpi.ErrPending, "Irecv made at", "tag 4"); err != nil {
		t.Error(err)
	}
}

// A launcher's environment that makes no sense is an error of Init.
func TestInitEnvironment(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"no descriptor": {"PMI_FD": "x", "PMI_RANK": "0", "PMI_SIZE": "1"},
		"not open":      {"PMI_FD": "999", "PMI_RANK": "0", "PMI_SIZE": "1"},
		"rank too high": {"PMI_FD": "3", "PMI_RANK": "2", "PMI_SIZE": "2"},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range env {
				t.Setenv(k, v)
			}
			_, err := mpi.Init()
			if err := expect(err, mpi.ErrLaunch, "Init", "PMI_"); err != nil {
				t.Error(err)
			}
		})
	}
}

// Abort in a world of goroutines ends every operation of it, on every rank, and the world's name for it is the caller's.
func TestAbortRun(t *testing.T) {
	promptly(t)
	for _, w := range worlds {
		t.Run(w.name, func(t *testing.T) {
			errs := make([]error, 5)
			err := w.run(5, func(c *mpi.Comm) error {
				d, err := c.Split(c.Rank()%2, 0) // rank 1 has no part in the even one
				switch {
				case c.Rank() == 1:
					c.Abort(3)
				case err != nil: // rank 1 had its part before
					errs[c.Rank()] = err
				default:
					errs[c.Rank()] = waitInSomeWay(either(c.Rank() == 3, c, d))
				}
				return nil
			})
			if err := expect(err, mpi.ErrAborted, "Abort on world, rank 1", "code 3"); err != nil {
				t.Error(err)
			}
			for _, r := range []int{0, 2, 3, 4} {
				if err := expect(errs[r], mpi.ErrAborted, "rank 1"); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
