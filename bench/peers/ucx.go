package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"outboard/bench"
)

// UCX measures one-sided operations of UCX with its own benchmark, between two processes over shared memory, each bound to a
// core while there are two.
type UCX struct{ version string }

var _ bench.Runner = (*UCX)(nil)

const (
	ucxCommand = "ucx_perftest"
	ucxPackage = "ucx-utils"
)

// ucxEnv confines UCX to shared memory: what it may use on one machine, and within a process.
var ucxEnv = []string{"UCX_TLS=posix,sysv,cma,self", "UCX_WARN_UNUSED_ENV_VARS=n"}

// ucxTest is a test of ucx_perftest.
type ucxTest struct {
	bench   *bench.Benchmark
	test    string
	columns []int // of the numbers in the last line; the best counts
	scale   float64
	count   func(size int) int // of operations
}

// The last line of ucx_perftest -f has, after a word and the number of operations: the median, mean and overall
// latency in µs, the mean and overall bandwidth in MiB/s, the mean and overall rate a second.
var ucxTests = []ucxTest{
	{
		bench: &bench.Benchmark{Name: "ucx_put_lat", Summary: "half round trip of UCX's put", Unit: "us", Better: bench.Lower,
			Sizes: []int{8, 4 << 10, 1 << 20}, MinRanks: 2, MinSize: 1, Multiple: 1},
		test: "ucp_put_lat", columns: []int{0, 2}, scale: 1, // the median includes reading the clock, the mean every interruption
		count: func(size int) int { return max(200, min(200_000, 1<<30/size)) },
	},
	{
		bench: &bench.Benchmark{Name: "ucx_put_bw", Summary: "bandwidth of UCX's put", Unit: "MB/s", Better: bench.Higher,
			Sizes: []int{64 << 10, 1 << 20}, MinRanks: 2, MinSize: 1, Multiple: 1},
		test: "ucp_put_bw", columns: []int{4}, scale: 1 << 20 / 1e6,
		count: func(size int) int { return max(200, min(200_000, 1<<32/size)) },
	},
}

// FindUCX returns the peer. When it is not installed, the error wraps [ErrAbsent] and says how to install it.
func FindUCX(ctx context.Context) (*UCX, error) {
	if _, err := exec.LookPath(ucxCommand); err != nil {
		return nil, fmt.Errorf("UCX: %w: there is no %s in PATH; run bench/peers/install.sh, or apt-get install %s", ErrAbsent, ucxCommand, ucxPackage)
	}
	u := &UCX{version: "of unknown version"}
	if out, err := output(ctx, nil, "ucx_info", "-v"); err == nil {
		if number := versionNumber.FindString(string(out)); number != "" {
			u.version = number
		}
	}
	return u, nil
}

// Name returns "ucx".
func (*UCX) Name() string { return "ucx" }

// String returns the library's name and version, and what it was confined to.
func (u *UCX) String() string { return "UCX " + u.version + " with " + ucxEnv[0] }

// Job returns the job that measures what a report shows of UCX.
func (*UCX) Job() bench.Job {
	job := bench.Job{Fabric: bench.Shm, Ranks: 2}
	for _, t := range ucxTests {
		for _, size := range t.bench.Sizes {
			job.Cases = append(job.Cases, bench.Case{Benchmark: t.bench, Size: size})
		}
	}
	return job
}

// IsUCX reports whether a job is one for UCX.
func IsUCX(job bench.Job) bool {
	return len(job.Cases) > 0 && !slices.ContainsFunc(job.Cases, func(c bench.Case) bool { return ucxTestOf(c.Benchmark) == nil })
}

func ucxTestOf(b *bench.Benchmark) *ucxTest {
	for i := range ucxTests {
		if ucxTests[i].bench == b {
			return &ucxTests[i]
		}
	}
	return nil
}

// Run measures the cases, each by a pair of processes of its own.
func (u *UCX) Run(ctx context.Context, job bench.Job) ([]float64, error) {
	values := make([]float64, len(job.Cases))
	for i, c := range job.Cases {
		t := ucxTestOf(c.Benchmark)
		if t == nil || job.Ranks != 2 {
			return nil, fmt.Errorf("%w: %s on %d ranks by %s", bench.ErrCase, c.Benchmark.Name, job.Ranks, ucxCommand)
		}
		out, err := ucxPair(ctx, "-t", t.test, "-s", strconv.Itoa(c.Size), "-n", strconv.Itoa(t.count(c.Size)), "-f")
		if err != nil {
			return nil, err
		}
		if values[i], err = t.value(out); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// ucxTries bounds the attempts of the second process to reach the first, ucxPause apart.
const (
	ucxTries = 50
	ucxPause = 100 * time.Millisecond
)

// ucxPair runs the two processes and returns what the second prints. Neither outlives the call.
func ucxPair(ctx context.Context, args ...string) ([]byte, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	first := make(chan error, 1)
	go func() {
		_, err := output(ctx, ucxEnv, ucxCommand, ucxArgs(0, port)...)
		first <- err
	}()
	var out []byte
	for try := 0; ; try++ {
		select {
		case err := <-first: // it waits for ever, unless something is wrong
			if err == nil {
				err = fmt.Errorf("%w: %s ended before its peer came", bench.ErrOutput, ucxCommand)
			}
			return nil, err
		case <-time.After(ucxPause):
		}
		out, err = output(ctx, ucxEnv, ucxCommand, append([]string{"127.0.0.1"}, append(ucxArgs(1, port), args...)...)...)
		var failed *CommandError
		if err == nil || ctx.Err() != nil || try == ucxTries || !errors.As(err, &failed) || !strings.Contains(failed.Stderr, "Connection refused") {
			break
		}
	}
	if err != nil {
		cancel()
		<-first
		return nil, err
	}
	return out, <-first
}

// ucxArgs are the arguments that both processes have, side 0 being the one that waits.
func ucxArgs(side, port int) []string {
	args := []string{"-p", strconv.Itoa(port)}
	if runtime.NumCPU() > 1 {
		args = append(args, "-c", strconv.Itoa(1-side))
	}
	return args
}

// freePort returns a port of this machine that nobody listened on a moment ago.
func freePort(ctx context.Context) (int, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// value reads the number of the test out of the last line.
func (t *ucxTest) value(out []byte) (float64, error) {
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	last := string(bytes.TrimSpace(lines[len(lines)-1]))
	fields := strings.Fields(strings.TrimPrefix(last, "Final:"))
	if len(fields) != 8 {
		return 0, fmt.Errorf("%w: %s: %q, want a last line of 8 numbers", bench.ErrOutput, ucxCommand, last)
	}
	best := math.Inf(1)
	for _, column := range t.columns {
		v, err := strconv.ParseFloat(fields[1+column], 64)
		if err != nil || math.IsInf(v, 0) || !(v > 0) {
			return 0, fmt.Errorf("%w: %s: %q is no positive number", bench.ErrOutput, ucxCommand, fields[1+column])
		}
		best = min(best, v)
	}
	return best * t.scale, nil
}
