package bench

import (
	"context"
	"fmt"
)

// A Runner starts jobs. Its jobs run one at a time.
type Runner interface {
	// Name is a word for a column's head, such as "openmpi".
	Name() string
	// Run starts the job and returns one positive value for each case, in the benchmark's unit. When ctx ends, so do the
	// processes that it started.
	Run(ctx context.Context, job Job) ([]float64, error)
}

// A Report is what several runners measured by turns.
type Report struct {
	Runners []string // names, in the order of their turns
	Rows    []Row
}

// A Row is one case of one job.
type Row struct {
	Fabric  Fabric
	Ranks   int
	Case    Case
	Samples [][]float64 // for each runner the values of its turns, in the order of time
}

// Summary returns the summary of one runner's samples.
func (r *Row) Summary(runner int) Summary { return Summarize(r.Samples[runner]) }

// Ratio returns the ratio of the first runner's median to the best median of the others, inverted for rates: below one, the first
// is ahead. It is false when there are no others.
func (r *Row) Ratio() (float64, bool) {
	if len(r.Samples) < 2 {
		return 0, false
	}
	medians := make([]float64, len(r.Samples))
	for i := range medians {
		medians[i] = r.Summary(i).Median
	}
	return Ratio(r.Case.Benchmark.Better, medians[0], medians[1:]...), true
}

// A Step says what is about to run.
type Step struct {
	Turn, Turns int // from 1
	Runner      string
	Job         Job
}

// Measure has the runners do the jobs by turns: in each turn, each job is done by each runner, one after the other. It calls
// progress, unless nil, before every job. The first error ends the measurement and says whose it was.
func Measure(ctx context.Context, runners []Runner, jobs []Job, turns int, progress func(Step)) (*Report, error) {
	report := newReport(runners, jobs)
	for turn := 1; turn <= turns; turn++ {
		rows := report.Rows
		for _, job := range jobs {
			for i, runner := range runners {
				if progress != nil {
					progress(Step{Turn: turn, Turns: turns, Runner: runner.Name(), Job: job})
				}
				values, err := runner.Run(ctx, job)
				if err == nil && len(values) != len(job.Cases) {
					err = fmt.Errorf("%w: %d values for %d cases", ErrOutput, len(values), len(job.Cases))
				}
				if err != nil {
					return nil, fmt.Errorf("%s, %d ranks, turn %d: %w", runner.Name(), job.Ranks, turn, err)
				}
				for c, value := range values {
					rows[c].Samples[i] = append(rows[c].Samples[i], value)
				}
			}
			rows = rows[len(job.Cases):]
		}
	}
	return report, nil
}

func newReport(runners []Runner, jobs []Job) *Report {
	report := &Report{}
	for _, r := range runners {
		report.Runners = append(report.Runners, r.Name())
	}
	for _, job := range jobs {
		for _, c := range job.Cases {
			row := Row{Fabric: job.Fabric, Ranks: job.Ranks, Case: c, Samples: make([][]float64, len(runners))}
			report.Rows = append(report.Rows, row)
		}
	}
	return report
}
