package peers

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"outboard/bench"
)

// ucxJob measures a test of UCX at one size.
func ucxJob(i, size int) bench.Job {
	return bench.Job{Fabric: bench.Shm, Ranks: 2, Cases: []bench.Case{{Benchmark: ucxTests[i].bench, Size: size}}}
}

func TestUCXIsAbsent(t *testing.T) {
	commands(t, true, nil)
	_, err := FindUCX(context.Background())
	if !errors.Is(err, ErrAbsent) || !strings.Contains(err.Error(), "apt-get install ucx-utils") {
		t.Errorf("error is %v", err)
	}
}

// The peer is a script: the way in which two processes are started and understood.
func TestUCXPair(t *testing.T) {
	const client = `[ "$1" = 127.0.0.1 ] || exec sleep 2` + "\n"
	for _, test := range []struct {
		name, script string
		test         int
		want         float64
		complaint    string
	}{
		{"latency", `[ "$1" = 127.0.0.1 ] || exit 0; echo 9 0.3 0.2 0.25 1 1 1 1`, 0, 0, "ended before its peer came"},
		{"the best of median and mean", `[ "$1" = 127.0.0.1 ] || exec sleep 0.4; echo 9 0.3 0.2 0.25 1 1 1 1`, 0, 0.25, ""},
		{"bandwidth in MB", `[ "$1" = 127.0.0.1 ] || exec sleep 0.4; echo Final: 9 1 1 1 1000 1000 1 1`, 1, 1048.576, ""},
		{"a table without numbers", client + `echo nothing`, 0, 0, `"nothing"`},
		{"a word instead of a number", client + `echo 9 x 0.2 0.25 1 1 1 1`, 0, 0, `"x" is no positive number`},
		{"a failure", client + `echo no transport >&2; exit 1`, 0, 0, "no transport"},
	} {
		t.Run(test.name, func(t *testing.T) {
			commands(t, false, map[string]string{"ucx_perftest": test.script, "ucx_info": "echo '# Version 1.2.3'"})
			u, err := FindUCX(context.Background())
			if err != nil || !strings.HasPrefix(u.String(), "UCX 1.2.3 with UCX_TLS=posix") {
				t.Fatalf("found %v, %v", u, err)
			}
			values, err := u.Run(context.Background(), ucxJob(test.test, 8))
			switch {
			case test.complaint != "":
				if err == nil || !strings.Contains(err.Error(), test.complaint) {
					t.Errorf("got %v, %v; want an error with %q", values, err, test.complaint)
				}
			case err != nil || len(values) != 1 || values[0] != test.want:
				t.Errorf("got %v, %v; want %g", values, err, test.want)
			}
		})
	}
}

// The second process comes again until the first listens.
func TestUCXPairTriesAgain(t *testing.T) {
	commands(t, false, map[string]string{"ucx_perftest": `cd "${0%/*}"
[ "$1" = 127.0.0.1 ] || exec sleep 0.6
[ -e tried ] && exec echo 9 2 2 2 1 1 1 1
: > tried; echo 'connect() failed: Connection refused' >&2; exit 255`})
	values, err := (&UCX{}).Run(context.Background(), ucxJob(0, 8))
	if err != nil || len(values) != 1 || values[0] != 2 {
		t.Errorf("got %v, %v", values, err)
	}
}

func TestUCXObeysTheContext(t *testing.T) {
	commands(t, false, map[string]string{"ucx_perftest": "exec sleep 60"})
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if values, err := (&UCX{}).Run(ctx, ucxJob(0, 8)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, %v", values, err)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("took %v to end", took)
	}
}

func TestUCXJobs(t *testing.T) {
	if !IsUCX((*UCX)(nil).Job()) || IsUCX(pingpongJob(t, 2)) || IsUCX(bench.Job{}) {
		t.Error("jobs are taken for others'")
	}
	if values, err := (&UCX{}).Run(context.Background(), pingpongJob(t, 2)); !errors.Is(err, bench.ErrCase) {
		t.Errorf("a ping-pong under UCX: %v, %v", values, err)
	}
}

func FuzzUCXValue(f *testing.F) {
	for _, out := range []string{"", "Final: 9 1 1 1 1 1 1 1", "9 1 1 1 1 1 1 1\n\n", "9 -1 1 NaN 1 1 1 1", "a\nb"} {
		f.Add([]byte(out))
	}
	f.Fuzz(func(t *testing.T, out []byte) {
		for i := range ucxTests {
			v, err := ucxTests[i].value(out)
			if err == nil && !(v > 0) || err != nil && !errors.Is(err, bench.ErrOutput) {
				t.Errorf("%q gives %g, %v", out, v, err)
			}
		}
	})
}

func TestUCXMeasures(t *testing.T) {
	if _, err := exec.LookPath(ucxCommand); err != nil {
		t.Skip(err)
	}
	u, err := FindUCX(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for i := range ucxTests {
		if values, err := u.Run(ctx, ucxJob(i, 64<<10)); err != nil || len(values) != 1 {
			t.Errorf("%s: %v, %v", ucxTests[i].test, values, err)
		}
	}
}
