package fabrictest

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

const childEnv = "OUTBOARD_FABRICTEST_CHILD"

// Main is the TestMain of a fabric's tests. In a child process it serves an agent; else it
// runs the tests and checks that no goroutine is left.
func Main(m *testing.M, open Open) {
	if os.Getenv(childEnv) != "" {
		if err := serve(open, os.NewFile(3, "commands"), os.NewFile(4, "results")); err != nil {
			fmt.Fprintln(os.Stderr, "fabrictest:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// A question is a command with the number that its answer carries: several may be under way.
type (
	question struct {
		N int
		C command
	}
	answer struct {
		N int
		R result
	}
)

// serve carries out commands until there are no more. Each has its goroutine; those that need the
// port to themselves queue for it in the agent.
func serve(open Open, in io.Reader, out io.Writer) error {
	a := &agent{open: open}
	dec, enc := gob.NewDecoder(in), gob.NewEncoder(out)
	var mu sync.Mutex // serialises enc
	for {
		var q question
		if err := dec.Decode(&q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		go func() {
			r := a.do(q.C)
			mu.Lock()
			defer mu.Unlock()
			_ = enc.Encode(answer{q.N, r}) // fails if the parent is gone; then the next Decode does too
		}()
	}
}

// A Child is a process that owns an agent.
type Child struct {
	cmd  *exec.Cmd
	in   *os.File // commands to it
	done chan struct{}

	mu   sync.Mutex // guards what follows
	enc  *gob.Encoder
	last int
	wait map[int]chan result
	err  error // set once the child is gone
}

// StartChild starts the test binary again as a Child, which is killed at the end of the test.
func StartChild(t testing.TB) *Child {
	t.Helper()
	ch, err := start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ch.Kill)
	return ch
}

func start() (*Child, error) {
	commands, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, results, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.ExtraFiles = []*os.File{commands, results}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	commands.Close()
	results.Close()
	ch := &Child{cmd: cmd, in: in, enc: gob.NewEncoder(in), wait: map[int]chan result{}, done: make(chan struct{})}
	go ch.read(out)
	return ch, nil
}

// read hands results to those who wait for them.
func (ch *Child) read(out *os.File) {
	defer close(ch.done)
	defer out.Close()
	dec := gob.NewDecoder(out)
	for {
		var a answer
		err := dec.Decode(&a)
		ch.mu.Lock()
		if err != nil {
			ch.err = fmt.Errorf("child: %w", err)
			for _, c := range ch.wait {
				close(c)
			}
			ch.mu.Unlock()
			return
		}
		ch.wait[a.N] <- a.R
		delete(ch.wait, a.N)
		ch.mu.Unlock()
	}
}

func (ch *Child) do(c command) result {
	c.Region.Buf = nil
	ch.mu.Lock()
	if ch.err != nil {
		defer ch.mu.Unlock()
		return result{Err: failureOf(ch.err)}
	}
	ch.last++
	reply := make(chan result, 1)
	ch.wait[ch.last] = reply
	err := ch.enc.Encode(question{ch.last, c})
	ch.mu.Unlock()
	if err != nil {
		return result{Err: failureOf(err)}
	}
	r, ok := <-reply
	if !ok {
		return result{Err: failureOf(errors.New("child: died"))}
	}
	return r
}

// Kill kills the child with SIGKILL and waits for its end. A second call does nothing.
func (ch *Child) Kill() {
	ch.mu.Lock()
	cmd := ch.cmd
	ch.cmd = nil
	ch.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	ch.in.Close()
	<-ch.done
}
