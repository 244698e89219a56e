package rdma

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"outboard/bench"
	"outboard/mpi"
)

// workerWord as the first argument makes the test binary a rank of a launched job. With killRank in front of the cases, rank 1 kills
// itself while rank 0 waits for its writes.
const (
	workerWord = "rdma-worker"
	killWord   = "kill-rank-1"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == workerWord {
		os.Exit(workerMain(os.Args[2:]))
	}
	goleak.VerifyTestMain(m)
}

func workerMain(args []string) int {
	if args[0] == killWord {
		args = args[1:]
		go func() {
			if os.Getenv("PMI_RANK") == "1" {
				time.Sleep(200 * time.Millisecond)
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
		}()
	}
	o, err := Decode(args[0])
	var cases []bench.Case
	if err == nil {
		cases, err = o.ParseCases(bench.Shm, args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	mpi.Main(func(world *mpi.Comm) error { return bench.Work(world, cases, os.Stdout) })
	return 0
}

// ours is the runner of the experiments, whose ranks are this test binary.
func ours(t *testing.T, o Options, words ...string) *bench.Ours {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &bench.Ours{Worker: append(append([]string{executable, workerWord}, words...), o.Encode())}
}

// casesOf reads cases such as "write_lat:8 read_bw/go:1M".
func casesOf(t *testing.T, o Options, fabric bench.Fabric, text string) []bench.Case {
	t.Helper()
	cases, err := o.ParseCases(fabric, strings.Fields(text))
	if err != nil {
		t.Fatal(err)
	}
	return cases
}
