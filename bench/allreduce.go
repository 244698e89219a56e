package bench

import (
	"fmt"
	"time"

	"outboard/mpi"
)

const (
	doubleSize       = 8 // bytes
	allreduceRepeats = 5
	allreduceSeconds = 0.3 // that the calls of one warm-up take
)

// allreduce returns the time of one sum of size/8 doubles over all ranks in microseconds, on the slowest rank.
func allreduce(c *mpi.Comm, size int) (float64, error) {
	send, recv := make([]float64, size/doubleSize), make([]float64, size/doubleSize)
	for i := range send {
		send[i] = float64(1 + i%7)
		recv[i] = -1
	}
	count, err := allreduceCount(c, send, recv)
	if err != nil {
		return 0, err
	}
	if _, err := allreduces(c, send, recv, count); err != nil {
		return 0, err
	}
	samples, slowest := make([]float64, allreduceRepeats), make([]float64, allreduceRepeats)
	for r := range samples {
		if err := c.Barrier(); err != nil {
			return 0, err
		}
		if samples[r], err = allreduces(c, send, recv, count/2+1); err != nil {
			return 0, err
		}
	}
	if err := mpi.Allreduce(c, samples, slowest, mpi.Max); err != nil {
		return 0, err
	}
	return median(slowest) * 1e6, mustSum(recv, send, c.Size())
}

// allreduces returns the seconds of one call, the mean of count.
func allreduces(c *mpi.Comm, send, recv []float64, count int) (float64, error) {
	start := time.Now()
	for range count {
		if err := mpi.Allreduce(c, send, recv, mpi.Sum); err != nil {
			return 0, err
		}
	}
	return time.Since(start).Seconds() / float64(count), nil
}

// allreduceCount returns the number of calls that take allreduceSeconds on the slowest rank, the same on every rank.
func allreduceCount(c *mpi.Comm, send, recv []float64) (int, error) {
	if _, err := allreduces(c, send, recv, 1); err != nil {
		return 0, err
	}
	seconds, err := allreduces(c, send, recv, 3)
	if err != nil {
		return 0, err
	}
	var slowest [1]float64
	if err := mpi.Allreduce(c, []float64{seconds}, slowest[:], mpi.Max); err != nil {
		return 0, err
	}
	return int(min(max(allreduceSeconds/(slowest[0]+1e-7), 7), 100_000)), nil
}

func mustSum(got, sent []float64, ranks int) error {
	for i := range got {
		if want := sent[i] * float64(ranks); got[i] != want {
			return fmt.Errorf("%w: allreduce of %d doubles: element %d is %g, want %g", ErrWrong, len(got), i, got[i], want)
		}
	}
	return nil
}
