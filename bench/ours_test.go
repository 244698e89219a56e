package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"outboard/mpi"
	"outboard/mpi/launch"
)

// workerWord as the first argument makes the test binary a rank of a launched job.
const workerWord = "bench-worker"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == workerWord {
		cases, err := ParseArguments(os.Args[2:])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		mpi.Main(func(world *mpi.Comm) error { return Work(world, cases, os.Stdout) })
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func testOurs(t *testing.T) *Ours {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &Ours{Worker: []string{executable, workerWord}}
}

// Messages of this size have few round trips, so that this is quick under the race detector too.
func TestOursMeasures(t *testing.T) {
	for _, test := range []struct {
		fabric Fabric
		ranks  int
		cases  string
	}{
		{Inproc, 1, "allreduce:8 allreduce:4096"},
		{Inproc, 2, "pingpong:65537 bandwidth:65537 allreduce:8 allreduce:8200"},
		{Inproc, 3, "pingpong:65537 bandwidth:65537 allreduce:24"},
		{Shm, 2, "pingpong:65537 bandwidth:65537 allreduce:8 allreduce:65536"},
	} {
		t.Run(fmt.Sprint(test.fabric, test.ranks), func(t *testing.T) {
			cases, err := ParseArguments(strings.Fields(test.cases))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			values, err := testOurs(t).Run(ctx, Job{Fabric: test.fabric, Ranks: test.ranks, Cases: cases})
			if err != nil || len(values) != len(cases) {
				t.Fatalf("got %v, %v", values, err)
			}
		})
	}
}

func TestOursReportsErrors(t *testing.T) {
	lost := errors.New("lost")
	failing := &Benchmark{Name: "failing", Unit: "us", MinRanks: 1, Multiple: 1,
		Run: func(*mpi.Comm, int) (float64, error) { return 0, lost }}
	for _, test := range []struct {
		name string
		job  Job
		is   error
		want string
	}{
		{"a benchmark that fails", Job{Inproc, 2, []Case{{failing, 8}}}, lost, "failing of 8 bytes: lost"},
		{"too few ranks", Job{Inproc, 1, []Case{{lookup("pingpong"), 8}}}, ErrCase, "pingpong on 1 ranks"},
		{"half a double", Job{Inproc, 2, []Case{{lookup("allreduce"), 12}}}, ErrCase, "12 bytes"},
		{"an unknown fabric", Job{"tcp", 2, nil}, ErrCase, `"tcp"`},
		{"no worker", Job{Shm, 2, []Case{{lookup("allreduce"), 8}}}, ErrCase, "no worker program"},
		{"a worker that is not there", Job{Shm, 1, []Case{{lookup("allreduce"), 8}}}, launch.ErrJob, "/no/such/worker"},
		{"a rank that fails", Job{Shm, 1, []Case{{lookup("pingpong"), 8}}}, nil, "pingpong on 1 ranks"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ours := testOurs(t)
			switch test.name {
			case "no worker":
				ours.Worker = nil
			case "a worker that is not there":
				ours.Worker[0] = "/no/such/worker"
			}
			values, err := ours.Run(context.Background(), test.job)
			if err == nil || !strings.Contains(err.Error(), test.want) || (test.is != nil && !errors.Is(err, test.is)) {
				t.Errorf("got %v, %v; want an error with %q", values, err, test.want)
			}
		})
	}
}

func TestOursObeysTheContext(t *testing.T) {
	for _, fabric := range []Fabric{Inproc, Shm} {
		t.Run(string(fabric), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			defer cancel()
			begin := time.Now()
			job := Job{Fabric: fabric, Ranks: 2}
			for range 100 { // half a second each
				job.Cases = append(job.Cases, Case{lookup("allreduce"), 64 << 10})
			}
			if values, err := testOurs(t).Run(ctx, job); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, %v", values, err)
			}
			if took := time.Since(begin); took > 30*time.Second {
				t.Errorf("took %v to give up", took)
			}
		})
	}
}

func TestWorkNeedsItsWriter(t *testing.T) {
	read, write := io.Pipe()
	read.Close()
	err := mpi.Run(1, func(world *mpi.Comm) error { return Work(world, []Case{{lookup("allreduce"), 8}}, write) })
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error is %v", err)
	}
}

func TestDamageIsNoticed(t *testing.T) {
	if err := mustEqual([]byte{1, 2}, []byte{1, 3}); !errors.Is(err, ErrWrong) {
		t.Errorf("a damaged message: %v", err)
	}
	if err := mustEqual(sink(100), payload(100)); !errors.Is(err, ErrWrong) {
		t.Errorf("a message that never came: %v", err)
	}
	if err := mustSum([]float64{2, 4, 7}, []float64{1, 2, 3}, 2); !errors.Is(err, ErrWrong) {
		t.Errorf("a wrong sum: %v", err)
	}
	if err := mustSum([]float64{2, 4, 6}, []float64{1, 2, 3}, 2); err != nil {
		t.Errorf("a right sum: %v", err)
	}
}
