package verbs_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"outboard/verbs"
	"outboard/verbs/fabric"
	"outboard/verbs/fabric/shm"
)

const childRole = "VERBS_TEST_CHILD"

// childMain is what a child process does instead of the tests.
func childMain(role string) int {
	switch role {
	case "peer", "peer without CMA":
		return childPeer(role == "peer without CMA")
	case "traced and idle", "traced and polling":
		if role == "traced and polling" {
			endWithInput()
		}
		return childTraced(role == "traced and polling")
	case "datagrams":
		endWithInput()
		return childUD()
	}
	return 2
}

// endWithInput ends a child process that never looks at its input when that ends: its parent has left, or is killed.
func endWithInput() {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
}

// childEnd is what a child process needs for a queue pair.
func childEnd(o shm.Options) (*end, error) {
	p, err := shm.Open(o)
	if err != nil {
		return nil, err
	}
	e := &end{}
	if e.ctx, err = verbs.Open(p); err != nil {
		return nil, err
	}
	if e.pd, err = e.ctx.AllocPD(); err != nil {
		return nil, err
	}
	e.cq, err = e.ctx.CreateCQ(64, nil)
	return e, err
}

// hello is what either process tells the other.
type hello struct {
	Addr       string
	QPN        uint32
	Plain, Dev remoteMem
}

type remoteMem struct {
	Addr uint64
	Key  uint32
}

const childMem = 50_000

// childPeer is a host that connects, offers memory and then never calls its NIC again, until its input ends.
func childPeer(noCMA bool) int {
	err := func() error {
		e, err := childEnd(shm.Options{NoCMA: noCMA})
		if err != nil {
			return err
		}
		ctx, pd, cq := e.ctx, e.pd, e.cq
		defer ctx.Close()
		qp, err := ctx.CreateQP(pd, verbs.QPInit{SendCQ: cq, RecvCQ: cq, Cap: defaultCap})
		if err != nil {
			return err
		}
		dev, err := ctx.AllocMem(childMem)
		if err != nil {
			return err
		}
		me := hello{Addr: ctx.Addr(), QPN: qp.QPN()}
		for _, m := range []struct {
			at *remoteMem
			b  []byte
		}{{&me.Plain, make([]byte, childMem)}, {&me.Dev, dev}} {
			mr, err := ctx.RegMR(pd, m.b, allRights)
			if err != nil {
				return err
			}
			*m.at = remoteMem{mr.Addr(), mr.RKey()}
		}
		if err := json.NewEncoder(os.Stdout).Encode(me); err != nil {
			return err
		}
		in := bufio.NewReader(os.Stdin)
		var you hello
		line, err := in.ReadBytes('\n')
		if err != nil {
			return err
		}
		if err := json.Unmarshal(line, &you); err != nil {
			return err
		}
		a := verbs.QPAttr{Port: 1, Access: allRights, AV: you.Addr, PathMTU: 4096, DestQPN: you.QPN, MaxRdAtomic: 4, MaxDestRdAtomic: 4, RNRRetry: 7}
		for _, s := range []struct {
			to   verbs.State
			mask verbs.AttrMask
		}{{verbs.Init, maskInit}, {verbs.RTR, maskRTR}, {verbs.RTS, maskRTS}} {
			a.State = s.to
			if err := qp.Modify(a, s.mask); err != nil {
				return err
			}
		}
		_, err = io.Copy(io.Discard, in)
		return err
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// startPeer starts a child and connects a new end with it. kill ends the child at once.
func startPeer(t *testing.T, role string) (a *end, child hello, kill func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childRole+"="+role)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	killed := false
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil && !killed {
			t.Errorf("the child ended with %v", err)
		}
		cancel()
	})
	must(t, json.NewDecoder(out).Decode(&child))
	f := fabricUnder{open: func(t testing.TB) fabric.Port {
		p, err := shm.Open(shm.Options{NoCMA: role == "peer without CMA"})
		must(t, err)
		return p
	}}
	a = newEnd(t, f)
	must(t, json.NewEncoder(in).Encode(hello{Addr: a.ctx.Addr(), QPN: a.qp.QPN()}))
	at := verbs.QPAttr{Port: 1, Access: allRights, AV: child.Addr, PathMTU: 4096, DestQPN: child.QPN, MaxRdAtomic: 4, MaxDestRdAtomic: 4, RNRRetry: 7}
	a.bring(t, at, verbs.RTS)
	return a, child, func() { killed = true; must(t, cmd.Process.Kill()) }
}

// TestBetweenProcesses uses the memory of another process, whose host computes: memory of the device, and plain
// memory by cross-memory attach and by packets.
func TestBetweenProcesses(t *testing.T) {
	for _, role := range []string{"peer", "peer without CMA"} {
		t.Run(role, func(t *testing.T) {
			a, child, _ := startPeer(t, role)
			src, back := a.reg(t, pattern(childMem, 3), 0), a.reg(t, make([]byte, childMem), verbs.LocalWrite)
			for name, m := range map[string]remoteMem{"plain": child.Plain, "device": child.Dev} {
				wr := func(op verbs.Opcode, r region, n int) verbs.SendWR {
					return verbs.SendWR{ID: uint64(op), Opcode: op, Flags: verbs.Signaled | verbs.Fence, SG: split(region{r.MR, r.b[:n]}, 3), RemoteAddr: m.Addr, RKey: m.Key, Add: 5, Compare: 7, Swap: 9}
				}
				clear(back.b)
				must(t, a.qp.PostSend(wr(verbs.Write, src, childMem), wr(verbs.Read, back, childMem)))
				a.expect(t, uint64(verbs.Write), verbs.Success)
				a.expect(t, uint64(verbs.Read), verbs.Success)
				if string(back.b) != string(src.b) {
					t.Errorf("%s: other data came back than was written", name)
				}
				zero := a.reg(t, make([]byte, 8), 0)
				must(t, a.qp.PostSend(wr(verbs.Write, zero, 8), wr(verbs.FetchAdd, back, 8), wr(verbs.CompareSwap, back, 8), wr(verbs.Read, back, 8)))
				for _, op := range []verbs.Opcode{verbs.Write, verbs.FetchAdd, verbs.CompareSwap, verbs.Read} {
					a.expect(t, uint64(op), verbs.Success)
				}
				if back.b[0] != 5 {
					t.Errorf("%s: atomics left %d, want 5", name, back.b[0])
				}
			}
			must(t, a.qp.PostSend(verbs.SendWR{ID: 50, Opcode: verbs.Read, RemoteAddr: child.Plain.Addr + 1, RKey: child.Plain.Key, SG: []verbs.SGE{back.sge()}}))
			a.expect(t, 50, verbs.RemAccessErr)
		})
	}
}

func TestPeerDies(t *testing.T) {
	for _, busy := range []bool{false, true} {
		t.Run(fmt.Sprintf("work outstanding %v", busy), func(t *testing.T) {
			a, _, kill := startPeer(t, "peer")
			must(t, a.qp.PostRecv(verbs.RecvWR{ID: 2}))
			if busy {
				must(t, a.qp.PostSend(verbs.SendWR{ID: 1})) // the peer has no receive
				a.quiet(t, time.Millisecond)
			}
			kill()
			if busy {
				a.expect(t, 1, verbs.RetryExcErr)
			}
			a.expect(t, 2, verbs.WRFlushErr)
			a.reaches(t, verbs.Err)
		})
	}
}
