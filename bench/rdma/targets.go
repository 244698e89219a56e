package rdma

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"

	"outboard/bench"
)

// A Target is a bound on how far the verbs may fall behind the machine, both measured in the same run.
type Target struct {
	Ours, Limit bench.Case
	// Bound is for ours over the limit: the most that the ratio may be of times, the least of rates.
	Bound float64
}

// Targets returns the targets and the job, of two processes, that measures them.
func (o Options) Targets() ([]Target, bench.Job) {
	all := o.Benchmarks(bench.Shm)
	of := func(name string, size int) bench.Case { return bench.Case{Benchmark: all[name], Size: size} }
	const mega = 1 << 20
	device := func(op string) string { return Name(op, Bandwidth, Device) }
	plain := func(op string) string { return Name(op, Bandwidth, Go) }
	targets := []Target{
		{of(Name("write", Latency, Device), 8), of(RawLine, 8), 1.5},
		{of(device("read"), mega), of(RawCopy, mega), 0.95},
		{of(device("write"), mega), of(RawCopy, mega), 0.95},
		{of(plain("read"), mega), of(RawVMRead, mega), 0.9},
		{of(plain("write"), mega), of(RawVMRead, mega), 0.9},
	}
	job := bench.Job{Fabric: bench.Shm, Ranks: 2}
	for _, t := range targets {
		for _, c := range []bench.Case{t.Ours, t.Limit} {
			if !slices.Contains(job.Cases, c) {
				job.Cases = append(job.Cases, c)
			}
		}
	}
	return targets, job
}

// A Verdict is what became of a target.
type Verdict struct {
	Target
	OursValue, LimitValue bench.Summary
	Ratio                 bench.Summary // ours over the limit, of each turn
	Met                   bool          // the median is within the bound
}

// Judge compares what the report measured with the targets. A ratio is that of one turn, in which both were measured within seconds.
// A target whose cases the report lacks is an error that wraps [bench.ErrCase].
func Judge(report *bench.Report, targets []Target) ([]Verdict, error) {
	verdicts := make([]Verdict, len(targets))
	for i, t := range targets {
		ours, limit := samples(report, t.Ours), samples(report, t.Limit)
		if len(ours) == 0 || len(ours) != len(limit) {
			return nil, fmt.Errorf("%w: %d samples of %s and %d of %s, want as many", bench.ErrCase,
				len(ours), t.Ours.Benchmark.Name, len(limit), t.Limit.Benchmark.Name)
		}
		ratios := make([]float64, len(ours))
		for j := range ours {
			ratios[j] = ours[j] / limit[j]
		}
		v := Verdict{Target: t, OursValue: bench.Summarize(ours), LimitValue: bench.Summarize(limit), Ratio: bench.Summarize(ratios)}
		v.Met = v.Ratio.Median >= t.Bound
		if t.Ours.Benchmark.Better == bench.Lower {
			v.Met = v.Ratio.Median <= t.Bound
		}
		verdicts[i] = v
	}
	return verdicts, nil
}

// samples returns the values of a case in the order of the turns.
func samples(report *bench.Report, c bench.Case) []float64 {
	for i := range report.Rows {
		if row := &report.Rows[i]; row.Case == c && row.Fabric == bench.Shm {
			return row.Samples[0]
		}
	}
	return nil
}

// sign is how the bound of a target reads.
func (t *Target) sign() string {
	if t.Ours.Benchmark.Better == bench.Lower {
		return "≤ "
	}
	return "≥ "
}

// WriteTargets writes the verdicts for people.
func WriteTargets(w io.Writer, verdicts []Verdict) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "TARGET\tSIZE\tUNIT\tOURS\tLIMIT\tOF\tRATIO\tBOUND\tMET")
	for i := range verdicts {
		v := &verdicts[i]
		met := "no"
		if v.Met {
			met = "yes"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%.3f (%.3f–%.3f)\t%s%g\t%s\n",
			v.Ours.Benchmark.Name, bench.FormatSize(v.Ours.Size), v.Ours.Benchmark.Unit, number(v.OursValue.Median), number(v.LimitValue.Median),
			v.Limit.Benchmark.Name, v.Ratio.Median, v.Ratio.Min, v.Ratio.Max, v.sign(), v.Bound, met)
	}
	return table.Flush()
}

// number writes a value with four significant digits or all those before the point.
func number(v float64) string {
	if v >= 1000 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

// WriteTargetsCSV writes the verdicts as CSV with a head.
func WriteTargetsCSV(w io.Writer, verdicts []Verdict) error {
	if _, err := fmt.Fprintln(w, "target,size_bytes,unit,ours,limit,of,ratio,ratio_min,ratio_max,bound,met"); err != nil {
		return err
	}
	for i := range verdicts {
		v := &verdicts[i]
		if _, err := fmt.Fprintf(w, "%s,%d,%s,%.6g,%.6g,%s,%.4g,%.4g,%.4g,%g,%t\n", v.Ours.Benchmark.Name, v.Ours.Size, v.Ours.Benchmark.Unit,
			v.OursValue.Median, v.LimitValue.Median, v.Limit.Benchmark.Name, v.Ratio.Median, v.Ratio.Min, v.Ratio.Max, v.Bound, v.Met); err != nil {
			return err
		}
	}
	return nil
}

type jsonVerdict struct {
	Target string       `json:"target"`
	Size   int          `json:"size_bytes"`
	Unit   string       `json:"unit"`
	Better bench.Better `json:"better"`
	Ours   float64      `json:"ours"`
	Limit  float64      `json:"limit"`
	Of     string       `json:"of"`
	Ratio  float64      `json:"ratio"`
	Least  float64      `json:"ratio_min"`
	Most   float64      `json:"ratio_max"`
	Bound  float64      `json:"bound"`
	Met    bool         `json:"met"`
}

// WriteTargetsJSON writes the verdicts as a JSON array.
func WriteTargetsJSON(w io.Writer, verdicts []Verdict) error {
	rows := make([]jsonVerdict, len(verdicts))
	for i, v := range verdicts {
		b := v.Ours.Benchmark
		rows[i] = jsonVerdict{b.Name, v.Ours.Size, b.Unit, b.Better, v.OursValue.Median, v.LimitValue.Median, v.Limit.Benchmark.Name,
			v.Ratio.Median, v.Ratio.Min, v.Ratio.Max, v.Bound, v.Met}
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(rows)
}
