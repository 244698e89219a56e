package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain is the program itself in a process that a test has started.
func TestMain(m *testing.M) {
	if os.Getenv("VERBS_PINGPONG") != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

var result = regexp.MustCompile(`^(\d+) round trips of (\d+) bytes: [0-9.]+ µs each way \(median of \d+ batches, [0-9.]+ to [0-9.]+\)\n$`)

func check(t *testing.T, out, iters, size string) {
	t.Helper()
	if m := result.FindStringSubmatch(out); m == nil || m[1] != iters || m[2] != size {
		t.Errorf("got %q, want %s round trips of %s bytes", out, iters, size)
	}
}

func TestOneProcess(t *testing.T) {
	var out bytes.Buffer
	if err := (config{size: 100, iters: 50}).run(&out); err != nil {
		t.Fatal(err)
	}
	listening, rest, _ := strings.Cut(out.String(), "\n")
	if !strings.HasPrefix(listening, "listening at localhost:") {
		t.Errorf("got %q first", listening)
	}
	check(t, rest, "50", "100")
}

// program starts this program in a process of its own.
func program(t *testing.T, args ...string) (cmd *exec.Cmd, out io.Reader) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	cmd = exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), "VERBS_PINGPONG=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, out
}

func TestTwoProcesses(t *testing.T) {
	server, out := program(t, "-listen", ":0")
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "listening at ")
	if !ok {
		t.Fatalf("the server says %q", line)
	}
	client, out := program(t, "-size", "5000", "-iters", "20", address)
	got, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	check(t, string(got), "20", "5000")
	if err := client.Wait(); err != nil {
		t.Errorf("the client: %v", err)
	}
	if err := server.Wait(); err != nil {
		t.Errorf("the server: %v", err)
	}
}

// TestClientFirst starts the client before the server, as a shell may that has the server in the background.
func TestClientFirst(t *testing.T) {
	l, err := net.Listen("tcp", "localhost:0") // a port that nobody else wants now
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	client, out := program(t, "-iters", "5", "localhost:"+port)
	time.Sleep(200 * time.Millisecond)
	server, _ := program(t, "-listen", ":"+port)
	got, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	check(t, string(got), "5", "64")
	if err := errors.Join(client.Wait(), server.Wait()); err != nil {
		t.Error(err)
	}
}

func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		name, listen, args string
		trace              string
		size, iters        int
		want               string
	}{
		{"small", "", "", "", 7, 1, "-size 7: want 8 to"},
		{"no iterations", "", "", "", 8, 0, "-iters 0: want 1 to"},
		{"both", ":0", "localhost:1", "", 8, 1, "either"},
		{"two", "", "localhost:1 localhost:2", "", 8, 1, "either"},
		{"nobody listens", "", "localhost:1", "", 8, 1, "connection refused"},
		{"no address", "", "x", "", 8, 1, "expected host:port"},
		{"nowhere to trace", "", "", t.TempDir(), 8, 1, "is a directory"},
		{"nowhere to listen", "x", "", "", 8, 1, "expected host:port"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := config{listen: tt.listen, trace: tt.trace, size: tt.size, iters: tt.iters, args: strings.Fields(tt.args)}.run(io.Discard)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want it to contain %q", err, tt.want)
			}
		})
	}
}
