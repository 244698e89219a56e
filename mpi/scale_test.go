package mpi_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"outboard/mpi"
)

// solve is the skeleton of an iterative solver: ghost cells with the neighbours, then a scalar product.
func solve(world *mpi.Comm) error {
	r, n := world.Rank(), world.Size()
	next, before := (r+1)%n, (r+n-1)%n
	cells, ghost := make([]float64, 100), make([]float64, 100)
	for i := range 30 {
		fill(cells, r+i)
		if _, err := mpi.Sendrecv(world, cells, next, i, ghost, before, i); err != nil {
			return err
		}
		if err := check(ghost, before+i); err != nil {
			return err
		}
		sum := []int{r + i}
		if err := mpi.AllreduceInPlace(world, sum, mpi.Sum); err != nil {
			return err
		}
		if want := n*(n-1)/2 + n*i; sum[0] != want {
			return fmt.Errorf("the sum is %d, want %d", sum[0], want)
		}
	}
	return nil
}

// Far more ranks than processors.
func TestManyRanks(t *testing.T) {
	promptly(t)
	if err := mpi.Run(200, solve); err != nil {
		t.Error(err)
	}
}

func TestManyProcesses(t *testing.T) {
	promptly(t)
	if code, text, err := launched(t, "solve", 32); code != 0 {
		t.Errorf("%v\n%s", err, text)
	}
}

// cpu is the processor time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// idle lets all ranks wait for rank 0, which sleeps, in a receive and in a barrier.
func idle(world *mpi.Comm) error {
	sends := func() error {
		var errs []error
		for r := 1; r < world.Size(); r++ {
			errs = append(errs, mpi.Send(world, []int{1}, r, 0))
		}
		return errors.Join(errs...)
	}
	receive := func() error { _, err := mpi.Recv(world, make([]int, 1), 0, 0); return err }
	for _, k := range []struct{ end, wait func() error }{{sends, receive}, {world.Barrier, world.Barrier}} {
		if err := world.Barrier(); err != nil {
			return err
		}
		before, start := cpu(), time.Now()
		if world.Rank() > 0 {
			if err := k.wait(); err != nil {
				return err
			}
			if used, waited := cpu()-before, time.Since(start); used > waited/5 {
				return fmt.Errorf("used %v of processor time in a wait of %v", used, waited)
			}
			continue
		}
		time.Sleep(time.Second)
		if err := k.end(); err != nil {
			return err
		}
	}
	return nil
}

// Ranks that wait long leave the processors to others.
func TestIdle(t *testing.T) {
	if code, text, err := launched(t, "idle", 4); code != 0 {
		t.Errorf("%v\n%s", err, text)
	}
}

// computeUntil computes without a call of mpi until done.
func computeUntil(done func() bool) error {
	x := 1.0
	for start := time.Now(); !done(); {
		for range 1_000_000 {
			x = x*0.999999 + 1e-6
		}
		if time.Since(start) > 20*time.Second {
			return fmt.Errorf("no progress while the host computes (%v)", x)
		}
	}
	return nil
}

// progress has rank 1 post a long receive, and a part in a collective that a goroutine waits for, and then compute until
// rank 0 says, by other means than mpi, that both have ended there.
func progress(world *mpi.Comm, done func() bool, tell func() error) error {
	d, err := world.Dup()
	if err != nil {
		return err
	}
	long := make([]float64, 200_000)
	sum := make([]float64, 50_000)
	if world.Rank() == 0 {
		fill(long, 3)
		if err := mpi.Send(world, long, 1, 5); err != nil {
			return err
		}
		return errors.Join(mpi.AllreduceInPlace(d, sum, mpi.Sum), tell())
	}
	q, err := mpi.Irecv(world, long, 0, 5)
	if err != nil {
		return err
	}
	all := make(chan error, 1)
	go func() { all <- mpi.AllreduceInPlace(d, sum, mpi.Sum) }()
	if err := computeUntil(done); err != nil {
		return err
	}
	if _, err := q.Wait(bg); err != nil {
		return err
	}
	return errors.Join(<-all, check(long, 3))
}

func TestProgress(t *testing.T) {
	promptly(t)
	for _, w := range worlds {
		t.Run(w.name, func(t *testing.T) {
			var ended atomic.Bool
			err := w.run(2, func(c *mpi.Comm) error {
				return progress(c, ended.Load, func() error { ended.Store(true); return nil })
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func progressBetweenProcesses(world *mpi.Comm) error {
	flag := os.Getenv("OUTBOARD_TEST_FLAG")
	return progress(world,
		func() bool { _, err := os.Stat(flag); return err == nil },
		func() error { return os.WriteFile(flag, nil, 0o600) })
}

func TestProgressBetweenProcesses(t *testing.T) {
	promptly(t)
	for _, procs := range []string{"GOMAXPROCS=1", "GOMAXPROCS=2"} {
		t.Run(procs, func(t *testing.T) {
			flag := filepath.Join(t.TempDir(), "ended")
			if code, text, err := launched(t, "progress", 2, procs, "OUTBOARD_TEST_FLAG="+flag); code != 0 {
				t.Errorf("%v\n%s", err, text)
			}
		})
	}
}

// Every rank in turn hears of all the others for the first time, more of them than a port looks at one by one.
func TestFanIn(t *testing.T) {
	promptly(t)
	for _, w := range worlds {
		t.Run(w.name, func(t *testing.T) {
			err := w.run(24, func(c *mpi.Comm) error {
				mine, all := make([]int, 127), make([]int, 127*c.Size())
				for root := range c.Size() {
					if err := mpi.Gather(c, mine, all, root); err != nil {
						return err
					}
					if err := mpi.Scatter(c, all, mine, root); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}
