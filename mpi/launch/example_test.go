package launch_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"outboard/mpi/launch"
)

// Two ranks of a program that is no MPI program.
func Example() {
	job := launch.Job{N: 2, Path: "/bin/sh", Args: []string{"-c", "test $PMI_RANK = 0 && echo $PMI_SIZE ranks"}, Stdout: os.Stdout}
	code, err := job.Run(context.Background())
	var failed *launch.RankError
	if errors.As(err, &failed) {
		fmt.Println("code", code, "because of rank", failed.Rank)
	}
	// Unordered output:
	// 2 ranks
	// code 1 because of rank 1
}
