package rdma

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"outboard/bench"
	"outboard/mpi"
	"outboard/verbs"
)

// Every experiment, on both fabrics, with few messages: the data is checked by the experiments themselves.
func TestExperiments(t *testing.T) {
	inline := 16
	for _, test := range []struct {
		name string
		o    Options
	}{
		{"defaults", Options{Iterations: 7}},
		{"both ways, two queue pairs, moderated", Options{Iterations: 30, QPs: 2, Depth: 4, Moderation: 3, Inline: &inline, Both: true}},
		{"one at a time", Options{Iterations: 5, Depth: 1, Moderation: 1}},
	} {
		for _, fabric := range []bench.Fabric{bench.Inproc, bench.Shm} {
			t.Run(fmt.Sprint(fabric, " ", test.name), func(t *testing.T) {
				jobs, err := test.o.Plan([]bench.Fabric{fabric}, []string{"send", "write", "read", "fetch_add", "cmp_swap"}, Metrics, Memories, []int{1, 8, 5000})
				if err != nil {
					t.Fatal(err)
				}
				if fabric == bench.Shm {
					if jobs, err = WithLimits(test.o, jobs); err != nil {
						t.Fatal(err)
					}
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				values, err := ours(t, test.o).Run(ctx, jobs[0])
				if err != nil || len(values) != len(jobs[0].Cases) {
					t.Fatalf("got %v, %v", values, err)
				}
			})
		}
	}
}

// What arrives damaged, or not at all, fails.
func TestDamageIsNoticed(t *testing.T) {
	for _, op := range operations {
		for _, metric := range Metrics[:2] {
			t.Run(op.name+" "+string(metric), func(t *testing.T) {
				err := mpi.Run(2, func(c *mpi.Comm) error { return damage(c, op, metric) })
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// damage makes three rounds on both ranks and verifies before, after, and after a byte has changed.
func damage(c *mpi.Comm, op operation, metric Metric) error {
	e := experiment{fabric: bench.Inproc, op: op, metric: metric, memory: Go}
	l, err := e.join(c, 8)
	if err != nil {
		return err
	}
	defer l.close()
	arrives := l.active(1 - l.rank)
	target := l.at(&l.open, 0)
	if op.opcode == verbs.Read {
		arrives, target = l.active(l.rank), l.at(&l.local, 0)
	}
	if err := l.verify(3); errors.Is(err, bench.ErrWrong) != arrives {
		return fmt.Errorf("rank %d, before anything has moved: %w", l.rank, err)
	}
	if err := c.Barrier(); err != nil {
		return err
	}
	var r rounds = newStream(l)
	if metric == Latency {
		r = newRally(l)
	}
	if _, err := r.run(3); err != nil {
		return err
	}
	if err := c.Barrier(); err != nil {
		return err
	}
	if err := l.verify(r.posted()); err != nil {
		return fmt.Errorf("rank %d, after 3 rounds: %w", l.rank, err)
	}
	target[5]++
	if err := l.verify(r.posted()); errors.Is(err, bench.ErrWrong) != arrives {
		return fmt.Errorf("rank %d, with a byte changed: %w", l.rank, err)
	}
	return nil
}

// A peer that leaves ends the wait for its answer.
func TestPeerLeaves(t *testing.T) {
	for _, op := range []string{"write", "send"} {
		t.Run(op, func(t *testing.T) {
			begin := time.Now()
			left := errors.New("left")
			err := mpi.Run(2, func(c *mpi.Comm) error {
				e := experiment{fabric: bench.Inproc, op: operationNamed(op), metric: Latency, memory: Device}
				l, err := e.join(c, 8)
				if err != nil {
					return err
				}
				defer l.ctx.Close()
				if c.Rank() == 1 {
					return left
				}
				if _, err = newRally(l).run(1000); err == nil {
					return errors.New("the ping-pong went on without a peer")
				}
				return nil
			})
			if !errors.Is(err, left) || strings.Contains(err.Error(), "went on") {
				t.Errorf("error is %v", err)
			}
			if took := time.Since(begin); took > 20*time.Second {
				t.Errorf("took %v to notice", took)
			}
		})
	}
}

func operationNamed(name string) operation {
	for _, op := range operations {
		if op.name == name {
			return op
		}
	}
	return operation{}
}

// A worker that is killed ends the run, with an error that says so.
func TestWorkerIsKilled(t *testing.T) {
	var o Options
	job := bench.Job{Fabric: bench.Shm, Ranks: 2}
	for range 100 { // some hundred milliseconds each
		job.Cases = append(job.Cases, casesOf(t, o, bench.Shm, "write_lat:8M send_bw:8M read_bw/go:1M raw_line_lat:8")...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	values, err := ours(t, o, killWord).Run(ctx, job)
	if err == nil || !strings.Contains(err.Error(), "rank 1") || !strings.Contains(err.Error(), "SIGKILL") {
		t.Errorf("got %v, %v", values, err)
	}
}

func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		name   string
		ranks  int
		fabric bench.Fabric
		op     string
		size   int
		want   string
	}{
		{"three ranks", 3, bench.Inproc, "write", 8, "between 2 ranks, not 3"},
		{"an atomic of 16 bytes", 2, bench.Inproc, "cmp_swap", 16, "16 bytes, want 8"},
		{"an unknown fabric", 2, "tcp", "write", 8, `"tcp"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := experiment{fabric: test.fabric, op: operationNamed(test.op), metric: Latency, memory: Device}.benchmark()
			err := mpi.Run(test.ranks, func(c *mpi.Comm) error {
				return bench.Work(c, []bench.Case{{Benchmark: b, Size: test.size}}, io.Discard)
			})
			if !errors.Is(err, bench.ErrCase) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestWatch(t *testing.T) {
	b := make([]byte, 16)
	for i := range b {
		w := watchByte(b, i)
		for _, v := range []byte{0, 1, 0x80, 0xff} {
			for j := range b {
				b[j] = ^v
			}
			b[i] = v
			if got := w.load(); got != v {
				t.Errorf("byte %d is %#x, want %#x", i, got, v)
			}
		}
	}
}

// The ping-pong of writes counts modulo 256, and a counter that passes 2³² is still one number.
func TestManyRounds(t *testing.T) {
	err := mpi.Run(2, func(c *mpi.Comm) error {
		l, err := experiment{fabric: bench.Inproc, op: operationNamed("write"), metric: Latency, memory: Device}.join(c, 8)
		if err != nil {
			return err
		}
		defer l.close()
		r := newRally(l)
		if _, err := r.run(600); err != nil {
			return err
		}
		if err := c.Barrier(); err != nil {
			return err
		}
		if got := l.at(&l.open, 0)[7]; got != byte(r.posted()&0xff) || r.posted() != 600 {
			return fmt.Errorf("the last number is %d after %d", got, r.posted())
		}
		return l.verify(600)
	})
	if err != nil {
		t.Error(err)
	}
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], 1<<40)
	if err := mustEqual(b[:], make([]byte, 8)); !errors.Is(err, bench.ErrWrong) {
		t.Errorf("a wrong counter: %v", err)
	}
}
