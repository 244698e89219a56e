package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"outboard/mpi"
	"outboard/mpi/launch"
)

// Ours is the [Runner] of this library. On the fabric inproc, ranks are goroutines of this process; on shm, they are processes that
// package mpi/launch starts, bound to cores while there are cores enough.
type Ours struct {
	// Worker is the program for the ranks of a launched job, and its first arguments; the cases follow. It must call [Work].
	Worker []string
}

var _ Runner = (*Ours)(nil)

// Name returns "ours".
func (*Ours) Name() string { return "ours" }

// Run measures the cases of the job. Errors of the ranks are among the errors that it returns.
func (o *Ours) Run(ctx context.Context, job Job) ([]float64, error) {
	var output bytes.Buffer
	var err error
	switch job.Fabric {
	case Inproc:
		err = mpi.Run(job.Ranks, func(world *mpi.Comm) error { return Work(world.With(ctx), job.Cases, &output) })
	case Shm:
		err = o.launch(ctx, job, &output)
	default:
		err = fmt.Errorf("%w: fabric %q", ErrCase, job.Fabric)
	}
	if err != nil {
		return nil, err
	}
	return ParseOutput(&output, job)
}

func (o *Ours) launch(ctx context.Context, job Job, output io.Writer) error {
	if len(o.Worker) == 0 {
		return fmt.Errorf("%w: no worker program to launch", ErrCase)
	}
	_, err := launch.Job{
		N: job.Ranks, Path: o.Worker[0], Args: slices.Concat(o.Worker[1:], Arguments(job.Cases)), Stdout: output,
	}.Run(ctx)
	if rank := (*launch.RankError)(nil); errors.As(err, &rank) && len(rank.Tail) > 0 {
		return fmt.Errorf("%w\n%s", err, strings.Join(rank.Tail, "\n"))
	}
	return err
}

// Work measures the cases, in order, on all ranks of the world together. Rank 0 prints a line for each to w, whole lines; the
// other ranks print nothing.
func Work(world *mpi.Comm, cases []Case, w io.Writer) error {
	for _, c := range cases {
		if err := c.Benchmark.Check(world.Size(), c.Size); err != nil {
			return err
		}
		if err := world.Barrier(); err != nil {
			return err
		}
		value, err := c.Benchmark.Run(world, c.Size)
		if err != nil {
			return fmt.Errorf("%s of %d bytes: %w", c.Benchmark.Name, c.Size, err)
		}
		if world.Rank() == 0 {
			if err := writeLine(w, c, world.Size(), value); err != nil {
				return err
			}
		}
	}
	return world.Barrier()
}
