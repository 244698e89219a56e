package unit

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"outboard/nicrt"
	"outboard/tagmatch"
	"outboard/verbs/fabric"
	"outboard/verbs/fabric/shm"
)

// peerEnv makes the test binary a peer in a process of its own: rank 1 of 2. It says whether the peer may reach this process's memory.
const peerEnv = "OUTBOARD_UNIT_PEER"

func processPort(noCMA bool) func(int) (fabric.Port, error) {
	return func(n int) (fabric.Port, error) {
		return shm.Open(shm.Options{Reserved: n, Endpoints: 16, Regions: 256, Memory: 2 << 20, NoCMA: noCMA})
	}
}

// lines is the tester of a peer process: what goes wrong there is printed, and the test sees no answer.
type lines struct{}

func (lines) Helper()        {}
func (lines) Cleanup(func()) {}
func (lines) Errorf(format string, args ...any) {
	fmt.Printf(format+"\n", args...)
}

func (l lines) Fatalf(format string, args ...any) {
	l.Errorf(format, args...)
	os.Exit(1)
}

// peerMain tells its address, reads rank 0's and then carries out one command a line, answering each with "ok".
func peerMain() int {
	noCMA := os.Getenv(peerEnv) == "nocma"
	r := openRank(lines{}, wire{}, processPort(noCMA), 1, 2, testEager)
	fmt.Println(r.nic.Addr())
	in := bufio.NewScanner(os.Stdin)
	in.Scan()
	r.nic.SetPeer(0, in.Text())
	r.nic.SetPeer(1, r.nic.Addr())
	var kept []*Op // what is in flight must not be collected
	for in.Scan() {
		var what string
		var tag int32
		var n int
		if _, err := fmt.Sscan(in.Text(), &what, &tag, &n); err != nil {
			fmt.Println(err)
			return 1
		}
		kept = append(kept, r.obey(what, tag, n))
		runtime.KeepAlive(kept)
		fmt.Println("ok")
	}
	r.close()
	return 0
}

// obey carries out a command about a message of n bytes.
func (r *rank) obey(what string, tag int32, n int) *Op {
	from, to := tagmatch.Key{Source: 0, Tag: tag}, tagmatch.Key{Source: 1, Tag: tag}
	me := []*rank{r}
	switch what {
	case "echo":
		in := make([]byte, n)
		op := r.recv(from, in)
		finished(r.t, me, op)
		wantErr(r.t, op, nil)
		op = r.send(0, to, in)
		finished(r.t, me, op)
		wantErr(r.t, op, nil)
	case "send":
		return r.send(0, to, pattern(n, 1))
	case "kept":
		until(r.t, me, "the message is there", func() bool { return r.probe(from) })
	case "read":
		op := r.recv(from, make([]byte, n))
		for range 100 {
			r.poll()
		}
		if r.state(op) != reading {
			r.t.Fatalf("not reading")
		}
		return op
	case "freeze":
		r.nic.Lock()
	default:
		r.t.Fatalf("what is %q?", what)
	}
	return nil
}

// A process is a peer as the test sees it.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startProcess starts a peer and returns it with rank 0, which knows it.
func startProcess(t *testing.T, noCMA bool) (*process, *rank) {
	t.Helper()
	r := openRank(t, wire{}, processPort(noCMA), 0, 2, testEager)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), peerEnv+"="+map[bool]string{true: "nocma", false: "cma"}[noCMA])
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: cmd, in: in, out: bufio.NewReader(out)}
	t.Cleanup(p.kill)
	r.nic.SetPeer(0, r.nic.Addr())
	r.nic.SetPeer(1, p.line())
	fmt.Fprintln(in, r.nic.Addr())
	return p, r
}

func (p *process) line() string {
	p.t.Helper()
	s, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatalf("no answer: %q, %v", s, err)
	}
	return s[:len(s)-1]
}

// start gives a command, answered waits for its end, do is both.
func (p *process) start(what string, tag int32, n int) { fmt.Fprintln(p.in, what, tag, n) }

func (p *process) answered() {
	p.t.Helper()
	if s := p.line(); s != "ok" {
		p.t.Fatalf("peer: %s", s)
	}
}

func (p *process) do(what string, tag int32, n int) {
	p.t.Helper()
	p.start(what, tag, n)
	p.answered()
}

// kill ends the process as nobody expects.
func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// onProcesses runs f with a peer whose memory can be reached, and one whose cannot.
func onProcesses(t *testing.T, f func(t *testing.T, p *process, r *rank, noCMA bool)) {
	for name, noCMA := range map[string]bool{"cma": false, "nocma": true} {
		t.Run(name, func(t *testing.T) {
			p, r := startProcess(t, noCMA)
			f(t, p, r, noCMA)
		})
	}
}

func TestProcesses(t *testing.T) {
	onProcesses(t, func(t *testing.T, p *process, r *rank, _ bool) {
		for i, n := range append(lengths, 1<<21) {
			k := tagmatch.Key{Source: 0, Tag: int32(i)}
			p.start("echo", k.Tag, n)
			data, in := pattern(n, 9), make([]byte, n)
			ops := []*Op{r.recv(tagmatch.Key{Source: 1, Tag: k.Tag}, in), r.send(1, k, data)}
			finished(t, []*rank{r}, ops...)
			wantErr(t, ops[0], nil)
			wantErr(t, ops[1], nil)
			wantBytes(t, in, data)
			p.answered()
		}
		r.clean()
	})
}

// The peer is killed in every state that an operation can be in.
func TestProcessKilled(t *testing.T) {
	k, other := tagmatch.Key{Source: 0, Tag: 1}, tagmatch.Key{Ctx: 2, Source: 0, Tag: 1}
	from := tagmatch.Key{Source: 1, Tag: 1}
	for _, c := range []struct {
		name   string
		fenced bool // only where reads take time
		run    func(t *testing.T, p *process, r *rank) (lost []*Op)
	}{
		{"before the first message", false, func(t *testing.T, p *process, r *rank) []*Op {
			p.kill()
			return []*Op{r.send(1, k, make([]byte, long)), r.send(1, k, nil)}
		}},
		{"messages wait for room", false, func(t *testing.T, p *process, r *rank) (ops []*Op) {
			p.do("freeze", 0, 0)
			for i := 0; len(ops) < 50; i++ {
				if op := r.send(1, k, make([]byte, testEager+i%2)); op.Done.Load() == 0 {
					ops = append(ops, op)
				}
			}
			p.kill()
			return ops
		}},
		{"requests kept", false, func(t *testing.T, p *process, r *rank) []*Op {
			a, f := r.send(1, other, make([]byte, long)), r.send(1, tagmatch.Key{Ctx: 3}, make([]byte, long))
			op := r.send(1, k, make([]byte, long))
			p.do("kept", 1, 0)
			r.with(func() {
				if !r.Abandon(a) {
					t.Error("cannot be given up")
				}
				r.FailContext(3, errFailed)
			})
			wantErr(t, f, errFailed)
			p.kill()
			return []*Op{op}
		}},
		{"the peer reads", true, func(t *testing.T, p *process, r *rank) []*Op {
			op := r.send(1, k, make([]byte, long))
			p.do("kept", 1, 0)
			r.nic.Lock()
			p.do("read", 1, long)
			r.nic.Unlock()
			p.kill()
			until(t, []*rank{r}, "the loss is noticed", func() bool { return r.lost(1) })
			if op.Done.Load() != 0 && op.Err == nil {
				return nil // the peer has read it all and said so
			}
			return []*Op{op}
		}},
		{"message kept", false, func(t *testing.T, p *process, r *rank) []*Op {
			p.do("send", 1, 10)
			p.do("send", 1, long)
			until(t, []*rank{r}, "both are there", func() bool { return r.counts().Unexpected == 2 })
			p.kill()
			in := make([]byte, long)
			wantErr(t, r.recv(from, in), nil)
			wantBytes(t, in[:10], pattern(10, 1))
			return []*Op{r.recv(from, in)}
		}},
		{"reading", true, func(t *testing.T, p *process, r *rank) []*Op {
			p.do("send", 1, long)
			until(t, []*rank{r}, "it is there", func() bool { return r.probe(from) })
			p.do("freeze", 0, 0)
			op := r.recv(from, make([]byte, long))
			settle([]*rank{r})
			if st := r.state(op); st != reading {
				t.Fatalf("state %d, want %d", st, reading)
			}
			p.kill()
			return []*Op{op}
		}},
		{"receive posted", false, func(t *testing.T, p *process, r *rank) []*Op {
			p.do("send", 2, 0)
			op := r.recv(from, nil)
			p.kill()
			until(t, []*rank{r}, "the loss is noticed", func() bool { return r.lost(1) })
			r.with(func() { r.FailContext(0, &nicrt.PeerError{Peer: 1}) })
			return []*Op{op}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			onProcesses(t, func(t *testing.T, p *process, r *rank, noCMA bool) {
				if c.fenced && !noCMA {
					return // a read takes no time
				}
				ops, me := c.run(t, p, r), []*rank{r}
				start := time.Now()
				finished(t, me, ops...)
				for _, op := range ops {
					wantLost(t, op, 1)
				}
				until(t, me, "nothing is exposed", func() bool { return r.port.exposed.Load() == 0 })
				stillDone(t, me, ops...)
				r.with(func() { r.FailContext(0, errFailed) })
				r.clean()
				if d := time.Since(start); d > patience/2 {
					t.Errorf("noticed after %v", d)
				}
			})
		})
	}
}
