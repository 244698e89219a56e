package rdma

import (
	"fmt"

	"outboard/bench"
)

// Plan returns a job of two ranks for each fabric, with a case for each operation, metric, memory and size. Without sizes,
// each metric has its own; atomics are of 8 bytes whatever the sizes. Cases that cannot be measured are errors that wrap [bench.ErrCase].
func (o Options) Plan(fabrics []bench.Fabric, operations []string, metrics []Metric, memories []Memory, sizes []int) ([]bench.Job, error) {
	jobs := make([]bench.Job, 0, len(fabrics))
	for _, fabric := range fabrics {
		all := o.Benchmarks(fabric)
		job := bench.Job{Fabric: fabric, Ranks: 2}
		for _, memory := range memories {
			for _, metric := range metrics {
				for _, op := range operations {
					cases, err := o.cases(all[Name(op, metric, memory)], op, metric, sizes)
					if err != nil {
						return nil, err
					}
					job.Cases = append(job.Cases, cases...)
				}
			}
		}
		jobs = append(jobs, job)
	}
	return jobs, nil
}

// cases returns those of one benchmark.
func (o Options) cases(b *bench.Benchmark, op string, metric Metric, sizes []int) ([]bench.Case, error) {
	if b == nil {
		return nil, fmt.Errorf("%w: no experiment measures %s of %q", bench.ErrCase, metric, op)
	}
	if len(sizes) == 0 || b.MinSize == atomicSize {
		sizes = b.Sizes
	}
	var cases []bench.Case
	for _, size := range sizes {
		if err := b.Check(2, size); err != nil {
			return nil, err
		}
		if err := (experiment{Options: o, metric: metric}).checkMemory(size); err != nil {
			return nil, err
		}
		cases = append(cases, bench.Case{Benchmark: b, Size: size})
	}
	return cases, nil
}

// WithLimits adds the limits of the machine to the job on shm. Without such a job the error wraps [bench.ErrCase].
func WithLimits(o Options, jobs []bench.Job) ([]bench.Job, error) {
	for i := range jobs {
		if jobs[i].Fabric != bench.Shm {
			continue
		}
		all := o.Benchmarks(bench.Shm)
		for _, name := range []string{RawLine, RawCopy, RawVMRead, RawVMWrite} {
			for _, size := range all[name].Sizes {
				jobs[i].Cases = append(jobs[i].Cases, bench.Case{Benchmark: all[name], Size: size})
			}
		}
		return jobs, nil
	}
	return nil, fmt.Errorf("%w: limits and peers are between processes: want shm among the fabrics", bench.ErrCase)
}
