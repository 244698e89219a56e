package mpi_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(workerEnv); name != "" {
		if main := programs[name]; main != nil {
			main()
			os.Exit(0)
		}
		os.Exit(runWorker(name))
	}
	goleak.VerifyTestMain(m)
}
