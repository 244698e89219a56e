package bench

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// testJob has two cases on two ranks.
func testJob() Job {
	return Job{Fabric: Shm, Ranks: 2, Cases: []Case{{lookup("pingpong"), 8}, {lookup("bandwidth"), 1024}}}
}

func TestParseOutput(t *testing.T) {
	for _, test := range []struct {
		name, output string
	}{
		{"plain", "pingpong,2,8,us,0.25\nbandwidth,2,1024,MB/s,6000\n"},
		{"no last newline", "pingpong,2,8,us,0.25\nbandwidth,2,1024,MB/s,6e3"},
		{"blank lines and carriage returns", "\npingpong,2,8,us,0.25\r\n\r\n bandwidth,2,1024,MB/s,6000 \n\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseOutput(strings.NewReader(test.output), testJob())
			if err != nil || !slices.Equal(got, []float64{0.25, 6000}) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestParseOutputRejects(t *testing.T) {
	const first, second = "pingpong,2,8,us,0.25\n", "bandwidth,2,1024,MB/s,6000\n"
	for _, test := range []struct {
		name, output, want string
	}{
		{"nothing", "", "ended after 0 of 2"},
		{"half", first, "ended after 1 of 2"},
		{"too much", first + second + second, "line 3"},
		{"another order", second + first, "line 1"},
		{"noise", "hello\n" + first + second, `"hello"`},
		{"other ranks", "pingpong,1,8,us,0.25\n" + second, "line 1"},
		{"another size", "pingpong,2,80,us,0.25\n" + second, "line 1"},
		{"another unit", "pingpong,2,8,ms,0.25\n" + second, "line 1"},
		{"no value", "pingpong,2,8,us,\n" + second, "line 1"},
		{"two values", "pingpong,2,8,us,1,2\n" + second, `"1,2"`},
		{"zero", "pingpong,2,8,us,0\n" + second, `"0"`},
		{"negative", "pingpong,2,8,us,-1\n" + second, `"-1"`},
		{"infinite", "pingpong,2,8,us,inf\n" + second, `"inf"`},
		{"not a number", first + "bandwidth,2,1024,MB/s,nan\n", `"nan"`},
		{"beyond float64", "pingpong,2,8,us,1e999\n" + second, `"1e999"`},
		{"an endless line", strings.Repeat("x", 2*maxLine), "too long"},
	} {
		t.Run(test.name, func(t *testing.T) {
			values, err := ParseOutput(strings.NewReader(test.output), testJob())
			if !errors.Is(err, ErrOutput) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, %v; want an error with %q", values, err, test.want)
			}
		})
	}
}

func TestParseArgumentsRejects(t *testing.T) {
	for _, arg := range []string{"", "pingpong", "pingpong:", "pingpong:x", "pongping:8", ":8", "pingpong:8:8"} {
		if cases, err := ParseArguments([]string{"pingpong:8", arg}); !errors.Is(err, ErrCase) {
			t.Errorf("%q: got %v, %v", arg, cases, err)
		}
	}
}

// What a worker is told and what it prints must come back unchanged.
func TestWireRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		job := Job{Ranks: rapid.IntRange(1, MaxRanks).Draw(t, "ranks")}
		var want []float64
		for range rapid.IntRange(0, 8).Draw(t, "cases") {
			b := rapid.SampledFrom(benchmarks).Draw(t, "benchmark")
			job.Cases = append(job.Cases, Case{b, rapid.IntRange(0, MaxSize).Draw(t, "size")})
			want = append(want, rapid.Float64Range(1e-9, 1e12).Draw(t, "value"))
		}
		cases, err := ParseArguments(Arguments(job.Cases))
		if err != nil || !slices.Equal(cases, job.Cases) {
			t.Fatalf("arguments came back as %v, %v", cases, err)
		}
		var output strings.Builder
		for i, c := range job.Cases {
			if err := writeLine(&output, c, job.Ranks, want[i]); err != nil {
				t.Fatal(err)
			}
		}
		got, err := ParseOutput(strings.NewReader(output.String()), job)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if math.Abs(got[i]-want[i]) > 1e-8*want[i] {
				t.Fatalf("value %g came back as %g", want[i], got[i])
			}
		}
	})
}

func FuzzParseOutput(f *testing.F) {
	f.Add("pingpong,2,8,us,0.25\nbandwidth,2,1024,MB/s,6000\n")
	f.Add("pingpong,2,8,us,0x1p-2\n\nbandwidth,2,1024,MB/s,1_0\n")
	f.Add("pingpong,2,8,us,\x00\n")
	f.Fuzz(func(t *testing.T, output string) {
		values, err := ParseOutput(strings.NewReader(output), testJob())
		if err != nil {
			if !errors.Is(err, ErrOutput) || values != nil {
				t.Errorf("got %v, %v", values, err)
			}
			return
		}
		if len(values) != 2 {
			t.Fatalf("got %d values", len(values))
		}
		for _, v := range values {
			if !(v > 0) || math.IsInf(v, 0) {
				t.Errorf("value %g", v)
			}
		}
	})
}
