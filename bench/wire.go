package bench

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// Measuring programs, ours and the peers', are told their cases by arguments like "pingpong:1024", and answer each with
// a line of output like
//
//	pingpong,2,1024,us,0.29
//
// benchmark, ranks, bytes, unit, value; in the order of the arguments.

// ErrOutput is wrapped by errors about what a measuring program printed.
var ErrOutput = errors.New("unexpected output")

// maxLine bounds a line of output in bytes.
const maxLine = 4 << 10

// Arguments returns the arguments that tell a measuring program the cases.
func Arguments(cases []Case) []string {
	args := make([]string, len(cases))
	for i, c := range cases {
		args[i] = c.Benchmark.Name + ":" + strconv.Itoa(c.Size)
	}
	return args
}

// ParseArguments is the inverse of [Arguments]. Its errors name the argument and wrap [ErrCase].
func ParseArguments(args []string) ([]Case, error) {
	cases := make([]Case, len(args))
	for i, arg := range args {
		name, bytes, _ := strings.Cut(arg, ":")
		b := lookup(name)
		size, err := strconv.Atoi(bytes)
		if b == nil || err != nil {
			return nil, fmt.Errorf("%w: argument %q, want BENCHMARK:BYTES with a benchmark of %s", ErrCase, arg, allNames())
		}
		cases[i] = Case{Benchmark: b, Size: size}
	}
	return cases, nil
}

func writeLine(w io.Writer, c Case, ranks int, value float64) error {
	_, err := fmt.Fprintf(w, "%s,%d,%d,%s,%.9g\n", c.Benchmark.Name, ranks, c.Size, c.Benchmark.Unit, value)
	return err
}

// ParseOutput reads what a measuring program printed for the job, and returns one value for each case. The output must answer
// all the cases, in order, and hold nothing else but blank lines; otherwise the error names the line and wraps
// [ErrOutput].
func ParseOutput(r io.Reader, job Job) ([]float64, error) {
	values := make([]float64, 0, len(job.Cases))
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		if len(values) == len(job.Cases) {
			return nil, fmt.Errorf("%w: line %d: %q after the last of %d cases", ErrOutput, n, line, len(job.Cases))
		}
		value, err := parseLine(line, job.Ranks, job.Cases[len(values)])
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %q: %w", ErrOutput, n, line, err)
		}
		values = append(values, value)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOutput, err)
	}
	if len(values) < len(job.Cases) {
		return nil, fmt.Errorf("%w: ended after %d of %d cases", ErrOutput, len(values), len(job.Cases))
	}
	return values, nil
}

func parseLine(line string, ranks int, c Case) (float64, error) {
	want := fmt.Sprintf("%s,%d,%d,%s,", c.Benchmark.Name, ranks, c.Size, c.Benchmark.Unit)
	number, ok := strings.CutPrefix(line, want)
	if !ok {
		return 0, fmt.Errorf("want a line that begins with %q", want)
	}
	value, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsInf(value, 0) || !(value > 0) {
		return 0, fmt.Errorf("%q is no positive number", number)
	}
	return value, nil
}
