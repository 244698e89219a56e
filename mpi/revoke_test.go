package mpi_test

import (
	"fmt"
	"testing"

	"outboard/mpi"
)

// Revocations that no communicator deserves do no harm: of ids that are unknown, by ranks that are not members.
func TestForgedRevocations(t *testing.T) {
	promptly(t)
	onAll(t, []int{3}, func(c *mpi.Comm) error {
		pair, err := c.Split(c.Rank()/2, 0) // ranks 0 and 1, and rank 2 alone
		if err != nil {
			return err
		}
		if c.Rank() == 2 {
			for id := range uint32(3000) {
				mpi.Revoke(c, 0, 1<<30+id, "gone")
				if id%10 == 0 { // lest the wire should be full
					if _, err := mpi.Sendrecv(c, []int{1}, 0, 0, make([]int, 1), 0, 0); err != nil {
						return err
					}
				}
			}
			mpi.Revoke(c, 1, mpi.ID(pair), "not mine")
			return c.Barrier()
		}
		for range 300 * (1 - c.Rank()) {
			if _, err := mpi.Sendrecv(c, []int{1}, 2, 0, make([]int, 1), 2, 0); err != nil {
				return err
			}
		}
		if err := c.Barrier(); err != nil {
			return err
		}
		return exercise[int](pair, 10, 0, []int{0, 1})
	})
}

// A communicator that a member revokes before the others have made it is over when they do.
func TestEarlyRevocation(t *testing.T) {
	promptly(t)
	onAll(t, []int{2}, func(c *mpi.Comm) error {
		if c.Rank() == 0 {
			first, err := c.Dup()
			if err != nil {
				return err
			}
			mpi.Revoke(c, 1, mpi.ID(first)+1, "changed \xff my mind")
			if err := mpi.Send(c, []int{1}, 1, 0); err != nil {
				return err
			}
			_, err = c.Dup()
			return err
		}
		_, err := c.Dup()
		if err != nil {
			return err
		}
		if _, err := mpi.Recv(c, make([]int, 1), 0, 0); err != nil {
			return err
		}
		second, err := c.Dup()
		if err != nil {
			return fmt.Errorf("the communicator was not made: %w", err)
		}
		return expect(mpi.Send(second, []int{1}, 0, 0), mpi.ErrAborted, "aborted by rank 0: changed ? my mind", "peer 0")
	})
}
