package bench

import (
	"context"
	"time"

	"outboard/mpi"
)

const (
	window       = 64 // messages under way
	bandwidthTag = 10
	bandwidthAck = 11
)

// bandwidth returns the rate from rank 0 to rank 1 in MB/s. The other ranks look on.
func bandwidth(c *mpi.Comm, size int) (float64, error) {
	if c.Rank() > 1 {
		return 0, nil
	}
	batches, count := bandwidthBatches(size)
	send, recv := payload(size), sink(size)
	for range batches/5 + 1 {
		if _, err := windows(c, send, recv, count); err != nil {
			return 0, err
		}
	}
	samples := make([]float64, batches)
	for b := range samples {
		var err error
		if samples[b], err = windows(c, send, recv, count); err != nil {
			return 0, err
		}
	}
	if c.Rank() == 1 {
		return 0, mustEqual(recv, send)
	}
	return float64(size) / median(samples) / 1e6, nil
}

// bandwidthBatches returns the number of timed batches, and of windows in each.
func bandwidthBatches(size int) (batches, count int) {
	switch {
	case size <= 8<<10:
		return 40, 20
	case size <= 64<<10:
		return 40, 8
	case size <= 1<<20:
		return 20, 2
	}
	return 10, 1
}

// windows returns the seconds that one message took, the mean over count windows.
func windows(c *mpi.Comm, send, recv []byte, count int) (float64, error) {
	ctx := context.Background()
	start := time.Now()
	var err error
	for range count {
		if c.Rank() == 0 {
			err = sendWindow(ctx, c, send)
		} else {
			err = recvWindow(ctx, c, recv)
		}
		if err != nil {
			return 0, err
		}
	}
	return time.Since(start).Seconds() / float64(count) / window, nil
}

func sendWindow(ctx context.Context, c *mpi.Comm, buf []byte) error {
	var requests [window]*mpi.Request
	for w := range requests {
		var err error
		if requests[w], err = mpi.Isend(c, buf, 1, bandwidthTag); err != nil {
			return err
		}
	}
	if err := mpi.WaitAll(ctx, requests[:]...); err != nil {
		return err
	}
	var ack [4]byte
	_, err := mpi.Recv(c, ack[:], 1, bandwidthAck)
	return err
}

// recvWindow receives all messages of a window into the same memory, as such benchmarks do: the contents are equal.
func recvWindow(ctx context.Context, c *mpi.Comm, buf []byte) error {
	var requests [window]*mpi.Request
	for w := range requests {
		var err error
		if requests[w], err = mpi.Irecv(c, buf, 0, bandwidthTag); err != nil {
			return err
		}
	}
	if err := mpi.WaitAll(ctx, requests[:]...); err != nil {
		return err
	}
	var ack [4]byte
	return mpi.Send(c, ack[:], 0, bandwidthAck)
}
