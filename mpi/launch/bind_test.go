package launch

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestShare(t *testing.T) {
	four := []int{0, 1, 2, 3}
	tests := []struct {
		name string
		bind Bind
		n    int
		cpus []int
		want [][]int
	}{
		{"one each", BindAuto, 4, four, [][]int{{0}, {1}, {2}, {3}}},
		{"two each", BindAuto, 2, four, [][]int{{0, 1}, {2, 3}}},
		{"some to spare", BindAuto, 3, four, [][]int{{0}, {1}, {2}}},
		{"all for one", BindAuto, 1, four, [][]int{four}},
		{"too many ranks", BindAuto, 5, four, nil},
		{"too many ranks, bound", BindCore, 6, four, [][]int{{0}, {1}, {2}, {3}, {0}, {1}}},
		{"numbers with gaps", BindCore, 2, []int{3, 7}, [][]int{{3}, {7}}},
		{"unbound", BindNone, 2, four, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, test.bind.share(test.n, test.cpus)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestProcs(t *testing.T) {
	for _, test := range []struct{ n, cpus, want int }{
		{1, 1, 1}, {1, 2, 2}, {2, 2, 1}, {1, 8, 8}, {2, 8, 4}, {3, 8, 2}, {8, 8, 1}, {3, 2, 1}, {100, 8, 1},
	} {
		if got := procs(test.n, test.cpus); got != test.want {
			t.Errorf("procs(%d, %d) = %d, want %d", test.n, test.cpus, got, test.want)
		}
	}
}

func TestSortByCore(t *testing.T) {
	// Two sockets of two cores of two threads, numbered as Linux does.
	sys := fstest.MapFS{}
	for cpu := range 8 {
		dir := fmt.Sprintf("devices/system/cpu/cpu%d/topology/", cpu)
		sys[dir+"physical_package_id"] = &fstest.MapFile{Data: fmt.Appendln(nil, cpu%2)}
		sys[dir+"core_id"] = &fstest.MapFile{Data: fmt.Appendln(nil, cpu/2%2)}
	}
	cpus := []int{0, 1, 2, 3, 4, 5, 6, 7}
	sortByCore(cpus, sys)
	if diff := cmp.Diff([]int{0, 4, 2, 6, 1, 5, 3, 7}, cpus); diff != "" {
		t.Error(diff)
	}
	unknown := []int{5, 2, 9}
	sortByCore(unknown, fstest.MapFS{})
	if diff := cmp.Diff([]int{2, 5, 9}, unknown); diff != "" {
		t.Errorf("without a topology: %s", diff)
	}
}

func TestBindText(t *testing.T) {
	for _, b := range []Bind{BindAuto, BindCore, BindNone} {
		text, err := b.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back Bind
		if err := back.UnmarshalText(text); err != nil || back != b {
			t.Errorf("%q becomes %d, %v; want %d", text, back, err, b)
		}
	}
	var b Bind
	if err := b.UnmarshalText([]byte("socket")); !errors.Is(err, ErrJob) {
		t.Errorf("socket: %v", err)
	}
	if _, err := Bind(7).MarshalText(); !errors.Is(err, ErrJob) {
		t.Errorf("7: %v", err)
	}
}

// Ranks run where the plan says, and the caller's threads are as free as
// before.
func TestBinding(t *testing.T) {
	before := allowedCPUs(os.DirFS("/sys"))
	for _, bind := range []Bind{BindAuto, BindCore, BindNone} {
		for _, n := range []int{1, len(before), len(before) + 1} {
			job, stdout, _ := testJob(n, "cpus")
			job.Bind = bind
			if code, err := run(t, job); code != 0 {
				t.Fatalf("code %d, %v", code, err)
			}
			var want []string
			shares := bind.share(n, before)
			for rank := range n {
				cpus := before
				if shares != nil {
					cpus = shares[rank]
				}
				want = append(want, fmt.Sprintln(rank, cpus))
			}
			slices.Sort(want)
			if diff := cmp.Diff(want, sortedLines(stdout)); diff != "" {
				t.Errorf("bind %d, %d ranks: %s", bind, n, diff)
			}
		}
	}
	if diff := cmp.Diff(before, allowedCPUs(os.DirFS("/sys"))); diff != "" {
		t.Errorf("the caller is bound: %s", diff)
	}
}

func TestEnvironment(t *testing.T) {
	outer := []string{"HOME=/x", "PMI_PORT=h:1", "PMI_ID=4", "PMI_RANK=7", "OUTBOARD_JOB=outer", "HYDI_CONTROL_FD=9"}
	names := []string{"PMI_RANK", "PMI_SIZE", "PMI_FD", "PMI_PORT", "PMI_ID", "HYDI_CONTROL_FD", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", "GOMAXPROCS", "OUTBOARD_CPUS", "HOME"}
	cpus := len(allowedCPUs(os.DirFS("/sys")))
	tests := []struct {
		name, gomaxprocs string
		env              []string
	}{
		{"ours", fmt.Sprint(procs(2, cpus)), outer},
		{"the user's", "5", append(slices.Clip(outer), "GOMAXPROCS=5")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			job, stdout, _ := testJob(2, "env", names...)
			job.Env = append(slices.Clip(test.env), roleVariable+"=env", quickExit)
			if code, err := run(t, job); code != 0 {
				t.Fatalf("code %d, %v", code, err)
			}
			var want []string
			for rank := range 2 {
				values := map[string]any{
					"PMI_RANK": rank, "PMI_SIZE": 2, "PMI_FD": 3, "MPI_LOCALRANKID": rank, "MPI_LOCALNRANKS": 2,
					"GOMAXPROCS": test.gomaxprocs, "OUTBOARD_CPUS": cpus, "HOME": "/x",
				}
				for _, name := range names {
					value, ok := values[name]
					if !ok {
						value = ""
					}
					want = append(want, fmt.Sprintln(rank, name, value, ok))
				}
			}
			slices.Sort(want)
			if diff := cmp.Diff(want, sortedLines(stdout)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// All ranks of a job have the same name for it, and two jobs have two.
func TestJobNames(t *testing.T) {
	seen := map[string]int{}
	for range 2 {
		job, stdout, _ := testJob(2, "env", jobVariable)
		if code, err := run(t, job); code != 0 {
			t.Fatalf("code %d, %v", code, err)
		}
		for line := range strings.Lines(stdout.String()) {
			seen[strings.Fields(line)[2]]++
		}
	}
	if len(seen) != 2 {
		t.Errorf("names %v, want two", seen)
	}
}
