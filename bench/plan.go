package bench

// A Fabric says how ranks reach one another.
type Fabric string

const (
	Inproc Fabric = "inproc" // ranks are goroutines of one process
	Shm    Fabric = "shm"    // ranks are processes of one machine, with shared memory between them
)

// A Case is one benchmark at one message size in bytes.
type Case struct {
	Benchmark *Benchmark
	Size      int
}

// A Job is one start of a world of ranks, which measures its cases in order.
type Job struct {
	Fabric Fabric
	Ranks  int
	Cases  []Case
}

// Plan returns a job for each fabric and number of ranks, with a case for each benchmark and size. Without sizes, each
// benchmark has its own. Cases that a benchmark cannot measure are errors that wrap [ErrCase].
func Plan(benchmarks []*Benchmark, fabrics []Fabric, ranks, sizes []int) ([]Job, error) {
	return plan(benchmarks, fabrics, ranks, func(b *Benchmark) []int {
		if len(sizes) > 0 {
			return sizes
		}
		return b.Sizes
	})
}

// comparisonSizes are the sizes of a comparison with peers, a few of each kind, so that turns stay short.
var comparisonSizes = map[string][]int{
	"pingpong":  {8, 1 << 10, 64 << 10, 1 << 20},
	"bandwidth": {1 << 20},
	"allreduce": {8, 1 << 10, 1 << 20},
}

// ComparisonPlan is Plan for a comparison with peers, which takes about half a minute for each turn of several runners when
// nothing is given: without sizes, each benchmark has a few, and without ranks there are 2, and allreduce of 8 bytes on 4.
func ComparisonPlan(benchmarks []*Benchmark, fabrics []Fabric, ranks, sizes []int) ([]Job, error) {
	few := func(b *Benchmark) []int {
		if len(sizes) > 0 {
			return sizes
		}
		return comparisonSizes[b.Name]
	}
	if len(ranks) > 0 {
		return plan(benchmarks, fabrics, ranks, few)
	}
	jobs, err := plan(benchmarks, fabrics, []int{2}, few)
	if err != nil || len(sizes) > 0 {
		return jobs, err
	}
	for _, b := range benchmarks {
		if b.Name != "allreduce" {
			continue
		}
		for _, fabric := range fabrics {
			jobs = append(jobs, Job{Fabric: fabric, Ranks: 4, Cases: []Case{{Benchmark: b, Size: doubleSize}}})
		}
	}
	return jobs, nil
}

func plan(benchmarks []*Benchmark, fabrics []Fabric, ranks []int, sizes func(*Benchmark) []int) ([]Job, error) {
	var cases []Case
	for _, b := range benchmarks {
		for _, size := range sizes(b) {
			for _, n := range ranks {
				if err := b.Check(n, size); err != nil {
					return nil, err
				}
			}
			cases = append(cases, Case{Benchmark: b, Size: size})
		}
	}
	var jobs []Job
	for _, fabric := range fabrics {
		for _, n := range ranks {
			jobs = append(jobs, Job{Fabric: fabric, Ranks: n, Cases: cases})
		}
	}
	return jobs, nil
}
