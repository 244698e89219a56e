package mpi_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"outboard/mpi"
)

// worlds are the ways to run ranks in this process.
var worlds = []struct {
	name string
	run  func(n int, f func(world *mpi.Comm) error) error
}{{"inproc", mpi.Run}, {"shm", mpi.RunShm}, {"bounce", mpi.RunBounce}}

// sizes of worlds: powers of two hide mistakes.
var sizes = []int{1, 2, 3, 4, 5, 7, 8}

// onAll runs f in worlds of every kind and the given sizes.
func onAll(t *testing.T, sizes []int, f func(world *mpi.Comm) error) {
	t.Helper()
	for _, w := range worlds {
		for _, n := range sizes {
			t.Run(fmt.Sprintf("%s/%d", w.name, n), func(t *testing.T) {
				t.Helper()
				if err := w.run(n, f); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

var bg = context.Background()

// counts of float64 around every change of protocol.
var counts = []int{0, 1, 2, 3, 11, 12, 13, 100, 1000, 1021, 1022, 1023, 2045, 2046, 2047, 5000, 100_003}

func fill(buf []float64, seed int) {
	for i := range buf {
		buf[i] = float64(seed*1_000_000 + i)
	}
}

func check(buf []float64, seed int) error {
	for i, x := range buf {
		if want := float64(seed*1_000_000 + i); x != want {
			return fmt.Errorf("element %d of %d is %v, want %v", i, len(buf), x, want)
		}
	}
	return nil
}

func TestRing(t *testing.T) {
	onAll(t, sizes, func(c *mpi.Comm) error {
		r, n := c.Rank(), c.Size()
		next, before := (r+1)%n, (r+n-1)%n
		for i, count := range counts {
			out, in := make([]float64, count), make([]float64, count+1)
			fill(out, r+i)
			in[count] = -1
			st, err := mpi.Sendrecv(c, out, next, i, in, before, i)
			if err != nil {
				return err
			}
			if got, ok := mpi.Count[float64](st); !ok || got != count || st.Source != before || st.Tag != i {
				return fmt.Errorf("status %+v of %d elements", st, count)
			}
			if err := check(in[:count], before+i); err != nil {
				return err
			}
			if in[count] != -1 {
				return errors.New("written past the message's end")
			}
		}
		return nil
	})
}

// MPI 4.1, 3.5: messages do not overtake each other, whatever their length.
func TestNonOvertaking(t *testing.T) {
	onAll(t, []int{2}, func(c *mpi.Comm) error {
		const messages = 300
		lengths := rand.New(rand.NewPCG(1, 2))
		if c.Rank() == 0 {
			var reqs []*mpi.Request
			for i := range messages {
				buf := make([]float64, 1+lengths.IntN(4000))
				fill(buf, i)
				r, err := mpi.Isend(c, buf, 1, 3)
				if err != nil {
					return err
				}
				reqs = append(reqs, r)
			}
			return mpi.WaitAll(bg, reqs...)
		}
		in := make([]float64, 4000)
		for i := range messages {
			src := 0
			if i%2 == 0 {
				src = mpi.AnySource
			}
			st, err := mpi.Recv(c, in, src, 3)
			if err != nil {
				return err
			}
			if want := 1 + lengths.IntN(4000); st.Bytes != 8*want {
				return fmt.Errorf("message %d has %d bytes, want %d", i, st.Bytes, 8*want)
			}
			if err := check(in[:st.Bytes/8], i); err != nil {
				return fmt.Errorf("message %d: %w", i, err)
			}
		}
		return nil
	})
}

func TestTagsSelect(t *testing.T) {
	onAll(t, []int{2}, func(c *mpi.Comm) error {
		const n = 20
		if c.Rank() == 0 {
			for i := range n {
				if err := mpi.Send(c, []int{i}, 1, i); err != nil {
					return err
				}
			}
			return nil
		}
		for i := n - 1; i >= 0; i-- {
			buf := []int{-1}
			if _, err := mpi.Recv(c, buf, 0, i); err != nil {
				return err
			}
			if buf[0] != i {
				return fmt.Errorf("tag %d brought %d", i, buf[0])
			}
		}
		return nil
	})
}

func TestProbe(t *testing.T) {
	onAll(t, []int{3}, func(c *mpi.Comm) error {
		if c.Rank() > 0 {
			return mpi.Send(c, make([]int16, 5*c.Rank()+20000*(c.Rank()-1)), 0, c.Rank())
		}
		for range 2 {
			st, err := c.Probe(mpi.AnySource, mpi.AnyTag)
			if err != nil {
				return err
			}
			n, ok := mpi.Count[int16](st)
			if want := 5*st.Source + 20000*(st.Source-1); !ok || n != want || st.Tag != st.Source {
				return fmt.Errorf("probed %+v: %d elements, want %d", st, n, want)
			}
			if _, err := mpi.Recv(c, make([]int16, n), st.Source, st.Tag); err != nil {
				return err
			}
		}
		if _, found, err := c.Iprobe(mpi.AnySource, mpi.AnyTag); found || err != nil {
			return fmt.Errorf("Iprobe found %v, with nothing there, or failed: %w", found, err)
		}
		return nil
	})
}

func TestWaitAnyAndTest(t *testing.T) {
	onAll(t, []int{2}, func(c *mpi.Comm) error {
		if c.Rank() == 0 {
			for tag := 3; tag >= 0; tag-- {
				if err := mpi.Send(c, []int{tag}, 1, tag); err != nil {
					return err
				}
			}
			return nil
		}
		bufs := make([][]int, 4)
		reqs := make([]*mpi.Request, 5)
		for i := range bufs {
			bufs[i] = []int{-1}
			var err error
			if reqs[i], err = mpi.Irecv(c, bufs[i], 0, i); err != nil {
				return err
			}
		}
		for range bufs {
			i, st, err := mpi.WaitAny(bg, reqs...)
			if err != nil {
				return err
			}
			if st.Tag != i || bufs[i][0] != i {
				return fmt.Errorf("request %d: %+v, %v", i, st, bufs[i])
			}
		}
		if i, _, err := mpi.WaitAny(bg, reqs...); i != -1 || err != nil {
			return fmt.Errorf("WaitAny of requests that are over: %d, %w", i, err)
		}
		if _, _, err := reqs[0].Test(); !errors.Is(err, mpi.ErrRequest) {
			return fmt.Errorf("Test of a request that is over: %w", err)
		}
		return nil
	})
}

// expect checks that a call failed as it should, and that the error says so.
func expect(err, want error, words ...string) error {
	if !errors.Is(err, want) {
		return fmt.Errorf("error %w, want %w", err, want)
	}
	var e *mpi.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("%T is no *mpi.Error", err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			return fmt.Errorf("error does not say %q: %w", w, err)
		}
	}
	return nil
}

func TestArguments(t *testing.T) {
	onAll(t, []int{2}, func(c *mpi.Comm) error {
		x, y := []float64{1, 2}, []float64{0, 0}
		recv := func(src, tag int) error { _, err := mpi.Recv(c, y, src, tag); return err }
		freed, err := c.Dup()
		if err != nil {
			return err
		}
		if err := freed.Free(); err != nil {
			return err
		}
		return errors.Join(
			expect(mpi.Send(c, x, 2, 0), mpi.ErrRank, "Send", "rank 2", "0 to 1", "count 2"),
			expect(mpi.Send(c, x, -1, 0), mpi.ErrRank),
			expect(mpi.Send(c, x, 0, -1), mpi.ErrTag, "tag -1"),
			expect(recv(2, 0), mpi.ErrRank),
			expect(recv(-2, 0), mpi.ErrRank),
			expect(recv(0, -2), mpi.ErrTag),
			expect(mpi.Bcast(c, x, 2), mpi.ErrRank, "root 2"),
			expect(mpi.Allreduce(c, x, y[:1], mpi.Sum), mpi.ErrCount, "1 elements, expected 2"),
			expect(mpi.Gather(c, x, y, c.Rank()), mpi.ErrCount, "expected 4"),
			expect(mpi.Allgather(c, x, y), mpi.ErrCount),
			expect(mpi.Alltoall(c, x[:1], y[:1]), mpi.ErrCount, "multiple of the 2"),
			expect(mpi.Allreduce(c, x, y, mpi.BitAnd), mpi.ErrOp),
			expect(mpi.Allreduce(c, []complex128{1}, []complex128{1}, mpi.Max), mpi.ErrOp),
			expect(mpi.Allreduce(c, x, y, mpi.OpFunc(true, func(in, inout []int) {})), mpi.ErrOp, "int", "float64"),
			expect(mpi.Send(freed, x, 0, 0), mpi.ErrFreed),
			expect(freed.Barrier(), mpi.ErrFreed),
			expect(freed.Free(), mpi.ErrFreed),
			expect(c.Free(), mpi.ErrComm),
			expect((*mpi.Comm)(nil).Barrier(), mpi.ErrComm),
			expect(mpi.Send[int](nil, nil, 0, 0), mpi.ErrComm),
		)
	})
}

func TestOverlap(t *testing.T) {
	err := mpi.Run(1, func(c *mpi.Comm) error {
		b := make([]int, 10)
		return errors.Join(
			expect(mpi.Allreduce(c, b[:5], b[4:9], mpi.Sum), mpi.ErrBuffer),
			expect(mpi.Alltoall(c, b, b), mpi.ErrBuffer),
			mpi.Allreduce(c, b, b, mpi.Sum),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// MPI 4.1, 3.2.4 and 3.5: a message that is too long is an error, and the memory past the buffer stays as it was.
func TestTruncate(t *testing.T) {
	onAll(t, []int{2}, func(c *mpi.Comm) error {
		for _, late := range []bool{false, true} {
			for _, count := range []int{2, 100, 5000} {
				if c.Rank() == 0 {
					out := make([]float64, count)
					fill(out, 7)
					if err := mpi.Send(c, out, 1, 1); err != nil {
						return err
					}
					if err := c.Barrier(); err != nil {
						return err
					}
					continue
				}
				if late {
					if _, err := c.Probe(0, 1); err != nil {
						return err
					}
				}
				in := make([]float64, count)
				for i := range in {
					in[i] = -5
				}
				st, err := mpi.Recv(c, in[:count-1], 0, 1)
				if err := expect(err, mpi.ErrTruncate, "Recv", "peer 0", "tag 1", fmt.Sprint("count ", count-1)); err != nil {
					return err
				}
				if st.Bytes != 8*count || in[count-1] != -5 {
					return fmt.Errorf("status %+v, memory past the buffer %v", st, in[count-1])
				}
				if err := check(in[:count-1], 7); err != nil {
					return err
				}
				if err := c.Barrier(); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func TestPendingAtEnd(t *testing.T) {
	err := mpi.Run(2, func(c *mpi.Comm) error {
		if c.Rank() == 1 {
			return nil
		}
		if _, err := mpi.Irecv(c, make([]int, 3), 1, 9); err != nil {
			return err
		}
		_, err := mpi.Irecv(c, make([]int, 4), 1, 10)
		return err
	})
	if err := expect(err, mpi.ErrPending, "Irecv made at", "p2p_test.go", "tag 9", "tag 10", "count 3", "count 4"); err != nil {
		t.Fatal(err)
	}
	err = mpi.Run(2, func(c *mpi.Comm) error {
		if c.Rank() == 1 {
			_, err := c.Probe(0, 8)
			return err
		}
		return mpi.Send(c, []int{1, 2}, 1, 8)
	})
	if err := expect(err, mpi.ErrPending, "16 bytes", "never received", "tag 8"); err != nil {
		t.Fatal(err)
	}
}

func TestErrorEndsWorld(t *testing.T) {
	boom := errors.New("boom")
	for name, f := range map[string]func() error{
		"error": func() error { return boom },
		"panic": func() error { panic(boom) },
	} {
		for _, w := range worlds {
			t.Run(name+"/"+w.name, func(t *testing.T) {
				others := make(chan error, 3)
				err := w.run(4, func(c *mpi.Comm) error {
					var err error
					switch c.Rank() {
					case 0:
						_, err = mpi.Recv(c, make([]int, 1), 3, 0)
					case 1:
						err = c.Barrier()
					case 2:
						_, err = c.Probe(mpi.AnySource, mpi.AnyTag)
					case 3:
						time.Sleep(time.Millisecond)
						return f()
					}
					others <- err
					return err
				})
				if err == nil || !strings.Contains(err.Error(), "boom") {
					t.Fatalf("the world ended with %v", err)
				}
				for range 3 {
					if err := expect(<-others, mpi.ErrAborted, "rank 3"); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

func TestDeadlines(t *testing.T) {
	onAll(t, []int{2}, func(c *mpi.Comm) error {
		short := func() *mpi.Comm {
			ctx, cancel := context.WithTimeout(bg, 20*time.Millisecond)
			_ = cancel
			return c.With(ctx)
		}
		if c.Rank() == 0 {
			_, err := mpi.Recv(short(), make([]int, 1), 1, 0)
			if err := expect(err, context.DeadlineExceeded, "Recv", "peer 1"); err != nil {
				return err
			}
			_, err = short().Probe(1, 0)
			if err := expect(err, context.DeadlineExceeded); err != nil {
				return err
			}
			r, err := mpi.Irecv(c, make([]int, 1), 1, 5)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(bg, 10*time.Millisecond)
			defer cancel()
			_, err = r.Wait(ctx)
			if err := expect(err, context.DeadlineExceeded); err != nil {
				return err
			}
			if err := mpi.Send(c, []int{1}, 1, 4); err != nil {
				return err
			}
			if _, err = r.Wait(bg); err != nil {
				return err
			}
			_, err = mpi.Recv(c, make([]float64, 100_000), 1, 77)
			return err
		}
		big := make([]float64, 100_000)
		err := mpi.Send(short(), big, 0, 77)
		if err := expect(err, context.DeadlineExceeded, "Send"); err != nil {
			return err
		}
		if _, err := mpi.Recv(c, make([]int, 1), 0, 4); err != nil {
			return err
		}
		return mpi.Send(c, []int{2}, 0, 5)
	})
}

// testing's FailNow, and so t.Fatal, ends the goroutine without a return.
func TestGoexitEndsWorld(t *testing.T) {
	err := mpi.Run(3, func(c *mpi.Comm) error {
		if c.Rank() == 1 {
			runtime.Goexit()
		}
		return c.Barrier()
	})
	if err := expect(err, mpi.ErrAborted, "rank 1 has ended its goroutine"); err != nil {
		t.Fatal(err)
	}
}
