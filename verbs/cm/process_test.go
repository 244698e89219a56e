package cm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"outboard/verbs"
	"outboard/verbs/fabric/shm"
)

const childRole = "CM_TEST_CHILD"

// childMain is the peer in a process of its own: "listen STEP", "dial ADDRESS STEP", or "hold". It goes as far as the step, says
// so, and waits for the end of its input, or to be killed.
func childMain(role string) int {
	f := strings.Fields(role)
	if err := child(f); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func child(f []string) error {
	if f[0] == "hold" {
		n, err := hold(somePorts()[0], "inproc:1:1")
		if err != nil {
			return err
		}
		defer n.release()
		fmt.Println(strings.Replace(n.socket.Addr().String(), fmt.Sprintf("@outboard/cm/%d/", os.Getuid()), ":", 1))
		_, err = io.Copy(io.Discard, os.Stdin)
		return err
	}
	p, err := shm.Open(shm.Options{})
	if err != nil {
		return err
	}
	dev, err := verbs.Open(p)
	if err != nil {
		return err
	}
	defer dev.Close()
	n := &node{dev: dev}
	if n.pd, err = dev.AllocPD(); err != nil {
		return err
	}
	if n.cq, err = dev.CreateCQ(16, nil); err != nil {
		return err
	}
	ctx := context.Background()
	step := f[len(f)-1]
	reached := func(s string) error {
		if s != step {
			return nil
		}
		fmt.Println("reached", s)
		_, err := io.Copy(io.Discard, os.Stdin)
		if err == nil {
			err = io.EOF
		}
		return err
	}
	end := func(err error) error {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	if f[0] == "dial" {
		fmt.Println("dialing")
		c, err := Dial(ctx, dev, f[1], n.params())
		if err != nil {
			return err
		}
		defer c.Close()
		return end(reached("connected"))
	}
	l, err := Listen(dev, ":0")
	if err != nil {
		return err
	}
	defer l.Close()
	fmt.Println(l.Addr(), At(dev.Addr(), l.Port()))
	if err := reached("listening"); err != nil {
		return end(err)
	}
	r, err := l.Accept(ctx)
	if err != nil {
		return err
	}
	if err := reached("asked"); err != nil {
		return end(err)
	}
	pr := n.params()
	pr.Prepare = func(*verbs.QP) error { return reached("accepting") }
	c, err := r.Accept(ctx, pr)
	if err != nil {
		return end(err)
	}
	defer c.Close()
	return end(reached("connected"))
}

// A process is a child.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    *bufio.Reader
	killed bool
}

func startChild(t *testing.T, role string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	p := &process{t: t, cmd: exec.CommandContext(ctx, os.Args[0])}
	p.cmd.Env = append(os.Environ(), childRole+"="+role)
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	must(t, err)
	out, err := p.cmd.StdoutPipe()
	must(t, err)
	p.out = bufio.NewReader(out)
	must(t, p.cmd.Start())
	t.Cleanup(func() {
		in.Close()
		if err := p.cmd.Wait(); err != nil && !p.killed {
			t.Errorf("the child ended with %v", err)
		}
		cancel()
	})
	return p
}

func (p *process) line() string {
	p.t.Helper()
	s, err := p.out.ReadString('\n')
	must(p.t, err)
	return strings.TrimSpace(s)
}

func (p *process) kill() {
	p.t.Helper()
	p.killed = true
	must(p.t, p.cmd.Process.Kill())
}

// signal sends a signal; SIGSTOP has stopped the process when it returns.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	must(p.t, p.cmd.Process.Signal(s))
	for end := time.Now().Add(5 * time.Second); s == syscall.SIGSTOP && !p.stopped(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatal("the process does not stop")
		}
	}
}

// stopped tells whether all threads of the process are (proc(5)).
func (p *process) stopped() bool {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
	must(p.t, err)
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if _, state, _ := strings.Cut(string(stat), ") "); err == nil && !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return true
}

func within(t *testing.T, d time.Duration, what string, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if took := time.Since(start); took > d {
		t.Errorf("%s took %v, want at most %v", what, took, d)
	}
}

// TestListenerIsKilled kills the process that listens, at each step.
func TestListenerIsKilled(t *testing.T) {
	t.Run("listening", func(t *testing.T) {
		a, p := newNode(t, wires[1]), startChild(t, "listen listening")
		name, nic, _ := strings.Cut(p.line(), " ")
		p.line()
		p.kill()
		_, _ = p.cmd.Process.Wait()
		for address, want := range map[string]error{name: ErrRefused, nic: ErrUnreachable} {
			within(t, 3*time.Second, "dialing", func() {
				if _, err := Dial(soon(t), a.dev, address, a.params()); !errors.Is(err, want) {
					t.Errorf("%s: got %v, want %v", address, err, want)
				}
			})
		}
	})
	for _, step := range []string{"asked", "accepting"} {
		t.Run(step, func(t *testing.T) {
			a, p := newNode(t, wires[1]), startChild(t, "listen "+step)
			name, _, _ := strings.Cut(p.line(), " ")
			dialed := make(chan error, 1)
			go func() {
				_, err := Dial(soon(t), a.dev, name, a.params())
				dialed <- err
			}()
			p.line()
			time.Sleep(300 * time.Millisecond) // an MRA has come: the dialer would wait for long
			p.kill()
			within(t, 2*time.Second, "noticing", func() {
				if err := <-dialed; !errors.Is(err, ErrUnreachable) {
					t.Errorf("got %v, want ErrUnreachable", err)
				}
			})
		})
	}
	t.Run("connected", func(t *testing.T) {
		a, p := newNode(t, wires[1]), startChild(t, "listen connected")
		name, _, _ := strings.Cut(p.line(), " ")
		c, err := Dial(soon(t), a.dev, name, a.params())
		must(t, err)
		p.line()
		p.kill()
		wantEvent(t, c, Established)
		if ev := wantEvent(t, c, Disconnected); !errors.Is(ev.Err, ErrLost) {
			t.Errorf("disconnected with %v, want ErrLost", ev.Err)
		}
		within(t, 2*time.Second, "closing", func() { must(t, c.Close()) })
	})
}

// TestDialerIsKilled kills the process that dials, at each step. It is stopped before the reply to its request comes, so that it
// can't go on.
func TestDialerIsKilled(t *testing.T) {
	start := func(t *testing.T, step string) (*node, *Listener, *process) {
		b := newNode(t, wires[1])
		l := listen(t, b, ":0")
		p := startChild(t, "dial "+l.Addr()+" "+step)
		p.line()
		return b, l, p
	}
	accept := func(t *testing.T, b *node, l *Listener) *Request {
		r, err := l.Accept(soon(t))
		must(t, err)
		return r
	}
	t.Run("asking", func(t *testing.T) {
		b, l, p := start(t, "never")
		r := accept(t, b, l)
		p.kill()
		_, _ = p.cmd.Process.Wait()
		within(t, 3*time.Second, "accepting", func() {
			if _, err := r.Accept(soon(t), b.params()); err == nil {
				t.Error("accepted the request of a process that is dead")
			}
		})
		must(t, b.cq.Destroy())
	})
	t.Run("replied", func(t *testing.T) {
		b, l, p := start(t, "never")
		r := accept(t, b, l)
		p.signal(syscall.SIGSTOP)
		accepted := make(chan error, 1)
		go func() {
			_, err := r.Accept(soon(t), b.params())
			accepted <- err
		}()
		time.Sleep(200 * time.Millisecond)
		p.kill()
		within(t, 2*time.Second, "noticing", func() {
			if err := <-accepted; !errors.Is(err, ErrUnreachable) {
				t.Errorf("got %v, want ErrUnreachable", err)
			}
		})
		must(t, b.cq.Destroy())
	})
	t.Run("connected", func(t *testing.T) {
		b, l, p := start(t, "connected")
		c, err := accept(t, b, l).Accept(soon(t), b.params())
		must(t, err)
		p.line()
		p.kill()
		wantEvent(t, c, Established)
		if ev := wantEvent(t, c, Disconnected); !errors.Is(ev.Err, ErrLost) {
			t.Errorf("disconnected with %v, want ErrLost", ev.Err)
		}
		within(t, 2*time.Second, "closing", func() { must(t, c.Close()) })
	})
}

// TestPeerIsSilent stops the other process at each step, and does not kill it: only the retry limit ends the wait.
func TestPeerIsSilent(t *testing.T) {
	t.Parallel()
	t.Run("listening", func(t *testing.T) {
		a, p := newNode(t, wires[1]), startChild(t, "listen listening")
		_, nic, _ := strings.Cut(p.line(), " ")
		p.line()
		p.signal(syscall.SIGSTOP)
		within(t, 10*time.Second, "dialing", func() {
			if _, err := Dial(soon(t), a.dev, nic, a.params()); !errors.Is(err, ErrTimeout) || !errors.Is(err, ErrUnreachable) {
				t.Errorf("got %v, want ErrTimeout and ErrUnreachable", err)
			}
		})
		p.signal(syscall.SIGCONT)
	})
	t.Run("replied", func(t *testing.T) {
		b := newNode(t, wires[1])
		l := listen(t, b, ":0")
		p := startChild(t, "dial "+l.Addr()+" never")
		p.line()
		r, err := l.Accept(soon(t))
		must(t, err)
		p.signal(syscall.SIGSTOP)
		within(t, 10*time.Second, "accepting", func() {
			if _, err := r.Accept(soon(t), b.params()); !errors.Is(err, ErrTimeout) {
				t.Errorf("got %v, want ErrTimeout", err)
			}
		})
		p.kill()
	})
	t.Run("disconnecting", func(t *testing.T) {
		a, p := newNode(t, wires[1]), startChild(t, "listen connected")
		name, _, _ := strings.Cut(p.line(), " ")
		c, err := Dial(soon(t), a.dev, name, a.params())
		must(t, err)
		p.line()
		p.signal(syscall.SIGSTOP)
		within(t, 10*time.Second, "disconnecting", func() {
			if err := c.Disconnect(); !errors.Is(err, ErrTimeout) {
				t.Errorf("got %v, want ErrTimeout", err)
			}
		})
		p.signal(syscall.SIGCONT)
		must(t, c.Close())
	})
}
