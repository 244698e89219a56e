package mpi

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"outboard/mpi/internal/pmi"
	"outboard/verbs"
	"outboard/verbs/fabric"
	"outboard/verbs/fabric/inproc"
	"outboard/verbs/fabric/shm"
)

// job is this process's membership in the job that a launcher started.
type job struct {
	proc   *proc
	client *pmi.Client // nil: started alone
	stop   chan struct{}
	wg     sync.WaitGroup
}

var current struct {
	sync.Mutex
	job *job
}

// jobVariable is what our own launcher calls a job in the environment of its ranks.
const jobVariable = "OUTBOARD_JOB"

// connectTimeout bounds each step of joining and leaving a job: what a rank waits for the others to be started.
const connectTimeout = 5 * time.Minute

// Init joins the job that this process was launched into and returns the world
// (MPI 4.1, 11.2.1). The launcher is `outboard run` or any other that speaks PMI-1, such as MPICH's
// mpiexec.hydra. A process started alone is a world of one. Between Init and Finalize a second Init is
// an error; after Finalize a process started alone may call it again.
func Init() (*Comm, error) {
	current.Lock()
	defer current.Unlock()
	if current.job != nil {
		return nil, (*Comm)(nil).errorf("Init", ErrInit, "Init was called before")
	}
	j, err := join()
	if err != nil {
		return nil, (*Comm)(nil).errorf("Init", because(ErrLaunch, err), "")
	}
	current.job = j
	return j.proc.world, nil
}

func join() (*job, error) {
	client, launched, err := pmi.FromEnv()
	if err != nil {
		return nil, err
	}
	j := &job{stop: make(chan struct{})}
	rank, size := 0, 1
	if launched {
		j.client, rank, size = client, client.Rank, client.Size
	}
	if launched && os.Getenv(jobVariable) == "" && os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, jobCPUs()/size)) // as our launcher does
	}
	port, err := openPort(size)
	if err != nil {
		return nil, err
	}
	if j.proc, err = newProc(port, rank, size); err != nil {
		return nil, err
	}
	j.proc.launcherTells = launched && os.Getenv(jobVariable) != ""
	if err := j.meet(); err != nil {
		return nil, errors.Join(err, j.proc.nic.Close())
	}
	if launched {
		j.wg.Go(j.watch)
	}
	return j, nil
}

func openPort(size int) (fabric.Port, error) {
	if size == 1 {
		return inproc.New().Open(inproc.Options{Reserved: 1})
	}
	return shm.Open(shm.Options{Reserved: size})
}

// waitPolicy: with a core for each rank a waiting rank spins; with fewer it
// yields almost at once, since whom it waits for may need its core.
func waitPolicy(port fabric.Port, size int) *verbs.WaitPolicy {
	fabric := port.Attr().Name
	w := verbs.DefaultWait(fabric)
	if fabric == "shm" && size > jobCPUs() {
		w.Spin, w.Polls = 1, 1
	}
	return &w
}

// jobCPUs counts the processors that the ranks share: what our launcher says, or all of the machine.
// runtime.NumCPU counts those that this rank is bound to.
var jobCPUs = sync.OnceValue(func() int {
	if n, err := strconv.Atoi(os.Getenv("OUTBOARD_CPUS")); err == nil && n > 0 {
		return n
	}
	text, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return runtime.NumCPU()
	}
	n := 0
	for part := range strings.SplitSeq(strings.TrimSpace(string(text)), ",") {
		var lo, hi int
		if k, _ := fmt.Sscanf(part, "%d-%d", &lo, &hi); k == 2 {
			n += hi - lo
		}
		n++
	}
	return n
})

// meet exchanges addresses with the other ranks.
func (j *job) meet() error {
	p := j.proc
	if j.client == nil {
		p.nic.SetPeer(0, p.nic.Addr())
		return p.makeWorld()
	}
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	if err := j.sameMachine(ctx); err != nil {
		return err
	}
	if err := j.client.Put(ctx, addrKey(p.rank), p.nic.Addr()); err != nil {
		return err
	}
	if err := j.client.Barrier(ctx); err != nil {
		return err
	}
	for i := range p.size {
		addr, err := j.client.Get(ctx, addrKey(i))
		if err != nil {
			return fmt.Errorf("address of rank %d: %w", i, err)
		}
		p.nic.SetPeer(i, addr)
	}
	return p.makeWorld()
}

func addrKey(rank int) string { return fmt.Sprintf("outboard-addr-%d", rank) }

// sameMachine checks that the launcher put all ranks on one machine, as far as it tells.
func (j *job) sameMachine(ctx context.Context) error {
	nodes, err := j.client.Nodes(ctx)
	if errors.Is(err, pmi.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for r, n := range nodes {
		if n != nodes[0] {
			return fmt.Errorf("rank %d is on another machine than rank 0: the shared-memory fabric reaches one machine", r)
		}
	}
	return nil
}

// watch ends the job on this rank when the launcher goes away or ends it.
func (j *job) watch() {
	select {
	case <-j.stop:
	case <-j.client.Done():
		select {
		case <-j.stop:
		default:
			j.abandoned(j.client.Err())
		}
	}
}

// abandoned hears why the launcher has ended the job.
func (j *job) abandoned(why error) {
	p := j.proc
	var abort *pmi.AbortError
	if errors.As(why, &abort) && abort.Rank >= 0 && abort.Rank < p.size && abort.Rank != p.rank {
		p.lose(abort.Rank, why)
		return
	}
	p.abort(because(ErrAborted, why))
}

// Finalize leaves the job (MPI 4.1, 11.2.2). It returns when all ranks have called it. Every request must have been waited for and every message
// received: what was not is listed in the error (ErrPending).
func Finalize() error {
	current.Lock()
	defer current.Unlock()
	j := current.job
	if j == nil {
		return (*Comm)(nil).errorf("Finalize", ErrInit, "Init was not called")
	}
	current.job = nil
	return j.leave()
}

func (j *job) leave() error {
	var errs []error
	if j.client != nil && j.proc.world.broken.Load() == nil {
		ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
		defer cancel()
		// The NIC goes on serving the others, on its own thread.
		if err := j.client.Barrier(ctx); err != nil {
			errs = append(errs, j.proc.world.errorf("Finalize", because(ErrAborted, err), ""))
		}
	}
	j.proc.mu.Lock()
	j.proc.ended = true // from now on peers leave in good order
	j.proc.mu.Unlock()
	close(j.stop)
	errs = append(errs, j.proc.finish())
	if j.client != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := j.client.Finalize(ctx); err != nil && len(errs) == 1 && errs[0] == nil && j.proc.world.broken.Load() == nil {
			errs = append(errs, j.proc.world.errorf("Finalize", because(ErrAborted, err), ""))
		}
	}
	j.wg.Wait()
	return errors.Join(append(errs, j.proc.close())...)
}

// Main runs a program: Init, f, Finalize. If any of them fails it prints the error, ends the job on all
// ranks and exits with code 1; the same on a panic. It prints nothing where the
// error is only the consequence of another rank's failure, which the launcher reports.
func Main(f func(world *Comm) error) {
	world, err := Init()
	var j *job
	if err == nil {
		current.Lock()
		j = current.job
		current.Unlock()
		if err = call(world.p, f); err == nil {
			err = Finalize()
		}
	}
	if err == nil {
		return
	}
	if !j.isConsequence(err) {
		fmt.Fprintln(os.Stderr, err)
	}
	abortJob(1)
	os.Exit(1)
}

// isConsequence reports whether an error came of the end of the job, and our launcher knows of
// another culprit than this rank. j is nil if the rank has not joined the job.
func (j *job) isConsequence(err error) bool {
	switch {
	case os.Getenv(jobVariable) == "":
		return false
	case j == nil:
		return errors.Is(err, pmi.ErrAborted) || errors.Is(err, pmi.ErrGone)
	case j.client == nil || !errors.Is(err, ErrProcFailed) && !errors.Is(err, ErrAborted):
		return false
	}
	select {
	case <-j.client.Done():
	case <-time.After(launcherNotice):
		return false
	}
	why := j.client.Err()
	var abort *pmi.AbortError
	return errors.Is(why, pmi.ErrGone) || errors.As(why, &abort) && abort.Rank != j.proc.rank
}

// Abort ends the job on all ranks (MPI 4.1, 9.8) with an exit code of 1 to 255; any other code stands for 1. Of ranks that are goroutines (see Run) only their world ends: every operation
// fails with ErrAborted, this rank's own too, and so does Run. In a launched process Abort does not return.
func (c *Comm) Abort(code int) {
	if code < 1 || code > 255 {
		code = 1
	}
	current.Lock()
	mine := current.job != nil && current.job.proc == c.p
	current.Unlock()
	if mine {
		abortJob(code)
		os.Exit(code)
	}
	err := c.errorf("Abort", ErrAborted, "with code %d", code)
	if w := c.p.local; w != nil {
		w.end(c.p, err)
	}
	c.p.abort(err)
}

// abortJob tells the launcher, if there is one.
func abortJob(code int) {
	current.Lock()
	defer current.Unlock()
	if j := current.job; j != nil && j.client != nil {
		if os.Getenv(jobVariable) == "" {
			time.Sleep(lastWords)
		}
		j.client.Abort(code)
	}
}

// lastWords is how long another launcher than ours gets to read what this rank has printed: Hydra drops what
// it has not read when it hears of an abort.
const lastWords = 100 * time.Millisecond

var epoch = time.Now()

// Wtime is the time in seconds since some moment in the past, the same for all ranks of a process
// (MPI 4.1, 9.6).
func Wtime() float64 { return time.Since(epoch).Seconds() }
