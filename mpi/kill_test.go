package mpi_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"outboard/mpi"
	"outboard/mpi/launch"
)

var kills = flag.Int("kills", 100, "how often TestKill kills a rank")

// workerEnv makes the test binary a rank of a job.
const workerEnv = "OUTBOARD_TEST_WORKER"

var workers = map[string]func(world *mpi.Comm) error{
	"communicate": communicate,
	"compute":     compute,
}

// runWorker is the rank's main.
func runWorker(name string) int {
	world, err := mpi.Init()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Printf("rank %d pid %d\n", world.Rank(), os.Getpid())
	if err := workers[name](world); err != nil {
		fmt.Printf("rank %d error %d %v\n", world.Rank(), time.Now().UnixNano(), strings.ReplaceAll(err.Error(), "\n", " | "))
		return 3
	}
	if err := mpi.Finalize(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// communicate calls everything that waits, for ever.
func communicate(world *mpi.Comm) error {
	r, n := world.Rank(), world.Size()
	small, large := make([]float64, 4), make([]float64, 40000)
	out := make([]float64, len(large))
	blocks := make([]float64, 100*n)
	for i := 0; ; i++ {
		buf := small
		if i%3 == 0 {
			buf = large
		}
		var err error
		switch i % 11 {
		case 0, 1, 2:
			_, err = mpi.Sendrecv(world, buf, (r+1)%n, 1, out, (r+n-1)%n, 1)
		case 3:
			err = world.Barrier()
		case 4, 5:
			err = mpi.Allreduce(world, buf, out[:len(buf)], mpi.Sum)
		case 6:
			err = mpi.Bcast(world, buf, i/11%n)
		case 7:
			err = mpi.Reduce(world, buf, out[:len(buf)], mpi.Max, i/11%n)
		case 8:
			err = mpi.Allgather(world, blocks[:100], out[:100*n])
		case 9:
			err = mpi.Alltoall(world, blocks, out[:len(blocks)])
		case 10:
			if r%2 == 0 && r+1 < n {
				err = mpi.Send(world, buf, r+1, 2)
			} else if r%2 == 1 {
				if _, err = world.Probe(mpi.AnySource, 2); err == nil {
					_, err = mpi.Recv(world, out, mpi.AnySource, 2)
				}
			}
		}
		if err != nil {
			return err
		}
	}
}

// compute lets rank 0 compute while the others wait for it.
func compute(world *mpi.Comm) error {
	if world.Rank() != 0 {
		_, err := mpi.Recv(world, make([]float64, 1), 0, 1)
		return err
	}
	for x := 1.0; ; {
		for range 10_000_000 {
			x = x*0.999999 + 1e-6
		}
		if err := world.Barrier(); err != nil {
			return err
		}
	}
}

// pids collects what ranks print.
type pids struct {
	mu   sync.Mutex
	text bytes.Buffer
	pid  map[int]int
	all  chan struct{}
	n    int
}

func (p *pids) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text.Write(b)
	for line := range strings.Lines(string(b)) {
		var r, pid int
		if k, _ := fmt.Sscanf(line, "rank %d pid %d", &r, &pid); k == 2 {
			if p.pid[r] = pid; len(p.pid) == p.n {
				close(p.all)
			}
		}
	}
	return len(b), nil
}

// traces lists what a job could leave behind.
func traces(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, dir := range []string{"/dev/shm", os.TempDir()} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), "go-build") {
				all = append(all, filepath.Join(dir, e.Name()))
			}
		}
	}
	sockets, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(sockets)) {
		if f := strings.Fields(line); len(f) == 8 && strings.Contains(f[7], "outboard") {
			all = append(all, f[7])
		}
	}
	return all
}

// TestKill kills a rank at a random moment: the others report it by name within a second, the launcher
// ends with its failure within three, and nothing is left.
func TestKill(t *testing.T) {
	rounds := *kills
	if testing.Short() {
		rounds = 5
	}
	before := traces(t)
	for i := range rounds {
		kind := "communicate"
		if i%10 == 9 {
			kind = "compute"
		}
		n := 2 + rand.IntN(4)
		killOnce(t, kind, n, rand.IntN(n), time.Duration(rand.IntN(60_000))*time.Microsecond)
		if t.Failed() {
			t.Fatalf("in round %d", i)
		}
	}
	for _, x := range traces(t) {
		if !slices.Contains(before, x) && strings.Contains(x, "outboard") {
			t.Errorf("left behind: %s", x)
		}
	}
}

func killOnce(t *testing.T, kind string, n, victim int, after time.Duration) {
	t.Helper()
	out := &pids{pid: map[int]int{}, all: make(chan struct{}), n: n}
	job := launch.Job{N: n, Path: os.Args[0], Env: append(os.Environ(), workerEnv+"="+kind), Stdout: out, Stderr: out, Grace: 1500 * time.Millisecond}
	type ending struct {
		code int
		err  error
	}
	end := make(chan ending, 1)
	go func() {
		code, err := job.Run(context.Background())
		end <- ending{code, err}
	}()
	select {
	case <-out.all:
	case e := <-end:
		t.Fatalf("the job ended by itself: %d %v\n%s", e.code, e.err, out.text.String())
	case <-time.After(20 * time.Second):
		t.Fatalf("ranks did not start:\n%s", out.text.String())
	}
	time.Sleep(after)
	killed := time.Now()
	if err := syscall.Kill(out.pid[victim], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var e ending
	select {
	case e = <-end:
	case <-time.After(20 * time.Second):
		t.Fatalf("the launcher hangs after rank %d of %d was killed:\n%s", victim, n, out.text.String())
	}
	if d := time.Since(killed); d > 3*time.Second {
		t.Errorf("the launcher took %v", d)
	}
	var re *launch.RankError
	if e.code == 0 || !errors.As(e.err, &re) || re.Rank != victim {
		t.Errorf("the launcher ended with %d, %v: expected the failure of rank %d", e.code, e.err, victim)
	}
	checkReports(t, kind, n, victim, killed, out.text.String())
	for r, pid := range out.pid {
		if err := syscall.Kill(pid, 0); err == nil {
			t.Errorf("rank %d, process %d, is still there", r, pid)
		}
	}
}

// checkReports checks that every survivor named the victim in time.
func checkReports(t *testing.T, kind string, n, victim int, killed time.Time, text string) {
	t.Helper()
	reported := map[int]bool{}
	for line := range strings.Lines(text) {
		var r int
		var at int64
		if k, _ := fmt.Sscanf(line, "rank %d error %d", &r, &at); k != 2 {
			continue
		}
		reported[r] = true
		if d := time.Unix(0, at).Sub(killed); d > time.Second {
			t.Errorf("rank %d reported after %v", r, d)
		}
		if !strings.Contains(line, fmt.Sprintf("rank %d failed", victim)) {
			t.Errorf("rank %d of %d does not name rank %d: %s", r, n, victim, line)
		}
	}
	for r := range n {
		if r != victim && !reported[r] && !(kind == "compute" && r == 0) {
			t.Errorf("rank %d of %d reported nothing after rank %d was killed (%s):\n%s", r, n, victim, kind, text)
		}
	}
}
