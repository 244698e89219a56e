package rdma

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"outboard/bench"
)

func TestOptionsCheck(t *testing.T) {
	inline := func(n int) *int { return &n }
	for _, test := range []struct {
		name string
		o    Options
		want string // part of the complaint, "" for none
	}{
		{"defaults", Options{}, ""},
		{"all at their largest", Options{MaxIterations, MaxQPs, MaxDepth, MaxDepth, inline(MaxInline), true}, ""},
		{"nothing inline", Options{Inline: inline(0)}, ""},
		{"negative iterations", Options{Iterations: -1}, "iterations -1"},
		{"too many queue pairs", Options{QPs: 129}, "queue pairs 129, want 1 to 128"},
		{"too deep", Options{Depth: MaxDepth + 1}, "tx depth 16385"},
		{"moderation beyond the depth", Options{Depth: 4, Moderation: 5}, "CQ moderation 5, want 1 to 4"},
		{"moderation beyond the default depth", Options{Moderation: 129}, "CQ moderation 129, want 1 to 128"},
		{"too much inline", Options{Inline: inline(513)}, "inline size 513, want 1 to 512"},
		{"negative inline", Options{Inline: inline(-1)}, "inline size -1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.o.Check()
			if test.want == "" && err != nil || test.want != "" && (!errors.Is(err, ErrOption) || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestOptionsSurviveTheirArgument(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Options{
			Iterations: rapid.IntRange(0, MaxIterations).Draw(t, "n"), QPs: rapid.IntRange(0, MaxQPs).Draw(t, "q"),
			Depth: rapid.IntRange(1, MaxDepth).Draw(t, "t"), Both: rapid.Bool().Draw(t, "b"),
		}
		o.Moderation = rapid.IntRange(0, o.Depth).Draw(t, "Q")
		if rapid.Bool().Draw(t, "inline given") {
			n := rapid.IntRange(0, MaxInline).Draw(t, "I")
			o.Inline = &n
		}
		got, err := Decode(o.Encode())
		if err != nil || !reflect.DeepEqual(got, o) {
			t.Errorf("%+v became %+v, %v", o, got, err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, arg := range []string{"{}", `{"qps":4}`, `{"qps":-1}`, `{"what":1}`, `{"inline":0}`, "", "[1"} {
		f.Add(arg)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		o, err := Decode(arg)
		if err != nil {
			if !errors.Is(err, ErrOption) {
				t.Errorf("error is %v", err)
			}
			return
		}
		if err := o.Check(); err != nil {
			t.Errorf("%q was accepted: %v", arg, err)
		}
	})
}

func TestParseLists(t *testing.T) {
	if got, err := ParseOperations("write, atomic"); err != nil || !slices.Equal(got, []string{"write", "fetch_add", "cmp_swap"}) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := ParseOperations("write,,read"); !errors.Is(err, ErrOption) || !strings.Contains(err.Error(), `""`) {
		t.Errorf("an empty operation: %v", err)
	}
	if got, err := ParseWords("metric", "bw,lat", Metrics); err != nil || !slices.Equal(got, []Metric{Bandwidth, Latency}) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := ParseWords("memory", "disk", Memories); !errors.Is(err, ErrOption) || !strings.Contains(err.Error(), `memory "disk"`) {
		t.Errorf("an unknown memory: %v", err)
	}
	for _, arg := range []string{"write_lat", "write_lat:", "write_lat:x", "write_lat:8,16", "put_lat:8", ":8"} {
		if _, err := (Options{}).ParseCases(bench.Shm, []string{arg}); !errors.Is(err, bench.ErrCase) || !strings.Contains(err.Error(), arg) {
			t.Errorf("%q: %v", arg, err)
		}
	}
}

func TestPlan(t *testing.T) {
	o := Options{QPs: 4}
	jobs, err := o.Plan([]bench.Fabric{bench.Inproc, bench.Shm}, []string{"write", "fetch_add"}, Metrics[:2], Memories, []int{16, 32})
	if err != nil || len(jobs) != 2 || jobs[0].Fabric != bench.Inproc || jobs[1].Fabric != bench.Shm {
		t.Fatalf("got %v, %v", jobs, err)
	}
	const want = "write_lat:16 write_lat:32 fetch_add_lat:8 write_bw:16 write_bw:32 fetch_add_bw:8 " +
		"write_lat/go:16 write_lat/go:32 fetch_add_lat/go:8 write_bw/go:16 write_bw/go:32 fetch_add_bw/go:8"
	for _, job := range jobs {
		if got := strings.Join(bench.Arguments(job.Cases), " "); got != want {
			t.Errorf("%s: cases %s, want %s", job.Fabric, got, want)
		}
	}
	limited, err := WithLimits(o, jobs)
	if err != nil || len(limited[0].Cases) != 12 || limited[1].Cases[12].Benchmark.Name != RawLine {
		t.Errorf("with limits: %v, %v", limited, err)
	}
	if _, err := WithLimits(o, jobs[:1]); !errors.Is(err, bench.ErrCase) {
		t.Errorf("limits without shm: %v", err)
	}
	for _, test := range []struct {
		name, op string
		metric   Metric
		size     int
	}{
		{"nothing to write", "write", Latency, 0},
		{"more than the queue pairs may have", "write", Bandwidth, MaxMemory/4 + 1},
		{"more than one may have", "write", Latency, MaxMemory + 1},
		{"no such operation", "put", Latency, 8},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := o.Plan([]bench.Fabric{bench.Shm}, []string{test.op}, []Metric{test.metric}, Memories[:1], []int{test.size})
			if !errors.Is(err, bench.ErrCase) {
				t.Errorf("error is %v", err)
			}
		})
	}
}
