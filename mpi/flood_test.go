package mpi_test

import (
	"fmt"
	"testing"

	"outboard/mpi"
)

// Messages that nobody waits for fill the wire while their receiver sleeps in a barrier: what is sent after
// them gets through all the same.
func TestFlood(t *testing.T) {
	promptly(t)
	const messages = 3000
	onAll(t, []int{2, 3}, func(c *mpi.Comm) error {
		last := c.Size() - 1
		if c.Rank() == last {
			for i := range messages {
				if err := mpi.Send(c, []int{i}, 0, 1); err != nil {
					return err
				}
			}
		}
		if err := c.Barrier(); err != nil {
			return err
		}
		if c.Rank() == 0 {
			for i := range messages {
				in := []int{-1}
				if _, err := mpi.Recv(c, in, last, 1); err != nil || in[0] != i {
					return fmt.Errorf("message %d is %d: %w", i, in[0], err)
				}
			}
		}
		return nil
	})
}
