package launch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"outboard/mpi/internal/pmi"
)

// strandedDelay is how long a rank that others wait for in vain has to exit
// with a code that says more.
const strandedDelay = 200 * time.Millisecond

// phase is how far the end of a job has come.
type phase int

const (
	running    phase = iota
	told             // the survivors know of the failure
	terminated       // SIGTERM has been sent
	killed           // SIGKILL has been sent
	abandoned        // not even that has helped
)

// exit is the end of a rank's process.
type exit struct {
	rank   int
	status syscall.WaitStatus
}

// supervisor runs a job that has been started. Its fields after over belong
// to the goroutine that supervises.
type supervisor struct {
	job    *Job
	id     string
	server *pmi.Server
	guard  *guard
	ranks  []rank
	out    output
	copies sync.WaitGroup // the goroutines that read what ranks print

	exits    chan exit
	aborts   chan pmi.AbortError
	stranded chan int
	over     chan struct{} // closed when the job is over

	phase     phase
	timer     *time.Timer    // the next phase
	suspect   int            // the rank that others wait for in vain
	interrupt syscall.Signal // the first that was meant to end the job, or 0
	code      int            // of the job
	err       error          // the first failure
}

// supervise waits for all ranks to exit, and ends the job when one fails.
func (s *supervisor) supervise(ctx context.Context) {
	s.timer = time.NewTimer(time.Hour)
	s.timer.Stop()
	defer s.timer.Stop()
	var suspicion <-chan time.Time
	done, unguarded := ctx.Done(), s.guard.dead
	for left := len(s.ranks); left > 0 && s.phase < abandoned; {
		select {
		case e := <-s.exits:
			left--
			s.judge(e)
		case a := <-s.aborts:
			s.fail(&RankError{Rank: a.Rank, Failure: Aborted, Code: exitCode(a.Code)})
		case s.suspect = <-s.stranded:
			suspicion = time.After(strandedDelay)
		case <-suspicion:
			s.fail(&RankError{Rank: s.suspect, Failure: Stranded, Code: codeFail})
		case sig := <-s.job.Signals:
			s.pass(sig)
		case <-done:
			done = nil
			s.stop(codeFail, cancelled(ctx))
		case <-unguarded: // nobody would tidy up after us
			unguarded = nil
			s.stop(codeFail, fmt.Errorf("launch: %w", ErrGuard))
		case <-s.timer.C:
			s.advance()
		}
	}
}

// exitCode maps the code of an abort to one that a process can exit with and
// that does not look like success.
func exitCode(code int) int {
	if code&0xff == 0 {
		return codeFail
	}
	return code & 0xff
}

// judge decides whether the end of a rank is a failure.
func (s *supervisor) judge(e exit) {
	failed := &RankError{Rank: e.rank}
	select { // an abort that the rank has asked for says more than its end
	case a := <-s.aborts:
		s.fail(&RankError{Rank: a.Rank, Failure: Aborted, Code: exitCode(a.Code)})
	default:
	}
	switch {
	case e.status.Signaled():
		failed.Failure, failed.Signal, failed.Core = Killed, e.status.Signal(), e.status.CoreDump()
		failed.Code = 128 + int(failed.Signal)
	case e.status.ExitStatus() != 0:
		failed.Failure, failed.Code = Exited, e.status.ExitStatus()
	case s.server.Phase(e.rank) == pmi.Active:
		failed.Failure, failed.Code = Unfinalized, codeFail
	default:
		return
	}
	s.fail(failed)
}

// fail records the first failure and tells the other ranks.
func (s *supervisor) fail(e *RankError) {
	if s.err != nil {
		return
	}
	e.PID = s.ranks[e.Rank].cmd.Process.Pid
	s.code, s.err = e.Code, e
	if s.interrupt != 0 && e.Code == 128+int(s.interrupt) {
		s.err = &InterruptError{s.interrupt}
	}
	s.server.Abort(e.Rank, e.Code)
	s.phase = told
	s.timer.Reset(s.job.Grace)
}

// stop ends the job for a reason outside of it.
func (s *supervisor) stop(code int, err error) {
	if s.err == nil {
		s.code, s.err = code, err
	}
	s.server.Abort(-1, code)
	if s.phase < terminated {
		s.phase = terminated
		s.guard.signal(unix.SIGTERM)
		s.timer.Reset(s.job.Grace)
	}
}

// advance takes the next step towards the end of the job.
func (s *supervisor) advance() {
	s.phase++
	switch s.phase {
	case terminated:
		s.guard.signal(unix.SIGTERM)
		s.guard.signal(unix.SIGCONT) // a stopped process hears nothing else
		s.timer.Reset(s.job.Grace / 2)
	case killed:
		s.guard.signal(unix.SIGKILL)
		for i := range s.ranks {
			s.ranks[i].cmd.Process.Kill() // also if it has left the group
		}
		s.timer.Reset(max(s.job.Grace, DefaultGrace))
	}
}

// pass hands a signal on to the ranks.
func (s *supervisor) pass(sig os.Signal) {
	n, ok := sig.(syscall.Signal)
	if !ok {
		return
	}
	if n == unix.SIGTERM || s.interrupt != 0 && (n == unix.SIGINT || n == unix.SIGQUIT || n == unix.SIGHUP) {
		s.stop(128+int(n), &InterruptError{n})
		return
	}
	s.guard.signal(n)
	switch n {
	case unix.SIGTSTP:
		unix.Kill(os.Getpid(), unix.SIGSTOP)
	case unix.SIGINT, unix.SIGQUIT, unix.SIGHUP:
		s.interrupt = n
	}
}

// finish removes what is left of the job and returns how it ended.
func (s *supervisor) finish() (int, error) {
	s.guard.dismiss()
	if s.err != nil {
		sweep(s.id)
	}
	drained := s.drain()
	close(s.over)
	var failed *RankError
	if errors.As(s.err, &failed) {
		failed.Tail = s.ranks[failed.Rank].tail.get()
	}
	switch {
	case s.err != nil:
		return s.code, s.err
	case !drained:
		return codeFail, fmt.Errorf("launch: %w: a writer is stuck", ErrOutput)
	}
	if err := s.out.failure(); err != nil {
		return codeFail, err
	}
	return 0, nil
}

// drain waits until all that the ranks printed has been written, but not for
// ever: a process that was meant to stay may hold a stream open, and a writer
// may be stuck. It returns false in the last case.
func (s *supervisor) drain() bool {
	drained := make(chan struct{})
	go func() {
		s.copies.Wait()
		close(drained)
	}()
	select {
	case <-drained:
	case <-time.After(s.job.Grace):
	}
	for i := range s.ranks {
		s.ranks[i].closeOurs()
	}
	select {
	case <-drained:
		return true
	case <-time.After(s.job.Grace):
		return false
	}
}
