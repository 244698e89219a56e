package bench

import (
	"bytes"
	"fmt"
	"time"

	"outboard/mpi"
)

const pingpongTag = 1

// pingpong returns half of a round trip between ranks 0 and 1 in microseconds. The other ranks look on.
func pingpong(c *mpi.Comm, size int) (float64, error) {
	if c.Rank() > 1 {
		return 0, nil
	}
	batches, count := pingpongBatches(size)
	send, recv := payload(size), sink(size)
	if _, err := roundTrips(c, send, recv, count*(batches/5+1)); err != nil {
		return 0, err
	}
	samples := make([]float64, batches)
	for b := range samples {
		var err error
		if samples[b], err = roundTrips(c, send, recv, count); err != nil {
			return 0, err
		}
	}
	return median(samples) * 1e6, mustEqual(recv, send)
}

// pingpongBatches returns the number of timed batches, and of round trips in each.
func pingpongBatches(size int) (batches, count int) {
	switch {
	case size <= 8<<10:
		return 100, 200
	case size <= 64<<10:
		return 100, 50
	case size <= 1<<20:
		return 60, 10
	}
	return 30, 4
}

// roundTrips returns half of the seconds of one round trip, the mean of count.
func roundTrips(c *mpi.Comm, send, recv []byte, count int) (float64, error) {
	peer := 1 - c.Rank()
	start := time.Now()
	for range count {
		if peer == 1 {
			if err := mpi.Send(c, send, peer, pingpongTag); err != nil {
				return 0, err
			}
		}
		if _, err := mpi.Recv(c, recv, peer, pingpongTag); err != nil {
			return 0, err
		}
		if peer == 0 {
			if err := mpi.Send(c, send, peer, pingpongTag); err != nil {
				return 0, err
			}
		}
	}
	return time.Since(start).Seconds() / float64(count) / 2, nil
}

// payload returns size bytes of a pattern, sink size bytes of something else; both are in memory when they return.
func payload(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i*131 + 7)
	}
	return b
}

func sink(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = 0xff
	}
	return b
}

func mustEqual(got, want []byte) error {
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%w: a message of %d bytes arrived damaged", ErrWrong, len(want))
	}
	return nil
}
