package bench_test

import (
	"context"
	"fmt"
	"log"

	"outboard/bench"
)

// Measure a ping-pong of long messages between two goroutines, three times.
func Example() {
	pingpong, err := bench.Select("pingpong")
	if err != nil {
		log.Fatal(err)
	}
	jobs, err := bench.Plan(pingpong, []bench.Fabric{bench.Inproc}, []int{2}, []int{128 << 10})
	if err != nil {
		log.Fatal(err)
	}
	report, err := bench.Measure(context.Background(), []bench.Runner{&bench.Ours{}}, jobs, 3, nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, row := range report.Rows {
		fmt.Println(row.Case.Benchmark.Name, bench.FormatSize(row.Case.Size), "measured", len(row.Samples[0]), "times")
	}
	// Output:
	// pingpong 128 KiB measured 3 times
}

func ExampleRatio() {
	fmt.Println(bench.Ratio(bench.Lower, 0.12, 0.15, 0.18))     // microseconds
	fmt.Println(bench.Ratio(bench.Higher, 16000, 12000, 11000)) // MB/s
	// Output:
	// 0.8
	// 0.75
}
