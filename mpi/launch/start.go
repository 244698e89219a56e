package launch

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"github.com/google/uuid"

	"outboard/mpi/internal/pmi"
)

// pmiFD is the descriptor that a rank finds its launcher on: the first after
// the standard ones.
const pmiFD = 3

// rank is one process of a job.
type rank struct {
	cmd  *exec.Cmd
	conn net.Conn // our end of its PMI stream
	tail tail
	// The caller's ends of its standard streams; stdin is nil but for rank 0.
	stdin          *os.File
	stdout, stderr *os.File
	theirs         []*os.File // its own ends, until it has started
}

// start starts all ranks of a job, or none.
func start(job *Job) (*supervisor, error) {
	s := &supervisor{
		job:      job,
		id:       uuid.NewString(),
		ranks:    make([]rank, job.N),
		exits:    make(chan exit, job.N),
		aborts:   make(chan pmi.AbortError, job.N),
		stranded: make(chan int, 1),
		over:     make(chan struct{}),
	}
	var err error
	s.server, err = pmi.NewServer(pmi.Config{
		Name:       "kvs_" + s.id,
		Ranks:      job.N,
		OnAbort:    func(rank, code int) { s.aborts <- pmi.AbortError{Rank: rank, Code: code} },
		OnStranded: func(rank int) { s.stranded <- rank },
	})
	if err != nil {
		return nil, err
	}
	if err := s.spawn(); err != nil {
		s.giveUp()
		return nil, err
	}
	for i := range s.ranks {
		s.attend(i)
	}
	return s, nil
}

// spawn starts the processes from a thread that lives as long as the job: the
// kernel sends the parent-death signal when the thread ends that has started a
// process. The thread also lends its CPU binding to what it starts, so it is
// not used for anything else; and it dies with its goroutine, since its
// binding cannot be trusted to be restored.
func (s *supervisor) spawn() error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		result <- s.spawnAll()
		<-s.over
	}()
	return <-result
}

// spawnAll starts the guard and the ranks.
func (s *supervisor) spawnAll() (err error) {
	if s.guard, err = startGuard(s.id, s.job.Temp); err != nil {
		return &StartError{Rank: -1, Path: guardShell, Err: err}
	}
	cpus := allowedCPUs(os.DirFS("/sys"))
	shares := s.job.Bind.share(s.job.N, cpus)
	common := environment(s.job.Env, s.job.N, len(cpus), s.id)
	for i := range s.ranks {
		if shares != nil {
			if err := bindThread(shares[i]); err != nil && s.job.Bind == BindCore {
				return &StartError{Rank: i, Path: s.job.Path, Err: fmt.Errorf("binding to CPUs %v: %w", shares[i], err)}
			}
		}
		if err := s.spawnRank(i, rankEnvironment(common, i)); err != nil {
			return &StartError{Rank: i, Path: s.job.Path, Err: err}
		}
	}
	return nil
}

// spawnRank starts one process.
func (s *supervisor) spawnRank(i int, env []string) error {
	r := &s.ranks[i]
	defer r.closeTheirs()
	cmd := exec.Command(s.job.Path, s.job.Args...)
	cmd.Env, cmd.Dir = env, s.job.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: s.guard.group(), Pdeathsig: syscall.SIGKILL}
	if err := r.connect(cmd, i == 0 && s.job.Stdin != nil); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	r.cmd = cmd
	return nil
}

// connect makes the streams between us and a rank.
func (r *rank) connect(cmd *exec.Cmd, input bool) (err error) {
	var file *os.File
	if r.conn, file, err = pmi.Pair(); err != nil {
		return err
	}
	r.theirs = append(r.theirs, file)
	cmd.ExtraFiles = []*os.File{file}
	if input {
		if file, r.stdin, err = os.Pipe(); err != nil {
			return err
		}
		r.theirs = append(r.theirs, file)
		cmd.Stdin = file
	}
	if r.stdout, file, err = os.Pipe(); err != nil {
		return err
	}
	r.theirs = append(r.theirs, file)
	cmd.Stdout = file
	if r.stderr, file, err = os.Pipe(); err != nil {
		return err
	}
	r.theirs = append(r.theirs, file)
	cmd.Stderr = file
	return nil
}

// closeTheirs closes the ends that belong to the rank.
func (r *rank) closeTheirs() {
	for _, f := range r.theirs {
		f.Close()
	}
	r.theirs = nil
}

// closeOurs closes our ends of the standard streams.
func (r *rank) closeOurs() {
	for _, f := range []*os.File{r.stdin, r.stdout, r.stderr} {
		if f != nil {
			f.Close()
		}
	}
}

// attend serves, reads and awaits a rank that has been started.
func (s *supervisor) attend(i int) {
	r := &s.ranks[i]
	served := make(chan struct{})
	go func() {
		defer close(served)
		s.server.Serve(i, r.conn) // a rank that breaks the protocol is hung up on, and fails by itself
	}()
	s.copies.Go(func() { s.stream(i, s.job.Stdout).copy(r.stdout) })
	s.copies.Go(func() { s.stream(i, s.job.Stderr).copy(r.stderr) })
	if r.stdin != nil {
		go func() {
			io.Copy(r.stdin, s.job.Stdin)
			r.stdin.Close()
		}()
	}
	go func() {
		r.cmd.Wait()
		s.server.Exited(i)
		<-served // what the rank said last comes before its end
		s.exits <- exit{i, r.status()}
	}()
}

// stream returns the stream by which a rank prints to w.
func (s *supervisor) stream(i int, w io.Writer) *stream {
	st := &stream{out: &s.out, to: w, tail: &s.ranks[i].tail, live: isTerminal(w)}
	st.close = s.job.N > 1 || s.job.TagOutput
	if s.job.TagOutput {
		st.tag = fmt.Appendf(nil, "[%d] ", i)
	}
	return st
}

// status returns how the process of a rank has ended. If the kernel did not
// say, that counts as the code 1.
func (r *rank) status() syscall.WaitStatus {
	if r.cmd.ProcessState == nil {
		return syscall.WaitStatus(codeFail << 8)
	}
	return r.cmd.ProcessState.Sys().(syscall.WaitStatus)
}

// giveUp ends what has been started of a job that could not be started whole.
func (s *supervisor) giveUp() {
	if s.guard != nil {
		s.guard.dismiss()
	}
	var reaped sync.WaitGroup
	for i := range s.ranks {
		r := &s.ranks[i]
		if r.conn != nil {
			r.conn.Close()
		}
		r.closeOurs()
		if r.cmd != nil {
			reaped.Go(func() { r.cmd.Wait() })
		}
	}
	reaped.Wait()
	sweep(s.id)
	close(s.over)
}
