package cg

import (
	"context"
	"errors"
	"fmt"
	"math"
)

var (
	// ErrMaxIterations says that the iterations allowed were not enough.
	ErrMaxIterations = errors.New("too many iterations")
	// ErrStagnated says that rounding errors keep the residual above the tolerance: the matrix is too badly conditioned.
	ErrStagnated = errors.New("residual stagnates")
	// ErrRange says that a sum of squares is too large or too small for float64: the system needs scaling.
	ErrRange = errors.New("out of the range of float64")
)

// An Error is a solve that did not converge.
type Error struct {
	Iterations int     // done so far
	Residual   float64 // the last known ‖b − Ax‖ / ‖b‖
	Err        error   // wraps ErrNotPositiveDefinite, ErrMaxIterations, ErrStagnated or ErrRange
}

func (e *Error) Error() string {
	if e.Iterations == 0 {
		return e.Err.Error()
	}
	return fmt.Sprintf("after %d iterations with relative residual %.3g: %v", e.Iterations, e.Residual, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Options says how to solve. Tolerance and MaxIterations must be set.
type Options struct {
	Jacobi        bool    // precondition with the diagonal
	Tolerance     float64 // of ‖b − Ax‖ / ‖b‖, between 0 and 1
	MaxIterations int     // at least 1
}

// smallestSquare bounds ‖b‖² so that even ‖r‖² = 10⁻³²‖b‖² is far from underflow.
const smallestSquare = 1e-200

func (o Options) check() error {
	if !(o.Tolerance > 0 && o.Tolerance < 1) {
		return fmt.Errorf("tolerance is %g, want it between 0 and 1", o.Tolerance)
	}
	if o.MaxIterations < 1 {
		return fmt.Errorf("at most %d iterations, want at least 1", o.MaxIterations)
	}
	return nil
}

// A Result says how a solve went.
type Result struct {
	Iterations int
	Restarts   int     // times that the residual had drifted from b − Ax and was computed afresh
	Residual   float64 // ‖b − Ax‖ / ‖b‖, computed from a solution, not carried along
}

// Solve solves Ax = b. b and x are the rank's parts, as long as a.NewVector().Own; x is the initial guess and becomes the
// solution. All ranks must call it with the same options. Failing to converge is an *[Error] on all of them, with
// the last iterate in x; an early end of ctx is its error.
//
// The residual that the iteration carries along drifts from b − Ax as rounding errors add up (Greenbaum, "Estimating
// the Attainable Accuracy of Recursively Computed Residual Methods", SIAM J. Matrix Anal. 18, 1997). So once it is
// small enough it is computed afresh, and if it proves too large the iteration restarts from x, until a restart gains
// less than a factor of 2.
func Solve(ctx context.Context, a *Matrix, b, x []float64, o Options) (Result, error) {
	if err := o.check(); err != nil {
		return Result{}, err
	}
	if n := a.end - a.first; len(b) != n || len(x) != n {
		return Result{}, fmt.Errorf("b has %d elements and x %d, want %d", len(b), len(x), n)
	}
	s := newSolver(ctx, a, b, x, o)
	err := s.solve()
	return s.result, err
}

// A solver is one rank's state of the iteration, named as in the literature.
type solver struct {
	ctx     context.Context
	a       *Matrix
	sums    *sums
	options Options
	result  Result

	b, x, r, q, z []float64
	p             *Vector
	inverse       []float64 // of the preconditioner's diagonal
	normB         float64
	rz            float64 // rᵀz
	rr            float64 // rᵀr
}

func newSolver(ctx context.Context, a *Matrix, b, x []float64, o Options) *solver {
	n := len(x)
	s := &solver{
		ctx: ctx, a: a, sums: newSums(ctx, a.world, a.part), options: o,
		b: b, x: x, r: make([]float64, n), q: make([]float64, n), z: make([]float64, n), p: a.NewVector(),
		inverse: make([]float64, n),
	}
	for i, d := range a.diagonal {
		s.inverse[i] = 1
		if o.Jacobi {
			s.inverse[i] = 1 / d
		}
	}
	return s
}

func (s *solver) solve() error {
	zero, err := s.measureB()
	if err != nil {
		return err
	}
	if zero {
		clear(s.x)
		return nil
	}
	for last := math.Inf(1); ; {
		if err := s.restart(); err != nil {
			return err
		}
		s.result.Residual = s.residual()
		switch residual, want := s.result.Residual, s.options.Tolerance; {
		case residual <= want:
			return nil
		case math.IsNaN(residual) || math.IsInf(residual, 1):
			return s.fail(fmt.Errorf("residual %w", ErrRange))
		case s.result.Iterations == s.options.MaxIterations:
			return s.fail(fmt.Errorf("%w: want residual %g within %d", ErrMaxIterations, want, s.options.MaxIterations))
		case residual > last/2:
			return s.fail(fmt.Errorf("%w: want %g, but a restart from %.3g gained less than a factor of 2",
				ErrStagnated, want, last))
		}
		if s.result.Iterations > 0 {
			s.result.Restarts++
		}
		last = s.result.Residual
		if err := s.iterate(); err != nil {
			return err
		}
	}
}

// measureB computes ‖b‖ and says whether b is zero.
func (s *solver) measureB() (zero bool, err error) {
	bb, nonzeros, err := s.sums.over(2, func(first, end int) (bb, nonzeros float64) {
		for _, v := range s.b[first:end] {
			bb += v * v
			if v != 0 {
				nonzeros++
			}
		}
		return bb, nonzeros
	})
	if err != nil {
		return false, err
	}
	if nonzeros > 0 && !(bb >= smallestSquare && bb <= math.MaxFloat64) {
		return false, &Error{Err: fmt.Errorf("‖b‖² is %g: %w", bb, ErrRange)}
	}
	s.normB = math.Sqrt(bb)
	return nonzeros == 0, nil
}

// residual returns the relative residual, as far as the iteration knows it.
func (s *solver) residual() float64 { return math.Sqrt(s.rr) / s.normB }

func (s *solver) fail(err error) error {
	return &Error{Iterations: s.result.Iterations, Residual: s.residual(), Err: err}
}

// restart computes r = b − Ax and starts with a new direction.
func (s *solver) restart() error {
	copy(s.p.Own, s.x)
	if err := s.a.Multiply(s.ctx, s.q, s.p); err != nil {
		return err
	}
	copy(s.r, s.b)
	if err := s.advance(1, nil); err != nil {
		return err
	}
	copy(s.p.Own, s.z)
	return nil
}

// iterate runs conjugate gradients until the residual it carries along is small enough or the iterations are used up.
func (s *solver) iterate() error {
	for s.residual() > s.options.Tolerance && s.result.Iterations < s.options.MaxIterations {
		if err := s.step(); err != nil {
			return err
		}
		s.result.Iterations++
	}
	return nil
}

// step is one iteration: it moves along p as far as the residual gets smaller and turns p.
func (s *solver) step() error {
	if err := s.a.Multiply(s.ctx, s.q, s.p); err != nil {
		return err
	}
	pq, err := s.sums.dot(s.p.Own, s.q)
	if err != nil {
		return err
	}
	if !(pq > 0) || math.IsInf(pq, 1) {
		return s.fail(fmt.Errorf("%w: pᵀAp is %g, want it finite and greater than 0", ErrNotPositiveDefinite, pq))
	}
	before := s.rz
	if err := s.advance(before/pq, s.p.Own); err != nil {
		return err
	}
	beta := s.rz / before
	p, z := s.p.Own, s.z[:len(s.p.Own)]
	for i := range p {
		p[i] = z[i] + beta*p[i]
	}
	return nil
}

// advance adds α·p to x, unless p is nil, takes α·q from r, and brings z, rᵀr and rᵀz up to date, in one pass.
func (s *solver) advance(alpha float64, p []float64) (err error) {
	s.rr, s.rz, err = s.sums.over(2, func(first, end int) (rr, rz float64) {
		if p != nil {
			x, p := s.x[first:end], p[first:end]
			for i := range x {
				x[i] += alpha * p[i]
			}
		}
		r := s.r[first:end]
		q, z, inverse := s.q[first:end:end], s.z[first:end:end], s.inverse[first:end:end]
		for i := range r {
			r[i] -= alpha * q[i]
			z[i] = inverse[i] * r[i]
			rr += r[i] * r[i]
			rz += r[i] * z[i]
		}
		return rr, rz
	})
	return err
}
