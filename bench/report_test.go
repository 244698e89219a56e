package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// testdata/reports.txt: each command writes the report of its input. The first line names the runners; each other line is a row:
// benchmark, fabric, ranks, bytes, and each runner's samples behind a bar.
func TestReportFormats(t *testing.T) {
	datadriven.RunTest(t, "testdata/reports.txt", func(t *testing.T, d *datadriven.TestData) string {
		report := parseReport(t, d.Input)
		var out strings.Builder
		var err error
		switch d.Cmd {
		case "table":
			err = report.WriteTable(&out)
		case "csv":
			err = report.WriteCSV(&out)
		case "json":
			if err = report.WriteJSON(&out); err == nil && !json.Valid([]byte(out.String())) {
				err = errors.New("not JSON")
			}
		default:
			t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
		}
		if err != nil {
			t.Fatalf("%s: %v", d.Pos, err)
		}
		return out.String()
	})
}

func parseReport(t *testing.T, input string) *Report {
	lines := strings.Split(input, "\n")
	report := &Report{Runners: strings.Fields(lines[0])}
	for _, line := range lines[1:] {
		parts := strings.Split(line, "|")
		head := strings.Fields(parts[0])
		ranks, err1 := strconv.Atoi(head[2])
		size, err2 := strconv.Atoi(head[3])
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		row := Row{Fabric: Fabric(head[1]), Ranks: ranks, Case: Case{lookup(head[0]), size}}
		for _, part := range parts[1:] {
			var samples []float64
			for _, field := range strings.Fields(part) {
				v, err := strconv.ParseFloat(field, 64)
				if err != nil {
					t.Fatal(err)
				}
				samples = append(samples, v)
			}
			row.Samples = append(row.Samples, samples)
		}
		report.Rows = append(report.Rows, row)
	}
	return report
}

// fake answers each case with the next whole number, and writes down what it was asked.
type fake struct {
	name string
	log  *[]string
	last *float64
	fail func(job Job) error
	keep int // values to leave out
}

func (f fake) Name() string { return f.name }

func (f fake) Run(_ context.Context, job Job) ([]float64, error) {
	*f.log = append(*f.log, fmt.Sprintf("%s/%d", f.name, job.Ranks))
	if f.fail != nil {
		if err := f.fail(job); err != nil {
			return nil, err
		}
	}
	var values []float64
	for range len(job.Cases) - f.keep {
		*f.last++
		values = append(values, *f.last)
	}
	return values, nil
}

func TestMeasureTakesTurns(t *testing.T) {
	var log, steps []string
	var last float64
	runners := []Runner{fake{name: "a", log: &log, last: &last}, fake{name: "b", log: &log, last: &last}}
	jobs := []Job{testJob(), {Fabric: Shm, Ranks: 4, Cases: []Case{{lookup("allreduce"), 8}}}}
	report, err := Measure(context.Background(), runners, jobs, 2, func(s Step) {
		steps = append(steps, fmt.Sprintf("%d/%d %s %d", s.Turn, s.Turns, s.Runner, s.Job.Ranks))
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Fields("a/2 b/2 a/4 b/4 a/2 b/2 a/4 b/4"); !slices.Equal(log, want) {
		t.Errorf("order was %v, want %v", log, want)
	}
	if len(steps) != 8 || steps[0] != "1/2 a 2" || steps[7] != "2/2 b 4" {
		t.Errorf("steps were %q", steps)
	}
	got := fmt.Sprint(report.Rows[0].Samples, report.Rows[1].Samples, report.Rows[2].Samples)
	if want := "[[1 7] [3 9]] [[2 8] [4 10]] [[5 11] [6 12]]"; got != want {
		t.Errorf("samples are %s, want %s", got, want)
	}
	if r := report.Rows[2]; r.Ranks != 4 || r.Case.Benchmark.Name != "allreduce" || r.Case.Size != 8 {
		t.Errorf("the last row is %+v", r)
	}
}

func TestMeasureSaysWhoFailed(t *testing.T) {
	var log []string
	var last float64
	broken := errors.New("broken")
	for _, test := range []struct {
		name string
		b    fake
		is   error
		want string
	}{
		{"an error", fake{fail: func(Job) error { return broken }}, broken, "b, 2 ranks, turn 1: broken"},
		{"too few values", fake{keep: 1}, ErrOutput, "b, 2 ranks, turn 1: unexpected output: 1 values for 2 cases"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.b.name, test.b.log, test.b.last = "b", &log, &last
			runners := []Runner{fake{name: "a", log: &log, last: &last}, test.b}
			report, err := Measure(context.Background(), runners, []Job{testJob()}, 3, nil)
			if report != nil || !errors.Is(err, test.is) || err.Error() != test.want {
				t.Errorf("got %v, %v; want %q", report, err, test.want)
			}
		})
	}
}
