package fabrictest

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"outboard/verbs/fabric"
)

// A counter is a Receiver that counts, and reads one byte of each cache line of what comes.
type counter struct {
	n   int
	sum uint64
}

func (c *counter) Packet(_ uint32, h *fabric.Header, payload []byte) bool {
	c.n++
	c.sum += h.Addr
	for i := 0; i < len(payload); i += 64 {
		c.sum += uint64(payload[i])
	}
	return true
}

func (c *counter) Knock(int)          {}
func (c *counter) Down(uint32, error) {}

// wait polls until n packets have come in all. After a while without any it yields.
func (c *counter) wait(p fabric.Port, n int) {
	for idle := 0; c.n < n; {
		if p.Poll(c, 16) == 0 {
			if idle++; idle > 2000 {
				runtime.Gosched()
			}
		} else {
			idle = 0
		}
	}
}

// flow is one direction of a benchmark: rounds times, send burst packets of size bytes, with
// an answer to each burst.
type flow struct{ rounds, burst, size int }

// echo is the far side: it answers each burst with an empty packet.
func echo(p fabric.Port, conn fabric.Conn, f flow) {
	var c counter
	h := &fabric.Header{Op: 1}
	for i := range f.rounds {
		c.wait(p, (i+1)*f.burst)
		conn.Send(h, nil, nil)
	}
}

// drive is the near side. It returns the time of each round.
func drive(p fabric.Port, conn fabric.Conn, f flow) []time.Duration {
	var c counter
	h := &fabric.Header{Op: 1}
	data := noise[:f.size]
	took := make([]time.Duration, f.rounds)
	for i := range f.rounds {
		start := time.Now()
		for range f.burst {
			for h.Addr++; !conn.Send(h, data, nil); {
				runtime.Gosched()
			}
		}
		c.wait(p, i+1)
		took[i] = time.Since(start)
	}
	return took
}

// Benchmark measures a fabric with both ports in this process.
func Benchmark(b *testing.B, open Open) {
	b.Run("EmptyPoll", func(b *testing.B) { benchEmpty(b, open) })
	b.Run("SendPoll", func(b *testing.B) { benchSame(b, open) })
	benchFlows(b, open, func() func(command) result { return (&agent{open: open}).do })
}

// BenchmarkProcesses measures a fabric with the second port in a child process.
func BenchmarkProcesses(b *testing.B, open Open) {
	ch := StartChild(b)
	benchFlows(b, open, func() func(command) result { return ch.do })
}

// benchFlows runs the flows between a port here and one of the agent that far makes.
func benchFlows(b *testing.B, open Open, far func() func(command) result) {
	for _, size := range []int{8, 24, 96, 1024} {
		b.Run(fmt.Sprintf("PingPong/%d", size), func(b *testing.B) {
			took := measure(b, open, far(), flow{b.N, 1, size})
			slices.Sort(took)
			b.ReportMetric(float64(took[0])/2, "ns-min/half")
			b.ReportMetric(float64(took[len(took)/2])/2, "ns-p50/half")
		})
	}
	for _, size := range []int{8, 1024, 8192, 16384} {
		b.Run(fmt.Sprintf("Stream/%d", size), func(b *testing.B) {
			const burst = 256
			took := measure(b, open, far(), flow{b.N, burst, size})
			slices.Sort(took)
			b.SetBytes(int64(burst * size))
			b.ReportMetric(float64(took[0])/burst, "ns-min/packet")
			b.ReportMetric(float64(took[len(took)/2])/burst, "ns-p50/packet")
		})
	}
}

// measure runs one flow and returns the times of its rounds.
func measure(b *testing.B, open Open, do func(command) result, f flow) []time.Duration {
	p, err := open(Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	conn, err := p.Open(1, 1)
	if err != nil {
		b.Fatal(err)
	}
	if f.size > p.Attr().MTU {
		b.Skipf("packets of %d bytes: the MTU is %d", f.size, p.Attr().MTU)
	}
	must := func(r result) string {
		if r.Err.Text != "" {
			b.Fatal(r.Err)
		}
		return r.Text
	}
	addr := must(do(command{Do: "new"}))
	defer do(command{Do: "closeport"})
	must(do(command{Do: "open", EP: 1, Cookie: 2}))
	must(do(command{Do: "connect", EP: 1, Addr: p.Addr(), PeerEP: 1}))
	if err := conn.Connect(addr, 1); err != nil {
		b.Fatal(err)
	}
	done := make(chan result, 1)
	go func() {
		done <- do(command{Do: "echo", EP: 1, N: f.rounds, X: uint64(f.burst), Y: uint64(f.size)})
	}()
	b.ResetTimer()
	took := drive(p, conn, f)
	must(<-done)
	return took
}

// pair opens and joins two ports of this process.
func pair(b testing.TB, open Open) (p [2]fabric.Port, c [2]fabric.Conn) {
	var errs [6]error
	for i := range p {
		p[i], errs[i] = open(Options{})
		c[i], errs[2+i] = p[i].Open(1, uint32(i))
	}
	for i := range p {
		errs[4+i] = c[i].Connect(p[1-i].Addr(), 1)
	}
	if err := errors.Join(errs[:]...); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { p[0].Close(); p[1].Close() })
	return p, c
}

// benchEmpty measures a Poll that finds nothing, with few and with many open endpoints.
func benchEmpty(b *testing.B, open Open) {
	for _, conns := range []int{1, 3, 16, 100} {
		b.Run(fmt.Sprint(conns), func(b *testing.B) {
			p, _ := pair(b, open)
			for i := range conns - 1 {
				if _, err := p[0].Open(fabric.Any, uint32(i)); err != nil {
					b.Fatal(err)
				}
			}
			var c counter
			p[0].Poll(&c, 1)
			b.ReportAllocs()
			for b.Loop() {
				p[0].Poll(&c, 1)
			}
		})
	}
}

// benchSame measures Send and Poll on one goroutine: all that both sides do for a packet but the
// transfer of cache lines.
func benchSame(b *testing.B, open Open) {
	for _, size := range []int{0, 8, 24, 96, 128, 1024, 8192} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p, c := pair(b, open)
			var count counter
			h := &fabric.Header{}
			data := noise[:size]
			b.ReportAllocs()
			for b.Loop() {
				h.Op, h.Flags, h.Imm, h.PSN, h.Addr = 1, 2, 7, uint32(count.n), uint64(count.n)
				if !c[0].Send(h, data[:min(16, size)], data[min(16, size):]) || p[1].Poll(&count, 1) != 1 {
					b.Fatal("a packet was lost")
				}
			}
		})
	}
}
