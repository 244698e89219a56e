package mpi_test

import (
	"testing"

	"outboard/mpi"
)

// inTwo runs f on rank 0 while rank 1 answers: it does echo as often as f calls again, which is
// f's way of saying that there is another round.
func inTwo(tb testing.TB, run func(n int, f func(world *mpi.Comm) error) error, echo func(c *mpi.Comm) error, f func(c *mpi.Comm, again func())) {
	tb.Helper()
	again := make(chan struct{}, 1)
	err := run(2, func(c *mpi.Comm) error {
		if c.Rank() == 0 {
			defer close(again)
			f(c, func() { again <- struct{}{} })
			return nil
		}
		for range again {
			if err := echo(c); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// Small messages and reductions allocate nothing, on either side.
func TestAllocations(t *testing.T) {
	out, in := []float64{1}, []float64{0}
	echoed := []float64{0}
	cases := []struct {
		name       string
		call, echo func(c *mpi.Comm) error
	}{
		{"Send and Recv", func(c *mpi.Comm) error {
			if err := mpi.Send(c, out, 1, 0); err != nil {
				return err
			}
			_, err := mpi.Recv(c, in, 1, 0)
			return err
		}, func(c *mpi.Comm) error {
			if _, err := mpi.Recv(c, echoed, 0, 0); err != nil {
				return err
			}
			return mpi.Send(c, echoed, 0, 0)
		}},
		{"Allreduce", func(c *mpi.Comm) error { return mpi.Allreduce(c, out, in, mpi.Sum) },
			func(c *mpi.Comm) error { return mpi.AllreduceInPlace(c, echoed, mpi.Sum) }},
		{"Barrier", (*mpi.Comm).Barrier, (*mpi.Comm).Barrier},
		{"Bcast", func(c *mpi.Comm) error { return mpi.Bcast(c, out, 0) }, func(c *mpi.Comm) error { return mpi.Bcast(c, echoed, 0) }},
	}
	for _, w := range worlds {
		for _, k := range cases {
			t.Run(w.name+"/"+k.name, func(t *testing.T) {
				inTwo(t, w.run, k.echo, func(c *mpi.Comm, again func()) {
					n := testing.AllocsPerRun(200, func() {
						again()
						if err := k.call(c); err != nil {
							t.Error(err)
						}
					})
					if n != 0 {
						t.Errorf("%v allocations", n)
					}
				})
			})
		}
	}
}

// benchmark times call on rank 0 while rank 1 does the same as often.
func benchmark(b *testing.B, run func(n int, f func(world *mpi.Comm) error) error, call func(c *mpi.Comm) func() error) {
	b.ReportAllocs()
	err := run(2, func(c *mpi.Comm) error {
		f := call(c)
		if err := c.Barrier(); err != nil {
			return err
		}
		if c.Rank() == 0 {
			b.ResetTimer()
		}
		for range b.N {
			if err := f(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// There and back again, 8 bytes.
func BenchmarkPingPong8(b *testing.B) {
	for _, w := range worlds {
		b.Run(w.name, func(b *testing.B) {
			benchmark(b, w.run, func(c *mpi.Comm) func() error {
				buf := []float64{1}
				return func() error {
					if c.Rank() == 0 {
						if err := mpi.Send(c, buf, 1, 0); err != nil {
							return err
						}
						_, err := mpi.Recv(c, buf, 1, 0)
						return err
					}
					if _, err := mpi.Recv(c, buf, 0, 0); err != nil {
						return err
					}
					return mpi.Send(c, buf, 0, 0)
				}
			})
		})
	}
}

func BenchmarkAllreduce8(b *testing.B) {
	for _, w := range worlds {
		b.Run(w.name, func(b *testing.B) {
			benchmark(b, w.run, func(c *mpi.Comm) func() error {
				in, out := []float64{1}, []float64{0}
				return func() error { return mpi.Allreduce(c, in, out, mpi.Sum) }
			})
		})
	}
}

// A message to oneself by Isend, Irecv and two Waits: what requests cost.
func BenchmarkRequests(b *testing.B) {
	b.ReportAllocs()
	err := mpi.Run(1, func(c *mpi.Comm) error {
		out, in := []float64{1}, []float64{0}
		for b.Loop() {
			r, err := mpi.Irecv(c, in, 0, 0)
			if err != nil {
				return err
			}
			s, err := mpi.Isend(c, out, 0, 0)
			if err != nil {
				return err
			}
			if err := mpi.WaitAll(bg, r, s); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}
