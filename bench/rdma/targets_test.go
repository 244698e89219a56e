package rdma

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"outboard/bench"
)

// reportOf is a report of the job in which the verbs take latency and reach rate times the limits of two turns.
func reportOf(job bench.Job, latency, rate float64) *bench.Report {
	report := &bench.Report{Runners: []string{"verbs"}}
	for _, c := range job.Cases {
		factor := 1.0
		switch raw := strings.HasPrefix(c.Benchmark.Name, "raw_"); {
		case !raw && c.Benchmark.Better == bench.Lower:
			factor = latency
		case !raw:
			factor = rate
		}
		report.Rows = append(report.Rows, bench.Row{Fabric: job.Fabric, Ranks: 2, Case: c, Samples: [][]float64{{10 * factor, 20 * factor, 30 * factor}}})
	}
	return report
}

func TestJudge(t *testing.T) {
	targets, job := Options{}.Targets()
	if len(targets) != 5 || len(job.Cases) != 8 {
		t.Fatalf("%d targets, cases %v", len(targets), bench.Arguments(job.Cases))
	}
	for _, test := range []struct {
		name          string
		latency, rate float64
		met           []bool
	}{
		{"all met, just", 1.5, 0.95, []bool{true, true, true, true, true}},
		{"too late", 1.51, 1, []bool{false, true, true, true, true}},
		{"copies too slow", 1, 0.94, []bool{true, false, false, true, true}},
		{"all too slow", 1, 0.89, []bool{true, false, false, false, false}},
	} {
		t.Run(test.name, func(t *testing.T) {
			verdicts, err := Judge(reportOf(job, test.latency, test.rate), targets)
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range verdicts {
				if v.Met != test.met[i] {
					t.Errorf("%s: met %v with %v", v.Ours.Benchmark.Name, v.Met, v.Ratio)
				}
			}
		})
	}
	report := reportOf(job, 1, 1)
	report.Rows = report.Rows[:len(report.Rows)-1]
	if _, err := Judge(report, targets); !errors.Is(err, bench.ErrCase) {
		t.Errorf("a report that lacks a row: %v", err)
	}
}

func TestTargetFormats(t *testing.T) {
	targets, job := Options{}.Targets()
	verdicts, err := Judge(reportOf(job, 2, 1), targets)
	if err != nil {
		t.Fatal(err)
	}
	var table, lines, objects bytes.Buffer
	if err := errors.Join(WriteTargets(&table, verdicts), WriteTargetsCSV(&lines, verdicts), WriteTargetsJSON(&objects, verdicts)); err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(table.String(), "\n")
	if len(rows) != 7 || strings.Join(strings.Fields(rows[1]), " ") != "write_lat 8 B us 40 20 raw_line_lat 2.000 (2.000–2.000) ≤ 1.5 no" {
		t.Errorf("table is\n%s", table.String())
	}
	records, err := csv.NewReader(&lines).ReadAll()
	if err != nil || len(records) != 6 || strings.Join(records[4], ",") != "read_bw/go,1048576,MB/s,20,20,raw_vm_read_bw,1,1,1,0.9,true" {
		t.Errorf("CSV is %v, %v", records, err)
	}
	var got []map[string]any
	if err := json.Unmarshal(objects.Bytes(), &got); err != nil || len(got) != 5 || got[0]["met"] != false || got[1]["ratio"] != 1.0 || got[0]["bound"] != 1.5 {
		t.Errorf("JSON is %v, %v", got, err)
	}
}
