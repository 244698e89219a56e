package mpi

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/inproc"
)

// Run runs f on n ranks, each a goroutine of this process, with a world of their own: for
// tests, notebooks and servers. It returns when all have returned. Several worlds may run at once.
//
// When f returns an error or panics on one rank, every operation of the others, pending or to come, fails with
// ErrAborted, and Run returns the first rank's error. If f leaves requests or messages behind, that is an
// error too (ErrPending).
func Run(n int, f func(world *Comm) error) error {
	if n < 1 {
		return (*Comm)(nil).errorf("Run", ErrRank, "%d ranks: expected at least 1", n)
	}
	wire := inproc.New()
	return runOn(n, func() (fabric.Port, error) { return wire.Open(inproc.Options{Reserved: n}) }, f)
}

// runOn is Run on ports of any fabric.
func runOn(n int, open func() (fabric.Port, error), f func(*Comm) error) error {
	procs, err := openLocal(n, open)
	if err != nil {
		return err
	}
	w := &localWorld{procs: procs}
	w.left.Add(n)
	var ranks sync.WaitGroup
	for _, p := range procs {
		p.local = w
	}
	for _, p := range procs {
		ranks.Go(func() { w.rank(p, f) })
	}
	ranks.Wait()
	w.once.Do(func() {}) // a goroutine that f has left behind can end the world no more
	return errors.Join(w.err, closeAll(procs))
}

// localWorld is a world of goroutines.
type localWorld struct {
	procs []*proc
	left  sync.WaitGroup // ranks that have not come to the end
	once  sync.Once
	err   error
}

// rank runs f on one rank. No rank leaves the wire before all are at the end.
func (w *localWorld) rank(p *proc, f func(*Comm) error) {
	returned := false
	defer func() {
		if !returned { // by runtime.Goexit, which testing's FailNow calls
			w.end(p, p.world.errorf("Run", ErrAborted, "rank %d has ended its goroutine", p.rank))
			w.left.Done()
		}
	}()
	err := call(p, f)
	returned = true
	if err == nil {
		w.left.Done()
		w.left.Wait()
		err = p.finish()
	} else {
		defer w.left.Done()
	}
	if err != nil {
		w.end(p, err)
	}
}

// end ends the world with the error of a rank, if it is the first one.
func (w *localWorld) end(p *proc, err error) {
	w.once.Do(func() {
		w.err = err
		why := fmt.Errorf("%w: rank %d: %w", ErrAborted, p.rank, err)
		for _, other := range w.procs {
			if other != p {
				other.abort(why)
			}
		}
	})
}

// call runs f and turns a panic into an error.
func call(p *proc, f func(*Comm) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = p.world.errorf("Run", ErrAborted, "panic: %v\n%s", r, debug.Stack())
		}
	}()
	return f(p.world)
}

// openLocal opens n ranks that know each other.
func openLocal(n int, open func() (fabric.Port, error)) ([]*proc, error) {
	procs := make([]*proc, 0, n)
	fail := func(err error) ([]*proc, error) {
		return nil, errors.Join(err, closeAll(procs))
	}
	for i := range n {
		port, err := open()
		if err != nil {
			return fail(err)
		}
		p, err := newProc(port, i, n)
		if err != nil {
			return fail(err)
		}
		procs = append(procs, p)
	}
	for _, p := range procs {
		for i, q := range procs {
			p.nic.SetPeer(i, q.nic.Addr())
		}
	}
	for _, p := range procs {
		if err := p.makeWorld(); err != nil {
			return fail(err)
		}
	}
	return procs, nil
}

func closeAll(procs []*proc) error {
	for _, p := range procs { // first all: nobody is to hear of the others' end
		p.mu.Lock()
		p.ended = true
		p.mu.Unlock()
	}
	var errs []error
	for _, p := range procs {
		errs = append(errs, p.nic.Close())
	}
	return errors.Join(errs...)
}
