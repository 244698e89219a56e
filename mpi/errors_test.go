package mpi_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"syscall"
	"testing"

	"outboard/mpi"
)

// Every class of error, and what the message says of the offending value. ErrProcFailed has tests of its own, with
// processes.
func TestErrorClasses(t *testing.T) {
	x, y := []int{1, 2}, []int{0, 0}
	cases := []struct {
		name  string
		class error
		call  func(c *mpi.Comm) error
		words []string
	}{
		{"long message", mpi.ErrTruncate, func(c *mpi.Comm) error {
			_, err := mpi.Sendrecv(c, x, 0, 3, y[:1], 0, 3)
			return err
		}, []string{"Sendrecv", "tag 3", "count 1"}},
		{"no such rank", mpi.ErrRank, func(c *mpi.Comm) error { return mpi.Send(c, x, 1, 0) }, []string{"rank 1: expected 0 to 0"}},
		{"any source as a destination", mpi.ErrRank, func(c *mpi.Comm) error { return mpi.Send(c, x, mpi.AnySource, 0) }, []string{"rank -1"}},
		{"no such root", mpi.ErrRank, func(c *mpi.Comm) error { return mpi.Gather(c, x, y, -1) }, []string{"root -1: expected 0 to 0", "count 2"}},
		{"no ranks", mpi.ErrRank, func(*mpi.Comm) error { return mpi.Run(0, nil) }, []string{"0 ranks: expected at least 1"}},
		{"negative tag", mpi.ErrTag, func(c *mpi.Comm) error { return mpi.Send(c, x, 0, mpi.AnyTag) }, []string{"tag -1: expected 0 to 2147483647"}},
		{"tag too large", mpi.ErrTag, func(c *mpi.Comm) error {
			_, err := mpi.Irecv(c, x, 0, math.MaxInt32+1)
			return err
		}, []string{"Irecv", "tag 2147483648"}},
		{"bad probe", mpi.ErrTag, func(c *mpi.Comm) error { _, err := c.Probe(0, -2); return err }, []string{"Probe", "tag -2"}},
		{"bad Iprobe", mpi.ErrRank, func(c *mpi.Comm) error { _, _, err := c.Iprobe(-2, 0); return err }, []string{"Iprobe", "rank -2"}},
		{"lengths", mpi.ErrCount, func(c *mpi.Comm) error { return mpi.Scatter(c, x, y[:1], 0) }, []string{"2 elements, expected 1", "count 2"}},
		{"color", mpi.ErrColor, func(c *mpi.Comm) error { _, err := c.Split(-7, 0); return err }, []string{"color -7"}},
		{"overlap", mpi.ErrBuffer, func(c *mpi.Comm) error { return mpi.Allgather(c, x, x) }, []string{"Allgather", "share memory"}},
		{"overlap of a message", mpi.ErrBuffer, func(c *mpi.Comm) error {
			_, err := mpi.Sendrecv(c, x, 0, 0, x[1:], 0, 0)
			return err
		}, nil},
		{"bits of floats", mpi.ErrOp, func(c *mpi.Comm) error { return mpi.AllreduceInPlace(c, []float32{1}, mpi.BitXor) }, []string{"float32"}},
		{"no operator", mpi.ErrOp, func(c *mpi.Comm) error { return mpi.Reduce(c, x, y, mpi.Op{}, 0) }, []string{"Reduce"}},
		{"operator of another type", mpi.ErrOp, func(c *mpi.Comm) error {
			return mpi.Allreduce(c, x, y, mpi.OpFunc(true, func(in, inout []celsius) {}))
		}, []string{"mpi_test.celsius", "elements are int"}},
		{"no communicator", mpi.ErrComm, func(*mpi.Comm) error { return mpi.Bcast[int8](nil, nil, 0) }, []string{"Bcast", "nil"}},
		{"zero communicator", mpi.ErrComm, func(*mpi.Comm) error { return mpi.Alltoall(&mpi.Comm{}, x, y) }, []string{"Alltoall"}},
		{"the world is not freed", mpi.ErrComm, (*mpi.Comm).Free, []string{"freed by Finalize"}},
		{"freed", mpi.ErrFreed, func(c *mpi.Comm) error {
			d, err := c.Dup()
			return errors.Join(err, d.Free(), d.Free())
		}, []string{"world.dup"}},
		{"no request", mpi.ErrRequest, func(*mpi.Comm) error { _, err := (*mpi.Request)(nil).Wait(bg); return err }, []string{"Wait", "nil"}},
		{"zero request", mpi.ErrRequest, func(*mpi.Comm) error { _, _, err := new(mpi.Request).Test(); return err }, []string{"Test"}},
		{"waited for twice", mpi.ErrRequest, func(c *mpi.Comm) error {
			r, err := mpi.Isend(c, x, 0, 1)
			s, err2 := mpi.Irecv(c, y, 0, 1)
			if err := errors.Join(err, err2, mpi.WaitAll(bg, r, s)); err != nil {
				return err
			}
			return mpi.WaitAll(bg, r, nil)
		}, []string{"Isend made at", "errors_test.go"}},
		{"left behind", mpi.ErrPending, func(*mpi.Comm) error {
			return mpi.Run(1, func(c *mpi.Comm) error { return mpi.Send(c, x, 0, 1) })
		}, []string{"never received", "tag 1"}},
		{"aborted", mpi.ErrAborted, func(*mpi.Comm) error {
			return mpi.Run(1, func(c *mpi.Comm) error { c.Abort(300); return c.Barrier() })
		}, []string{"with code 1"}},
		{"not initialised", mpi.ErrInit, func(*mpi.Comm) error { return mpi.Finalize() }, []string{"Finalize"}},
		{"deadline", context.Canceled, func(c *mpi.Comm) error {
			ctx, cancel := context.WithCancel(bg)
			cancel()
			_, err := mpi.Recv(c.With(ctx), x, 0, 0)
			return err
		}, []string{"Recv"}},
	}
	for _, k := range cases {
		t.Run(k.name, func(t *testing.T) {
			err := mpi.Run(1, func(c *mpi.Comm) error {
				return errors.Join(expect(k.call(c), k.class, k.words...), c.Barrier())
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// A Sendrecv that fails takes its receive back: the message is there for the next one.
func TestSendrecvTakesBack(t *testing.T) {
	onAll(t, []int{2}, func(c *mpi.Comm) error {
		peer, in := 1-c.Rank(), []int{0}
		_, err := mpi.Sendrecv(c, []int{7}, 2, 0, in, peer, 0)
		if err := expect(err, mpi.ErrRank, "Sendrecv", "rank 2"); err != nil {
			return err
		}
		if _, err := mpi.Sendrecv(c, []int{c.Rank()}, peer, 0, in, peer, 0); err != nil || in[0] != peer {
			return fmt.Errorf("got %d: %w", in[0], err)
		}
		return nil
	})
}

// Failures of some requests do not hide those of others, nor the others' success.
func TestWaitAllJoins(t *testing.T) {
	onAll(t, []int{2}, func(c *mpi.Comm) error {
		if c.Rank() == 0 {
			return errors.Join(mpi.Send(c, []int{1, 2}, 1, 1), mpi.Send(c, []int{3}, 1, 2), mpi.Send(c, []int{4, 5}, 1, 3))
		}
		var reqs [3]*mpi.Request
		in := make([]int, 3)
		for i := range reqs {
			var err error
			if reqs[i], err = mpi.Irecv(c, in[i:i+1], 0, i+1); err != nil {
				return err
			}
		}
		err := mpi.WaitAll(bg, reqs[:]...)
		if err := expect(err, mpi.ErrTruncate, "tag 1", "tag 3"); err != nil {
			return err
		}
		if strings.Contains(err.Error(), "tag 2") || in[0] != 1 || in[1] != 3 || in[2] != 4 {
			return fmt.Errorf("received %v: %w", in, err)
		}
		return nil
	})
}

// survive lets rank 1 die, and the others say what they see of it.
func survive(world *mpi.Comm) error {
	err := world.Barrier() // all have joined
	if world.Rank() == 1 {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGKILL); err != nil {
			return err
		}
		select {}
	}
	if err == nil {
		err = waitInSomeWay(world)
	}
	err = expect(err, mpi.ErrProcFailed, "rank 1 failed", "peer 1")
	later := expect(mpi.Send(world, []int{1}, 0, 0), mpi.ErrProcFailed, "Send", "peer 1")
	if err := errors.Join(err, later); err != nil {
		return err
	}
	fmt.Println("as expected")
	return nil
}

func TestProcFailed(t *testing.T) {
	_, text, err := launched(t, "survive", 5)
	if n := strings.Count(text, "as expected\n"); n != 4 {
		t.Errorf("%d of 4 survivors saw what they should: %v\n%s", n, err, text)
	}
}
