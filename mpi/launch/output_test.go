package launch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestOutputOfRun(t *testing.T) {
	tests := []struct {
		name string
		n    int
		tag  bool
		role string
		args []string
		want []string // sorted lines of the standard output
	}{
		{"plain", 2, false, "print", []string{"a", "b"}, []string{"a\n", "a\n", "b\n", "b\n"}},
		{"tagged", 2, true, "print", []string{"a", "", "b"}, []string{"[0] \n", "[0] a\n", "[0] b\n", "[1] \n", "[1] a\n", "[1] b\n"}},
		{"no newline, one rank", 1, false, "raw", []string{"a"}, []string{"a"}},
		{"no newline, two ranks", 2, false, "raw", []string{"a"}, []string{"a\n", "a\n"}},
		{"no newline, tagged", 1, true, "raw", []string{"a"}, []string{"[0] a\n"}},
		{"nothing", 2, true, "print", nil, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			job, stdout, _ := testJob(test.n, test.role, test.args...)
			job.TagOutput = test.tag
			if code, err := run(t, job); code != 0 {
				t.Fatalf("code %d, %v", code, err)
			}
			if diff := cmp.Diff(test.want, sortedLines(stdout)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Long lines of several ranks do not mix.
func TestOutputIsWholeLines(t *testing.T) {
	const n, times = 4, 50
	job, stdout, stderr := testJob(n, "lines", fmt.Sprint(times))
	if code, err := run(t, job); code != 0 {
		t.Fatalf("code %d, %v", code, err)
	}
	for name, b := range map[string]*bytes.Buffer{"stdout": stdout, "stderr": stderr} {
		count := map[string]int{}
		for line := range strings.Lines(b.String()) {
			count[line]++
		}
		for rank := range n {
			line := strings.Repeat(fmt.Sprint(rank), 3000) + "\n"
			if count[line] != times {
				t.Errorf("%s: rank %d has %d whole lines, want %d", name, rank, count[line], times)
			}
		}
	}
}

func TestStdin(t *testing.T) {
	input := strings.Repeat("a line of input\n", 20_000)
	job, stdout, stderr := testJob(3, "cat")
	job.Stdin = strings.NewReader(input)
	if code, err := run(t, job); code != 0 {
		t.Fatalf("code %d, %v", code, err)
	}
	if stdout.String() != input {
		t.Errorf("%d bytes came back, want %d", stdout.Len(), len(input))
	}
	want := []string{fmt.Sprintf("0: %d bytes, <nil>\n", len(input)), "1: 0 bytes, <nil>\n", "2: 0 bytes, <nil>\n"}
	if diff := cmp.Diff(want, sortedLines(stderr)); diff != "" {
		t.Error(diff)
	}
}

// Without input rank 0 reads nothing, and input that nobody reads holds up
// nobody.
func TestStdinUnused(t *testing.T) {
	job, _, stderr := testJob(1, "cat")
	if code, err := run(t, job); code != 0 || stderr.String() != "0: 0 bytes, <nil>\n" {
		t.Errorf("code %d, %v, %q", code, err, stderr)
	}
	job, _, _ = testJob(1, "print", "x")
	r, w := io.Pipe()
	job.Stdin = r
	if code, err := run(t, job); code != 0 {
		t.Errorf("code %d, %v", code, err)
	}
	w.Close()
}

func TestDir(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	job, stdout, _ := testJob(1, "pwd")
	job.Dir = dir
	if code, err := run(t, job); code != 0 || stdout.String() != dir+" <nil>\n" {
		t.Errorf("code %d, %v, %q", code, err, stdout)
	}
}

// A writer that fails does not stop the ranks, but fails the job.
func TestOutputFails(t *testing.T) {
	full := errors.New("disk full")
	job, _, _ := testJob(2, "lines", "30")
	job.Stdout = writerFunc(func([]byte) (int, error) { return 0, full })
	if code, err := run(t, job); code != 1 || !errors.Is(err, ErrOutput) || !errors.Is(err, full) {
		t.Errorf("code %d, %v", code, err)
	}
}

// A writer that never returns cannot keep Run from returning.
func TestOutputStuck(t *testing.T) {
	job, _, _ := testJob(1, "print", "x")
	free := make(chan struct{})
	job.Stdout = writerFunc(func(p []byte) (int, error) { <-free; return len(p), nil })
	if code, err := run(t, job); code != 1 || !errors.Is(err, ErrOutput) {
		t.Errorf("code %d, %v", code, err)
	}
	close(free)
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// endless is a source that is never late.
type endless struct{ io.Reader }

func (endless) SetReadDeadline(time.Time) error { return nil }

// A stream agrees with splitting the whole text, whatever the size of the
// pieces in which it arrives.
func TestStream(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOf(rapid.StringMatching(`[a-c]{0,9}`)).Draw(t, "lines")
		text := strings.Join(lines, "\n")
		tag := rapid.SampledFrom([]string{"", "[7] "}).Draw(t, "tag")
		closing := rapid.Bool().Draw(t, "close")
		reader := rapid.SampledFrom([]func(io.Reader) io.Reader{iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader}).Draw(t, "reader")

		var got bytes.Buffer
		var last tail
		s := stream{out: new(output), to: &got, tail: &last, tag: []byte(tag), close: closing}
		s.copy(endless{reader(strings.NewReader(text))})

		var want strings.Builder
		var wantTail []string
		for line := range strings.Lines(text) {
			want.WriteString(tag + line)
			wantTail = append(wantTail, strings.TrimSuffix(line, "\n"))
		}
		if text != "" && !strings.HasSuffix(text, "\n") && closing {
			want.WriteString("\n")
		}
		if diff := cmp.Diff(want.String(), got.String()); diff != "" {
			t.Fatal(diff)
		}
		wantTail = wantTail[max(0, len(wantTail)-tailLines):]
		if !slices.Equal(wantTail, last.get()) {
			t.Fatalf("tail %q, want %q", last.get(), wantTail)
		}
	})
}

// A line without end is printed in pieces, with one tag.
func TestStreamEndlessLine(t *testing.T) {
	var got bytes.Buffer
	var last tail
	s := stream{out: new(output), to: &got, tail: &last, tag: []byte("[7] ")}
	text := strings.Repeat("x", 3*longLine) + "\ny\n"
	s.copy(endless{strings.NewReader(text)})
	if want := "[7] " + strings.Replace(text, "\ny", "\n[7] y", 1); got.String() != want {
		t.Errorf("%d bytes, want %d", got.Len(), len(want))
	}
	for _, line := range last.get() {
		if len(line) > tailWidth+len("…") {
			t.Errorf("the tail has a line of %d bytes", len(line))
		}
	}
}

// On a terminal the begin of a line is shown while the rest is awaited, and
// the lines of others do not join it.
func TestStreamPrompt(t *testing.T) {
	var out output
	var last tail
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := newWatch("number? ", 1)
	asking := &stream{out: &out, to: got, tail: &last, tag: []byte("[0] "), close: true, live: true}
	other := &stream{out: &out, to: got, tail: new(tail), tag: []byte("[1] "), close: true}
	ended := make(chan struct{})
	go func() { asking.copy(r); close(ended) }()
	fmt.Fprint(w, "hello\nnumber? ")
	select {
	case <-got.seen:
	case <-time.After(patience):
		t.Fatal("the prompt is not shown")
	}
	other.copy(endless{strings.NewReader("noise\n")})
	fmt.Fprint(w, "seven\nbye")
	w.Close()
	<-ended
	const want = "[0] hello\n[0] number? \n[1] noise\n[0] seven\n[0] bye\n"
	if got.String() != want {
		t.Errorf("%q, want %q", got.String(), want)
	}
}

func TestIsTerminal(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for name, w := range map[string]io.Writer{"nothing": nil, "a buffer": new(bytes.Buffer), "the null device": null} {
		if isTerminal(w) {
			t.Errorf("%s is a terminal", name)
		}
	}
	if pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0); err == nil {
		defer pty.Close()
		if !isTerminal(pty) {
			t.Error("a pseudo-terminal is none")
		}
	}
}
