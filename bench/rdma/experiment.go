package rdma

import (
	"fmt"
	"slices"
	"time"

	"outboard/bench"
	"outboard/mpi"
	"outboard/verbs"
)

// An experiment is one operation measured in one way.
type experiment struct {
	Options
	fabric bench.Fabric
	op     operation
	metric Metric
	memory Memory
}

var units = map[Metric]struct {
	unit    string
	better  bench.Better
	summary string
	sizes   []int
}{
	Latency:   {"us", bench.Lower, "latency", []int{8, 4 << 10, 1 << 20}},
	Bandwidth: {"MB/s", bench.Higher, "bandwidth", []int{64 << 10, 1 << 20}},
	Rate:      {"Mmsg/s", bench.Higher, "message rate", []int{8}},
}

func (e experiment) benchmark() *bench.Benchmark {
	u := units[e.metric]
	b := &bench.Benchmark{
		Name: Name(e.op.name, e.metric, e.memory), Summary: u.summary + " of " + e.op.title, Unit: u.unit, Better: u.better,
		Sizes: u.sizes, MinRanks: 2, MinSize: 1, Multiple: 1, Run: e.run,
	}
	if e.op.atomic() {
		b.Sizes, b.MinSize, b.Multiple = []int{atomicSize}, atomicSize, atomicSize
	}
	return b
}

// check reports whether the experiment can be made with messages of size bytes.
func (e experiment) check(ranks, size int) error {
	switch {
	case ranks != 2:
		return fmt.Errorf("%w: %s is between 2 ranks, not %d", bench.ErrCase, e.op.name, ranks)
	case e.op.atomic() && size != atomicSize:
		return fmt.Errorf("%w: %s of %d bytes, want %d", bench.ErrCase, e.op.name, size, atomicSize)
	}
	return e.checkMemory(size)
}

func (e experiment) checkMemory(size int) error {
	if size > MaxMemory/e.qps() {
		return fmt.Errorf("%w: %d bytes for each of %d queue pairs, want %d together at most", bench.ErrCase, size, e.qps(), MaxMemory)
	}
	return nil
}

func (e experiment) qps() int {
	if e.metric == Latency {
		return 1
	}
	return max(e.QPs, 1)
}

func (e experiment) moderation() int {
	switch {
	case e.Moderation != 0:
		return e.Moderation
	case e.metric == Latency:
		return 1
	}
	return max(e.depth()/4, 1)
}

func (e experiment) inline(size int) bool {
	limit := DefaultInline
	if e.metric == Bandwidth {
		limit = 0
	}
	return e.op.opcode <= verbs.WriteImm && size <= e.inlineOr(limit)
}

// loops returns the number of timed batches, and of messages in each.
func (e experiment) loops(size int) (batches, count int) {
	if e.Iterations > 0 {
		batches = min(e.Iterations, 100)
		return batches, e.Iterations / batches
	}
	many := e.metric != Latency
	switch {
	case size <= 8<<10 && many:
		return 40, 2000
	case size <= 8<<10:
		return 100, 500
	case size <= 64<<10 && many:
		return 40, 200
	case size <= 64<<10:
		return 100, 50
	case size <= 1<<20 && many:
		return 40, 20
	case size <= 1<<20:
		return 60, 10
	}
	return 20, 4
}

// run measures one size on both ranks of c.
func (e experiment) run(c *mpi.Comm, size int) (value float64, err error) {
	if err := e.check(c.Size(), size); err != nil {
		return 0, err
	}
	l, err := e.join(c, size)
	if err != nil {
		return 0, err
	}
	defer func() {
		if e := l.close(); err == nil && e != nil {
			err = e
		}
	}()
	var r rounds
	if e.metric == Latency {
		r = newRally(l)
	} else {
		r = newStream(l)
	}
	batches, count := e.loops(size)
	seconds, err := measure(c, r, batches, count)
	if err != nil {
		return 0, err
	}
	if err := c.Barrier(); err != nil {
		return 0, err
	}
	if err := l.verify(r.posted()); err != nil {
		return 0, err
	}
	return e.value(c, size, seconds)
}

// batched is what a batch repeats.
type batched interface {
	// run makes count rounds with the peer's and returns the seconds that they took.
	run(count int) (float64, error)
}

// rounds are of requests.
type rounds interface {
	batched
	// posted is the number of requests so far, on each queue pair.
	posted() uint64
}

// measure returns the median of the seconds that one round of a batch took.
func measure(c *mpi.Comm, r batched, batches, count int) (float64, error) {
	samples := make([]float64, 0, batches)
	for i := -(batches/5 + 1); i < batches; i++ {
		if err := c.Barrier(); err != nil {
			return 0, err
		}
		s, err := r.run(count)
		if err != nil {
			return 0, err
		}
		if i >= 0 {
			samples = append(samples, s/float64(count))
		}
	}
	slices.Sort(samples)
	return samples[len(samples)/2], nil
}

// value returns rank 0's result in the unit of the metric, from the seconds of a round: half of a round trip, an operation, or
// one message on each queue pair.
func (e experiment) value(c *mpi.Comm, size int, seconds float64) (float64, error) {
	both := make([]float64, 2)
	if err := mpi.Allgather(c, []float64{seconds}, both); err != nil {
		return 0, err
	}
	if e.metric == Latency {
		return both[0] * 1e6, nil
	}
	perSecond := float64(e.qps()) / both[0]
	if e.Both {
		perSecond += float64(e.qps()) / both[1]
	}
	if e.metric == Rate {
		return perSecond / 1e6, nil
	}
	return perSecond * float64(size) / 1e6, nil
}

// clock returns a function that tells the seconds since.
func clock() func() float64 {
	start := time.Now()
	return func() float64 { return time.Since(start).Seconds() }
}
