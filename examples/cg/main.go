// Cg solves a system of linear equations by conjugate gradients on any number of ranks.
//
//	outboard run -n 4 ./examples/cg                                     a Poisson problem on a grid of 64³ points
//	outboard run -n 4 ./examples/cg -poisson 100
//	outboard run -n 4 ./examples/cg -matrix bcsstk13.mtx.gz -jacobi     any symmetric positive definite matrix
//	go run ./examples/cg -ranks-in-process 4                            ranks as goroutines
//
// The matrix comes from a Matrix Market file in coordinate format, real, integer or pattern (whose entries are all
// 1), general or symmetric. Its rows are dealt out in runs with about as many entries each. Each iteration exchanges
// the vector entries that cross from rank to rank while the rows that need none of them are multiplied, and adds up
// scalar products with Allreduce. The solution has the same bits on any number of ranks; package
// outboard/examples/cg/internal/cg says how.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"outboard/examples/cg/internal/cg"
	"outboard/mpi"
)

func main() {
	c, err := parse(os.Args[1:])
	job := func(world *mpi.Comm) error { return once(world, run(world, c, err, os.Stdout)) }
	if c.ranksInProcess == 0 {
		mpi.Main(job)
		return
	}
	if err := mpi.Run(c.ranksInProcess, job); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// once says whose error it is, and drops one that all ranks have on all but the one that is to tell of it.
func once(world *mpi.Comm, err error) error {
	var remote *cg.RemoteError
	var unsolved *cg.Error
	if errors.As(err, &remote) || (errors.As(err, &unsolved) && world.Rank() > 0) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("cg: %w", err)
	}
	return nil
}

// A config is the command line.
type config struct {
	matrix         string
	poisson        int
	balance        string
	rhs            string
	jacobi         bool
	tolerance      float64
	maxIterations  int
	solution       string
	ranksInProcess int
}

// flags returns the command line's flags, which set c.
func flags(c *config) *flag.FlagSet {
	f := flag.NewFlagSet("cg", flag.ContinueOnError)
	f.SetOutput(io.Discard) // every rank parses, one reports
	f.StringVar(&c.matrix, "matrix", "", "solve with the matrix in this Matrix Market `file`, which may be gzipped (.gz)")
	f.IntVar(&c.poisson, "poisson", 64, "without -matrix, solve Poisson's equation on a grid of `n`³ points")
	f.StringVar(&c.balance, "balance", "entries", "give every rank as many `entries|rows`")
	f.StringVar(&c.rhs, "rhs", "manufactured", "right-hand side: `manufactured|ones`, that of a known solution or ones")
	f.BoolVar(&c.jacobi, "jacobi", false, "precondition with the diagonal")
	f.Float64Var(&c.tolerance, "tol", 1e-10, "solve until ‖b − Ax‖ ≤ `t`·‖b‖")
	f.IntVar(&c.maxIterations, "maxiter", 0, "iterate at most `n` times; 0 is 10 times the rows")
	f.StringVar(&c.solution, "solution", "", "write the solution to this `file`, in Matrix Market array format")
	f.IntVar(&c.ranksInProcess, "ranks-in-process", 0, "run `n` ranks as goroutines of this process, not as launched")
	return f
}

// parse reads the command line. The config is usable as far as it goes even if there is an error, which may be
// [flag.ErrHelp].
func parse(args []string) (config, error) {
	var c config
	f := flags(&c)
	if err := f.Parse(args); err != nil {
		return c, err
	}
	given := map[string]bool{}
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	switch {
	case f.NArg() > 0:
		return c, fmt.Errorf("argument %q, want only flags", f.Arg(0))
	case given["matrix"] && given["poisson"]:
		return c, fmt.Errorf("both -matrix %s and -poisson %d, want one", c.matrix, c.poisson)
	case given["matrix"] && c.matrix == "":
		return c, errors.New("-matrix is empty, want the name of a file")
	case c.balance != "entries" && c.balance != "rows":
		return c, fmt.Errorf("-balance %s, want entries or rows", c.balance)
	case c.rhs != "manufactured" && c.rhs != "ones":
		return c, fmt.Errorf("-rhs %s, want manufactured or ones", c.rhs)
	case !(c.tolerance > 0 && c.tolerance < 1):
		return c, fmt.Errorf("-tol %g, want it between 0 and 1", c.tolerance)
	case c.maxIterations < 0:
		return c, fmt.Errorf("-maxiter %d, want at least 0", c.maxIterations)
	case c.ranksInProcess < 0 || (given["ranks-in-process"] && c.ranksInProcess == 0):
		ranks := c.ranksInProcess
		c.ranksInProcess = 0
		return c, fmt.Errorf("-ranks-in-process %d, want at least 1", ranks)
	}
	return c, nil
}

// usage prints the flags.
func usage(out io.Writer) {
	f := flags(new(config))
	f.SetOutput(out)
	fmt.Fprintln(out, "cg solves a system of linear equations by conjugate gradients.\n\nFlags:")
	f.PrintDefaults()
}
