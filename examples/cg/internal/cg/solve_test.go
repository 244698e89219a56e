package cg

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"

	"outboard/examples/cg/internal/mm"
	"outboard/mpi"
)

// system is a matrix to be solved with and how well that can be expected to go.
type system struct {
	name      string
	matrix    mat.Symmetric
	options   Options
	condition float64 // the least condition it must have to be the test it claims to be
	accuracy  float64 // of the solution
}

func systems() []system {
	random := mat.NewSymDense(50, nil)
	rng := rand.New(rand.NewPCG(1, 2))
	factor := mat.NewDense(50, 60, nil)
	factor.Apply(func(_, _ int, _ float64) float64 { return rng.NormFloat64() }, factor)
	random.SymOuterK(1, factor)

	grid := mat.NewSymDense(64, nil)
	_, rows, _ := Poisson(4, 1, 0, false)
	for i := range 64 {
		for k := rows.Ptr[i]; k < rows.Ptr[i+1]; k++ {
			grid.SetSym(i, int(rows.Col[k]), rows.Val[k])
		}
	}
	return []system{
		{"one row", mat.NewSymDense(1, []float64{3}), Options{Tolerance: 1e-12, MaxIterations: 10}, 1, 1e-12},
		{"fewer rows than ranks", mat.NewSymDense(2, []float64{2, 1, 1, 2}), Options{Tolerance: 1e-12, MaxIterations: 10}, 2, 1e-12},
		{"diagonal", mat.NewSymDense(3, []float64{1, 0, 0, 0, 1e3, 0, 0, 0, 1e6}), Options{Jacobi: true, Tolerance: 1e-12, MaxIterations: 10}, 1e5, 1e-12},
		{"grid", grid, Options{Tolerance: 1e-12, MaxIterations: 100}, 5, 1e-11},
		{"random dense", random, Options{Tolerance: 1e-12, MaxIterations: 1000}, 100, 1e-9},
		{"beam", beam(30), Options{Jacobi: true, Tolerance: 1e-10, MaxIterations: 10000}, 1e8, 1e-3},
	}
}

// TestSolve compares with a Cholesky factorisation, and the solutions on several numbers of ranks bit for bit.
func TestSolve(t *testing.T) {
	for _, test := range systems() {
		t.Run(test.name, func(t *testing.T) {
			m := sparse(test.matrix)
			_, b := manufacture(m)
			var cholesky mat.Cholesky
			if !cholesky.Factorize(test.matrix) || cholesky.Cond() < test.condition {
				t.Fatalf("condition is %g, want at least %g", cholesky.Cond(), test.condition)
			}
			var want mat.VecDense
			if err := cholesky.SolveVecTo(&want, mat.NewVecDense(len(b), b)); err != nil {
				t.Fatal(err)
			}
			one, result, err := solve(t, 1, m, b, test.options)
			if err != nil {
				t.Fatal(err)
			}
			if d := distance(one, want.RawVector().Data); !(d <= test.accuracy) {
				t.Errorf("differs from Cholesky by %g, want at most %g", d, test.accuracy)
			}
			if !(result.Residual <= test.options.Tolerance) {
				t.Errorf("residual is %g, want at most %g", result.Residual, test.options.Tolerance)
			}
			for _, ranks := range sizes[1:] {
				x, r, err := solve(t, ranks, m, b, test.options)
				if !slices.Equal(x, one) || r != result || err != nil {
					t.Errorf("%d ranks: solution differs by %g, %+v, %v, want the bits of one rank, %+v",
						ranks, distance(x, one), r, err, result)
				}
			}
		})
	}
}

// TestSolveStiffness solves with a real, badly conditioned matrix: 2003 rows, condition about 10¹⁰.
func TestSolveStiffness(t *testing.T) {
	m, err := mm.ReadFile("../../testdata/bcsstk13.mtx.gz")
	if err != nil {
		t.Fatal(err)
	}
	exact, b := manufacture(m)
	options := Options{Jacobi: true, Tolerance: 1e-10, MaxIterations: 5000}
	x, result, err := solve(t, 1, m, b, options)
	if err != nil || !(result.Residual <= options.Tolerance) {
		t.Errorf("residual is %g, %v, want at most %g", result.Residual, err, options.Tolerance)
	}
	if d := distance(x, exact); !(d <= 1e-4) {
		t.Errorf("error is %g, want at most 1e-4", d)
	}

	options.MaxIterations = 50
	one, result, _ := solve(t, 1, m, b, options)
	for _, ranks := range sizes[1:] {
		x, r, err := solve(t, ranks, m, b, options)
		if !slices.Equal(x, one) || r != result || !errors.Is(err, ErrMaxIterations) {
			t.Errorf("%d ranks: solution differs by %g, %+v, %v, want the bits of one rank, %+v, and ErrMaxIterations",
				ranks, distance(x, one), r, err, result)
		}
	}
}

func TestSolveIterations(t *testing.T) {
	// In exact arithmetic the iterations are at most the distinct eigenvalues, here 3; scaled by Jacobi, 1.
	diagonal := mat.NewSymDense(9, nil)
	for i := range 9 {
		diagonal.SetSym(i, i, float64(1+i%3))
	}
	m := sparse(diagonal)
	_, b := manufacture(m)
	for _, test := range []struct {
		name   string
		jacobi bool
		most   int
	}{{"plain", false, 3}, {"Jacobi", true, 1}} {
		t.Run(test.name, func(t *testing.T) {
			_, r, err := solve(t, 2, m, b, Options{Jacobi: test.jacobi, Tolerance: 1e-12, MaxIterations: 9})
			if r.Iterations > test.most || err != nil {
				t.Errorf("%d iterations, %v, want at most %d", r.Iterations, err, test.most)
			}
		})
	}
}

func TestSolveGuess(t *testing.T) {
	m := sparse(systems()[3].matrix)
	exact, b := manufacture(m)
	run(t, 3, func(world *mpi.Comm) error {
		a, err := distribute(world, m)
		if err != nil {
			return err
		}
		x := slices.Clone(exact[a.first:a.end])
		r, err := Solve(context.Background(), a, b[a.first:a.end], x, Options{Tolerance: 1e-12, MaxIterations: 9})
		if err == nil && r.Iterations != 0 {
			err = fmt.Errorf("%d iterations from the solution, want 0", r.Iterations)
		}
		return err
	})
}

func TestSolveZero(t *testing.T) {
	m := sparse(systems()[3].matrix)
	run(t, 3, func(world *mpi.Comm) error {
		a, err := distribute(world, m)
		if err != nil {
			return err
		}
		n := a.end - a.first
		x := slices.Repeat([]float64{7}, n)
		r, err := Solve(context.Background(), a, make([]float64, n), x, Options{Tolerance: 1e-12, MaxIterations: 9})
		if err == nil && (r != Result{} || slices.ContainsFunc(x, func(v float64) bool { return v != 0 })) {
			err = fmt.Errorf("got %v, %+v, want zeros at once", x, r)
		}
		return err
	})
}

// TestSolveErrors wants the same error on every rank, with and without neighbours to wait for.
func TestSolveErrors(t *testing.T) {
	indefinite := mat.NewSymDense(3, []float64{1, 2, 0, 2, 1, 0, 0, 0, 1})
	ones := func(n int) []float64 { return slices.Repeat([]float64{1}, n) }
	for _, test := range []struct {
		name    string
		matrix  mat.Symmetric
		b       []float64
		options Options
		is      error
		want    string
	}{
		{"not positive definite", indefinite, []float64{1, -1, 0}, Options{Tolerance: 1e-9, MaxIterations: 9},
			ErrNotPositiveDefinite, "pᵀAp is -2"},
		{"too few iterations", beam(20), ones(40), Options{Tolerance: 1e-9, MaxIterations: 3}, ErrMaxIterations, "after 3 iterations"},
		{"beyond accuracy", beam(20), ones(40), Options{Jacobi: true, Tolerance: 1e-30, MaxIterations: 1e6},
			ErrStagnated, "want 1e-30"},
		{"b overflows", beam(1), []float64{1e200, 0}, Options{Tolerance: 1e-9, MaxIterations: 9}, ErrRange, "is +Inf"},
		{"b underflows", beam(1), []float64{1e-200, 0}, Options{Tolerance: 1e-9, MaxIterations: 9}, ErrRange, "is 0"},
		{"b is NaN", beam(1), []float64{math.NaN(), 0}, Options{Tolerance: 1e-9, MaxIterations: 9}, ErrRange, "is NaN"},
		{"no tolerance", beam(1), ones(2), Options{MaxIterations: 9}, nil, "tolerance is 0"},
		{"tolerance 1", beam(1), ones(2), Options{Tolerance: 1, MaxIterations: 9}, nil, "tolerance is 1"},
		{"tolerance NaN", beam(1), ones(2), Options{Tolerance: math.NaN(), MaxIterations: 9}, nil, "tolerance is NaN"},
		{"no iterations", beam(1), ones(2), Options{Tolerance: 1e-9}, nil, "at most 0 iterations"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := sparse(test.matrix)
			for _, ranks := range []int{1, 3} {
				run(t, ranks, func(world *mpi.Comm) error {
					a, err := distribute(world, m)
					if err != nil {
						return err
					}
					b := test.b[a.first:a.end]
					_, err = Solve(context.Background(), a, b, make([]float64, len(b)), test.options)
					if err == nil || !strings.Contains(err.Error(), test.want) || (test.is != nil && !errors.Is(err, test.is)) {
						t.Errorf("%d ranks: got %v, want %v with %q", ranks, err, test.is, test.want)
					}
					return nil
				})
			}
		})
	}
}

func TestSolveLengths(t *testing.T) {
	m := sparse(beam(2))
	run(t, 1, func(world *mpi.Comm) error {
		a, err := distribute(world, m)
		if err != nil {
			return err
		}
		_, err = Solve(context.Background(), a, make([]float64, 4), make([]float64, 3), Options{Tolerance: 0.1, MaxIterations: 1})
		if err == nil || !strings.Contains(err.Error(), "x 3, want 4") {
			t.Errorf("got %v, want an error about 3 elements", err)
		}
		return nil
	})
}

func TestSolveCancelled(t *testing.T) {
	m := sparse(beam(60))
	_, b := manufacture(m)
	for _, ranks := range []int{1, 3} {
		run(t, ranks, func(world *mpi.Comm) error {
			a, err := distribute(world, m)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			x := make([]float64, a.end-a.first)
			_, err = Solve(ctx, a, b[a.first:a.end], x, Options{Tolerance: 1e-10, MaxIterations: 1e6})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%d ranks: got %v, want context.Canceled", ranks, err)
			}
			return nil
		})
	}
}

// A countdown is a context that is cancelled when it has been asked often enough.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

func TestSolveCancelledAlone(t *testing.T) {
	m := sparse(beam(60))
	_, b := manufacture(m)
	run(t, 1, func(world *mpi.Comm) error {
		a, err := distribute(world, m)
		if err != nil {
			return err
		}
		r, err := Solve(&countdown{context.Background(), 20}, a, b, make([]float64, len(b)), Options{Tolerance: 1e-10, MaxIterations: 1e6})
		if !errors.Is(err, context.Canceled) || r.Iterations < 1 || r.Iterations > 10 {
			t.Errorf("got %v after %d iterations, want context.Canceled after 1 to 10", err, r.Iterations)
		}
		return nil
	})
}

func BenchmarkStep(b *testing.B) {
	for _, side := range []int{16, 48} {
		b.Run(fmt.Sprintf("poisson=%d", side), func(b *testing.B) {
			run(b, 1, func(world *mpi.Comm) error {
				part, rows, err := Poisson(side, 1, 0, false)
				if err != nil {
					return err
				}
				a, err := NewMatrix(world, part, rows)
				if err != nil {
					return err
				}
				rhs, x := slices.Repeat([]float64{1}, part.Rows()), make([]float64, part.Rows())
				s := newSolver(context.Background(), a, rhs, x, Options{Tolerance: 1e-300, MaxIterations: 1})
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if i%50 == 0 { // before rounding errors take over
						clear(x)
						if err := s.restart(); err != nil {
							return err
						}
					}
					if err := s.step(); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
}
