package verbs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"

	"outboard/verbs"
	"outboard/verbs/fabric/shm"
)

// A sharedBuffer is a file in memory.
type sharedBuffer struct {
	mu sync.Mutex
	b  []byte
}

func (s *sharedBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b = append(s.b, p...)
	return len(p), nil
}

func (s *sharedBuffer) Bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.b)
}

// tracedFrames counts the frames of a trace. A part of one is an error.
func tracedFrames(b []byte) (int, error) {
	r, err := pcapgo.NewNgReader(bytes.NewReader(b), pcapgo.DefaultNgReaderOptions)
	for n := 0; ; n++ {
		if err == nil {
			_, _, err = r.ReadPacketData()
		}
		if err != nil {
			if n > 0 && errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				err = nil
			}
			return n, err
		}
	}
}

// written waits until a trace, which read gives, holds as many frames as there were packets.
func written(t *testing.T, packets func() uint64, read func() []byte) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		want := packets()
		n, err := tracedFrames(read())
		if uint64(n) == want && err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d frames are written, then %v; want %d", n, err, want)
		}
	}
}

// packetsOf is how many packets a NIC has sent and received.
func packetsOf(c *verbs.Context) uint64 {
	n := c.HWCounters()
	return n.SentPkts + n.RcvdPkts
}

// TestTraceIsWritten has all that is traced in the writer though nobody closes the context, whoever has run the NIC.
func TestTraceIsWritten(t *testing.T) {
	for _, kind := range []verbs.QPType{verbs.RC, verbs.UD} {
		for name, host := range map[string]func(a *end, stop <-chan struct{}){
			"computes": func(*end, <-chan struct{}) {},
			"polls": func(a *end, stop <-chan struct{}) {
				for {
					select {
					case <-stop:
						return
					default:
						_, _ = a.cq.Poll(make([]verbs.WC, 1)) // nothing is signaled
					}
				}
			},
			"waits": func(a *end, stop <-chan struct{}) {
				ctx, cancel := context.WithCancel(context.Background())
				go func() { <-stop; cancel() }()
				_ = a.ctx.Wait(ctx, func() bool { return false }) // the error is ctx's
			},
		} {
			t.Run(fmt.Sprintf("%v, the host %s", kind, name), func(t *testing.T) {
				var file sharedBuffer
				f := fabricUnder{name: "traced", open: openInproc, opts: verbs.Options{Trace: &file}}
				ca, cb := f.context(t), plainFabrics[0].context(t)
				if len(file.Bytes()) == 0 {
					t.Error("the header is not written")
				}
				p := newActor(t, f, ca, cb, kind)
				p.do(verbs.Send, 100, 0)
				packets := func() uint64 { return packetsOf(ca) }
				written(t, packets, file.Bytes)

				must(t, p.b.qp.PostRecv(verbs.RecvWR{SG: []verbs.SGE{p.recv.sge()}}))
				before := packets()
				stop := make(chan struct{})
				var wg sync.WaitGroup
				wg.Go(func() { host(p.a, stop) })
				time.Sleep(5 * time.Millisecond) // the host is there, or the NIC asleep
				must(t, p.a.qp.PostSend(verbs.SendWR{UD: p.ud}))
				if packets() == before {
					t.Error("no packet is sent")
				}
				written(t, packets, file.Bytes)
				close(stop)
				wg.Wait()
			})
		}
	}
}

// childTraced traces a conversation into the file that it is told of, says how many packets there were, and goes on, with its
// host computing or polling, until it is killed.
func childTraced(polls bool) int {
	err := func() error {
		file, err := os.Create(os.Getenv(childTraceFile))
		if err != nil {
			return err
		}
		var sides [2]*verbs.Context
		var qps [2]*verbs.QP
		var cqs [2]*verbs.CQ
		for i := range sides {
			p, err := shm.Open(shm.Options{})
			if err != nil {
				return err
			}
			var o verbs.Options
			if i == 0 {
				o.Trace = file
			}
			if sides[i], err = verbs.OpenWith(p, o); err != nil {
				return err
			}
			pd, err := sides[i].AllocPD()
			if err != nil {
				return err
			}
			if cqs[i], err = sides[i].CreateCQ(64, nil); err != nil {
				return err
			}
			if qps[i], err = sides[i].CreateQP(pd, verbs.QPInit{SendCQ: cqs[i], RecvCQ: cqs[i], Cap: defaultCap}); err != nil {
				return err
			}
		}
		for i, qp := range qps {
			at := verbs.QPAttr{Port: 1, AV: sides[1-i].Addr(), PathMTU: 4096, DestQPN: qps[1-i].QPN(), RNRRetry: 7, Timeout: 18, RetryCnt: 7}
			for s, mask := range masksOf[verbs.RC] {
				at.State = verbs.Init + verbs.State(s)
				if err := qp.Modify(at, mask); err != nil {
					return err
				}
			}
		}
		for range childMessages {
			if err := errors.Join(qps[1].PostRecv(verbs.RecvWR{}), qps[0].PostSend(verbs.SendWR{Flags: verbs.Signaled})); err != nil {
				return err
			}
			for _, cq := range cqs {
				if err := takeOne(cq); err != nil {
					return err
				}
			}
		}
		fmt.Println(packetsOf(sides[0]))
		for polls {
			if _, err := cqs[0].Poll(make([]verbs.WC, 1)); err != nil {
				return err
			}
		}
		_, err = io.Copy(io.Discard, os.Stdin)
		return err
	}()
	fmt.Fprintln(os.Stderr, "not killed:", err)
	return 1
}

func takeOne(cq *verbs.CQ) error {
	var wc [1]verbs.WC
	for {
		if n, err := cq.Poll(wc[:]); n == 1 || err != nil {
			return err
		}
	}
}

const (
	childTraceFile = "VERBS_TEST_TRACE"
	childMessages  = 1000
)

// TestTraceOfKilledProcess kills a process that traces, and reads what it has left.
func TestTraceOfKilledProcess(t *testing.T) {
	for _, role := range []string{"traced and idle", "traced and polling"} {
		t.Run(role, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "trace.pcapng")
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), childRole+"="+role, childTraceFile+"="+path)
			cmd.Stderr = os.Stderr
			in, err := cmd.StdinPipe() // open until it is killed
			must(t, err)
			defer in.Close()
			out, err := cmd.StdoutPipe()
			must(t, err)
			must(t, cmd.Start())
			var packets uint64
			_, scanErr := fmt.Fscan(out, &packets)
			// The trace has all within the period; this waits for longer only on a busy machine.
			read := func() []byte {
				b, err := os.ReadFile(path)
				must(t, err)
				return b
			}
			if scanErr == nil {
				written(t, func() uint64 { return packets }, read)
			}
			must(t, cmd.Process.Kill())
			_ = cmd.Wait() // killed
			must(t, scanErr)
			if packets < childMessages {
				t.Errorf("%d packets, want at least %d", packets, childMessages)
			}
			if n, err := tracedFrames(read()); err != nil || uint64(n) != packets {
				t.Errorf("the file holds %d frames, then %v; want %d", n, err, packets)
			}
		})
	}
}
