package bench

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// outline writes jobs as "shm/2 pingpong:8 ...", a line for each.
func outline(jobs []Job) string {
	var lines []string
	for _, j := range jobs {
		lines = append(lines, string(j.Fabric)+"/"+string(rune('0'+j.Ranks))+" "+strings.Join(Arguments(j.Cases), " "))
	}
	return strings.Join(lines, "\n")
}

func TestPlan(t *testing.T) {
	pair, err := Select("allreduce", "pingpong")
	if err != nil {
		t.Fatal(err)
	}
	shm := []Fabric{Shm}
	for _, test := range []struct {
		name string
		plan func() ([]Job, error)
		want string
	}{
		{
			"fabrics by ranks",
			func() ([]Job, error) { return Plan(pair, []Fabric{Inproc, Shm}, []int{2, 4}, []int{8, 16}) },
			"inproc/2 allreduce:8 allreduce:16 pingpong:8 pingpong:16\n" +
				"inproc/4 allreduce:8 allreduce:16 pingpong:8 pingpong:16\n" +
				"shm/2 allreduce:8 allreduce:16 pingpong:8 pingpong:16\n" +
				"shm/4 allreduce:8 allreduce:16 pingpong:8 pingpong:16",
		},
		{
			"a comparison by default",
			func() ([]Job, error) { return ComparisonPlan(All(), shm, nil, nil) },
			"shm/2 pingpong:8 pingpong:1024 pingpong:65536 pingpong:1048576 bandwidth:1048576 allreduce:8 allreduce:1024 allreduce:1048576\n" +
				"shm/4 allreduce:8",
		},
		{
			"a comparison of sizes",
			func() ([]Job, error) { return ComparisonPlan(pair, shm, nil, []int{64}) },
			"shm/2 allreduce:64 pingpong:64",
		},
		{
			"a comparison of ranks",
			func() ([]Job, error) { return ComparisonPlan(pair[:1], shm, []int{3}, nil) },
			"shm/3 allreduce:8 allreduce:1024 allreduce:1048576",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			jobs, err := test.plan()
			if err != nil {
				t.Fatal(err)
			}
			if got := outline(jobs); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

func TestPlanRejects(t *testing.T) {
	for _, test := range []struct {
		name      string
		benchmark string
		ranks     int
		size      int
		want      string
	}{
		{"pingpong alone", "pingpong", 1, 8, "on 1 ranks"},
		{"negative size", "pingpong", 2, -1, "of -1 bytes"},
		{"nothing per second", "bandwidth", 2, 0, "of 0 bytes"},
		{"half a double", "allreduce", 2, 12, "of 12 bytes"},
		{"no double", "allreduce", 2, 0, "of 0 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Plan([]*Benchmark{lookup(test.benchmark)}, []Fabric{Shm}, []int{test.ranks}, []int{test.size})
			if !errors.Is(err, ErrCase) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
		})
	}
	if _, err := Select("pingpong", "pingpang"); !errors.Is(err, ErrCase) || !strings.Contains(err.Error(), `"pingpang"`) {
		t.Errorf("selecting a benchmark that is not there: %v", err)
	}
}

// Whatever a benchmark or a comparison measures by default, it must accept.
func TestDefaultsAreMeasurable(t *testing.T) {
	for _, b := range All() {
		few, ok := comparisonSizes[b.Name]
		if !ok {
			t.Errorf("%s has no sizes for a comparison", b.Name)
		}
		for _, size := range slices.Concat(b.Sizes, few) {
			if err := b.Check(2, size); err != nil {
				t.Error(err)
			}
		}
	}
}
