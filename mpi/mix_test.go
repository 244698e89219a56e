package mpi_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"outboard/mpi"
)

// steps of a program: collectives that check what they bring, short and long.
var programSteps = func() []func(c *mpi.Comm) error {
	all := []func(c *mpi.Comm) error{(*mpi.Comm).Barrier}
	for _, count := range []int{3, 2500} {
		last := func(c *mpi.Comm) int { return c.Size() - 1 }
		x := func(c *mpi.Comm) *trial[int32] {
			return &trial[int32]{c: c, count: count, salt: count, values: series[int32]()}
		}
		all = append(all,
			func(c *mpi.Comm) error {
				b := x(c).block(c.Rank(), 0, count)
				return errors.Join(mpi.Bcast(c, b, last(c)), same(b, x(c).block(last(c), 0, count)))
			},
			func(c *mpi.Comm) error {
				b := x(c).block(c.Rank(), 0, count)
				err := mpi.Reduce(c, b, b, mpi.Sum, 0)
				return errors.Join(err, same(b, either(c.Rank() == 0, x(c).sums(), b)))
			},
			func(c *mpi.Comm) error {
				b := x(c).block(c.Rank(), 0, count)
				return errors.Join(mpi.AllreduceInPlace(c, b, mpi.Sum), same(b, x(c).sums()))
			},
			func(c *mpi.Comm) error {
				b, out := x(c).block(c.Rank(), 0, count), make([]int32, count*c.Size())
				if err := mpi.Gather(c, b, out, last(c)); err != nil || c.Rank() != last(c) {
					return err
				}
				return same(out[len(out)-count:], b)
			},
			func(c *mpi.Comm) error {
				b := make([]int32, count)
				err := mpi.Scatter(c, x(c).block(0, 0, count*c.Size()), b, 0)
				return errors.Join(err, same(b, x(c).block(0, count*c.Rank(), count)))
			},
			func(c *mpi.Comm) error {
				out := make([]int32, count*c.Size())
				err := mpi.Allgather(c, x(c).block(c.Rank(), 0, count), out)
				return errors.Join(err, same(out[:count], x(c).block(0, 0, count)))
			},
			func(c *mpi.Comm) error {
				out := make([]int32, count*c.Size())
				err := mpi.Alltoall(c, x(c).block(c.Rank(), 0, count*c.Size()), out)
				return errors.Join(err, same(out[:count], x(c).block(0, count*c.Rank(), count)))
			})
	}
	return all
}()

func same(got, want []int32) error {
	for i := range want {
		if len(got) != len(want) || got[i] != want[i] {
			return fmt.Errorf("got %.20v, want %.20v", got, want)
		}
	}
	return nil
}

// Every collective after every other, while messages of all lengths are under way on the same communicator, some
// received before and some after, and ranks come late in turn.
func TestPairsOfCollectives(t *testing.T) {
	onAll(t, []int{2, 3, 5}, func(c *mpi.Comm) error {
		r, n := c.Rank(), c.Size()
		next, before := (r+1)%n, (r+n-1)%n
		late := rand.New(rand.NewPCG(uint64(r), 1))
		for i, first := range programSteps {
			for j, second := range programSteps {
				out, early, after := make([]float64, counts[(i+j)%len(counts)]%6000), make([]float64, 6000), make([]float64, 6000)
				fill(out, r+j)
				var reqs [3]*mpi.Request
				var err [3]error
				reqs[0], err[0] = mpi.Irecv(c, early, before, 1)
				reqs[1], err[1] = mpi.Isend(c, out, next, 2)
				reqs[2], err[2] = mpi.Isend(c, out, next, 1)
				if err := errors.Join(err[:]...); err != nil {
					return err
				}
				for range late.IntN(3) {
					runtime.Gosched()
				}
				if err := errors.Join(first(c), second(c)); err != nil {
					return fmt.Errorf("step %d after %d: %w", j, i, err)
				}
				if _, err := mpi.Recv(c, after, before, 2); err != nil {
					return err
				}
				if err := errors.Join(mpi.WaitAll(bg, reqs[:]...), check(early[:len(out)], before+j), check(after[:len(out)], before+j)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Messages on several communicators of the same ranks and tags, received with wildcards: none comes out on another
// communicator, in whatever order they are looked at.
func TestCommunicatorsDoNotMix(t *testing.T) {
	onAll(t, []int{2, 4}, func(c *mpi.Comm) error {
		r, n := c.Rank(), c.Size()
		comms := []*mpi.Comm{c, nil, nil, nil}
		var err [4]error
		comms[1], err[1] = c.Dup()
		comms[2], err[2] = c.Split(0, n-r) // the other way round
		comms[3], err[3] = c.Split(r%2, r)
		if err := errors.Join(err[:]...); err != nil {
			return err
		}
		const each = 12 // messages from every rank to every rank of each communicator
		plan := rand.New(rand.NewPCG(uint64(r), 2))
		var reqs []*mpi.Request
		for _, k := range plan.Perm(each * len(comms)) {
			i := k % len(comms)
			d := comms[i]
			for dst := range d.Size() {
				b := make([]int32, 3+k/len(comms)*400)
				b[0], b[1], b[2] = int32(i), int32(d.Rank()), int32(len(b))
				q, err := mpi.Isend(d, b, dst, len(b))
				if err != nil {
					return err
				}
				reqs = append(reqs, q)
			}
		}
		for _, k := range plan.Perm(each * len(comms)) {
			i := k % len(comms)
			d := comms[i]
			for range d.Size() {
				b := make([]int32, 5000)
				st, err := mpi.Recv(d, b, mpi.AnySource, mpi.AnyTag)
				if err != nil {
					return err
				}
				if got := [3]int32(b); got != [3]int32{int32(i), int32(st.Source), int32(st.Tag)} || st.Bytes != 4*st.Tag {
					return fmt.Errorf("on communicator %d came %v, status %+v", i, got, st)
				}
			}
		}
		return mpi.WaitAll(bg, reqs...)
	})
}

// Goroutines of a rank talk to those of others, each pair on tags of its own, while others run
// collectives, each on a communicator of its own.
func TestThreads(t *testing.T) {
	const talkers, singers, rounds = 6, 3, 40
	onAll(t, []int{2, 3}, func(c *mpi.Comm) error {
		r, n := c.Rank(), c.Size()
		own := make([]*mpi.Comm, singers)
		for i := range own {
			var err error
			if own[i], err = c.Dup(); err != nil {
				return err
			}
		}
		errs := make([]error, talkers+singers)
		var wg sync.WaitGroup
		for tag := range talkers {
			wg.Go(func() {
				for i := range rounds {
					out, in := make([]float64, counts[(i+tag)%len(counts)]%9000), make([]float64, 9000)
					fill(out, r+tag)
					st, err := mpi.Sendrecv(c, out, (r+1)%n, tag, in, (r+n-1)%n, tag)
					if err == nil && st.Bytes != 8*len(out) {
						err = fmt.Errorf("%d bytes, want %d", st.Bytes, 8*len(out))
					}
					if err = errors.Join(err, check(in[:len(out)], (r+n-1)%n+tag)); err != nil {
						errs[tag] = fmt.Errorf("tag %d, round %d: %w", tag, i, err)
						return
					}
				}
			})
		}
		for k, d := range own {
			wg.Go(func() {
				for i := range rounds {
					if err := programSteps[(i+k)%len(programSteps)](d); err != nil {
						errs[talkers+k] = fmt.Errorf("round %d: %w", i, err)
						return
					}
				}
			})
		}
		wg.Wait()
		return errors.Join(errs...)
	})
}

// Several goroutines wait for the same requests: each request ends once.
func TestWaitersShareRequests(t *testing.T) {
	onAll(t, []int{2}, func(c *mpi.Comm) error {
		const messages, waiters = 50, 4
		if c.Rank() == 0 {
			for i := range messages {
				if err := mpi.Send(c, []int{i}, 1, i); err != nil {
					return err
				}
			}
			return nil
		}
		bufs, reqs := make([][]int, messages), make([]*mpi.Request, messages)
		for i := range reqs {
			bufs[i] = []int{-1}
			var err error
			if reqs[i], err = mpi.Irecv(c, bufs[i], 0, i); err != nil {
				return err
			}
		}
		var mu sync.Mutex
		var wg sync.WaitGroup
		ended := map[int]int{}
		var errs []error
		for range waiters {
			wg.Go(func() {
				for i, q := range reqs {
					st, err := q.Wait(bg)
					mu.Lock()
					switch {
					case err == nil && st.Tag == i && bufs[i][0] == i:
						ended[i]++
					case !errors.Is(err, mpi.ErrRequest):
						errs = append(errs, fmt.Errorf("request %d: %+v: %w", i, st, err))
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		for i := range reqs {
			if ended[i] != 1 {
				errs = append(errs, fmt.Errorf("request %d ended %d times", i, ended[i]))
			}
		}
		return errors.Join(errs...)
	})
}
