package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"

	"outboard/examples/cg/internal/cg"
	"outboard/examples/cg/internal/mm"
	"outboard/mpi"
)

// run is one rank's part of the job; bad is what was wrong with the command line. Rank 0 prints to out. Every rank gets an
// error if any does.
func run(world *mpi.Comm, c config, bad error, out io.Writer) error {
	if world.Rank() > 0 {
		out = io.Discard
	}
	if errors.Is(bad, flag.ErrHelp) {
		usage(out)
		return nil
	}
	if err := cg.Agree(world, bad); err != nil {
		return err
	}
	file, err := createSolution(world, c.solution)
	if err != nil {
		return err
	}
	defer file.close()
	s, err := newSystem(world, c)
	if err != nil {
		return err
	}
	if err := s.describe(out); err != nil {
		return err
	}
	options := cg.Options{Jacobi: c.jacobi, Tolerance: c.tolerance, MaxIterations: c.maxIterations}
	if options.MaxIterations == 0 {
		options.MaxIterations = 10 * s.part.Rows()
	}
	if err := s.solve(options, out); err != nil {
		return err
	}
	return file.write(world, s.part, s.x)
}

// A system is one rank's part of Ax = b.
type system struct {
	world *mpi.Comm
	name  string
	part  *cg.Partition
	a     *cg.Matrix
	b, x  []float64
	exact []float64 // the solution, if it is known
}

// newSystem makes or reads the matrix and makes the right-hand side.
func newSystem(world *mpi.Comm, c config) (*system, error) {
	s := &system{world: world}
	rows, err := s.load(c)
	if err != nil {
		return nil, err
	}
	if s.a, err = cg.NewMatrix(world, s.part, rows); err != nil {
		return nil, err
	}
	v := s.a.NewVector()
	s.b, s.x = make([]float64, len(v.Own)), make([]float64, len(v.Own))
	if c.rhs == "ones" {
		for i := range s.b {
			s.b[i] = 1
		}
		return s, nil
	}
	first, _ := s.part.Range(world.Rank())
	for i := range v.Own {
		v.Own[i] = 1 + math.Sin(float64(first+i))/2
	}
	s.exact = v.Own
	return s, s.a.Multiply(context.Background(), s.b, v)
}

// load returns the rank's rows and sets the name and the partition.
func (s *system) load(c config) (rows cg.Rows, err error) {
	byRows := c.balance == "rows"
	if c.matrix == "" {
		s.name = fmt.Sprintf("Poisson on %[1]d×%[1]d×%[1]d", c.poisson)
		s.part, rows, err = cg.Poisson(c.poisson, s.world.Size(), s.world.Rank(), byRows)
		return rows, cg.Agree(s.world, err)
	}
	s.name = c.matrix
	var m *mm.Matrix
	if s.world.Rank() == 0 {
		m, err = mm.ReadFile(c.matrix)
	}
	if err := cg.Agree(s.world, err); err != nil {
		return rows, err
	}
	s.part, rows, err = cg.Distribute(s.world, m, byRows)
	return rows, err
}

// describe prints what there is to solve and how it is spread.
func (s *system) describe(out io.Writer) error {
	least, most, err := s.spread(len(s.b), s.a.Entries(), s.a.HaloSize())
	if err != nil {
		return err
	}
	total := []int64{int64(s.a.Entries())}
	if err := mpi.AllreduceInPlace(s.world, total, mpi.Sum); err != nil {
		return err
	}
	fmt.Fprintf(out, "matrix    %s: %d rows, %d entries\n", s.name, s.part.Rows(), total[0])
	fmt.Fprintf(out, "ranks     %d, each with %s rows, %s entries and a halo of %s\n",
		s.world.Size(), interval(least[0], most[0]), interval(least[1], most[1]), interval(least[2], most[2]))
	return nil
}

// spread returns the least and the most of each number over all ranks.
func (s *system) spread(numbers ...int) (least, most []int, err error) {
	least, most = make([]int, len(numbers)), make([]int, len(numbers))
	if err := mpi.Allreduce(s.world, numbers, least, mpi.Min); err != nil {
		return nil, nil, err
	}
	return least, most, mpi.Allreduce(s.world, numbers, most, mpi.Max)
}

func interval(least, most int) string {
	if least == most {
		return fmt.Sprint(least)
	}
	return fmt.Sprintf("%d–%d", least, most)
}

// solve solves the system and prints how that went.
func (s *system) solve(o cg.Options, out io.Writer) error {
	if err := s.world.Barrier(); err != nil {
		return err
	}
	start := mpi.Wtime()
	r, err := cg.Solve(context.Background(), s.a, s.b, s.x, o)
	if err != nil {
		return err
	}
	elapsed := mpi.Wtime() - start
	fmt.Fprintf(out, "solved    in %d iterations, %d restarts, %.3f s\n", r.Iterations, r.Restarts, elapsed)
	fmt.Fprintf(out, "residual  %.3g relative\n", r.Residual)
	if err := s.reportError(out); err != nil {
		return err
	}
	return s.reportNICs(out)
}

// reportError prints how far the solution is from the exact one, if that is known.
func (s *system) reportError(out io.Writer) error {
	if s.exact == nil {
		return nil
	}
	squares := []float64{0, 0}
	for i, want := range s.exact {
		d := s.x[i] - want
		squares[0] += d * d
		squares[1] += want * want
	}
	if err := mpi.AllreduceInPlace(s.world, squares, mpi.Sum); err != nil {
		return err
	}
	fmt.Fprintf(out, "error     %.3g relative\n", math.Sqrt(squares[0]/squares[1]))
	return nil
}

// reportNICs prints what the ranks' NICs did since they were made.
func (s *system) reportNICs(out io.Writer) error {
	a := s.world.Account()
	counts := []uint64{a.Packets, a.Bytes, a.Matches, a.Reads, a.BytesRead, a.BytesReduced}
	if err := mpi.AllreduceInPlace(s.world, counts, mpi.Sum); err != nil {
		return err
	}
	_, memory, err := s.spread(a.MemoryPeak)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "NICs      %d packets with %s, %d matches, %d reads of %s from peers, %s reduced, at most %s of memory\n",
		counts[0], bytesWithUnit(counts[1]), counts[2], counts[3], bytesWithUnit(counts[4]), bytesWithUnit(counts[5]),
		bytesWithUnit(uint64(memory[0])))
	return nil
}

// bytesWithUnit writes a number of bytes with a unit.
func bytesWithUnit(n uint64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), 0
	for v >= 1024 {
		v /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTPE"[unit-1])
}
