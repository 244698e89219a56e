// Verbs-pingpong sends a message back and forth over a reliable connection, as ibv_rc_pingpong does.
//
//	go run ./examples/verbs-pingpong                  # both ends in this process
//
//	go run ./examples/verbs-pingpong -listen :18515   # one end, and in another terminal the other:
//	go run ./examples/verbs-pingpong -size 4096 localhost:18515
//
//	go run ./examples/verbs-pingpong -iters 3 -trace pingpong.pcapng   # and every packet in a file for Wireshark
//
// The end that dials says how many messages there are and how long they are; -size and -iters are its flags.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"outboard/verbs"
	"outboard/verbs/cm"
	"outboard/verbs/fabric/shm"
)

const maxSize = 1 << 24

type config struct {
	listen, trace string
	size, iters   int
	args          []string
}

func main() {
	var c config
	flag.StringVar(&c.listen, "listen", "", "wait for the other end at `[host]:port`")
	flag.IntVar(&c.size, "size", 64, "send messages of `n` bytes")
	flag.IntVar(&c.iters, "iters", 1000, "send `n` messages each way, after some to warm up")
	flag.StringVar(&c.trace, "trace", "", "write this end's packets to a `file` for Wireshark; without an address, those of the end that dials")
	flag.Parse()
	c.args = flag.Args()
	if err := c.run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "verbs-pingpong:", err)
		os.Exit(1)
	}
}

func (c config) run(out io.Writer) error {
	switch {
	case c.size < 8 || c.size > maxSize:
		return fmt.Errorf("-size %d: want 8 to %d", c.size, maxSize)
	case c.iters < 1 || c.iters > 1<<30:
		return fmt.Errorf("-iters %d: want 1 to %d", c.iters, 1<<30)
	case len(c.args) > 1 || len(c.args) == 1 && c.listen != "":
		return errors.New("want either -listen or one address, or neither")
	case c.listen != "":
		return withDevice(openShm, c.trace, func(dev *verbs.Context) error { return server(context.Background(), dev, c.listen, out, nil) })
	case len(c.args) == 1:
		return withDevice(openShm, c.trace, func(dev *verbs.Context) error { return client(dev, c.args[0], c.size, c.iters, out) })
	}
	// Both ends here: contexts of one process reach each other on the in-process wire.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	open := verbs.Devices()[0].OpenWith
	address, served := make(chan string, 1), make(chan error, 1)
	go func() {
		served <- withDevice(open, "", func(dev *verbs.Context) error { return server(ctx, dev, ":0", out, address) })
	}()
	select {
	case err := <-served: // it did not come as far as to listen
		return err
	case a := <-address:
		err := withDevice(open, c.trace, func(dev *verbs.Context) error { return client(dev, a, c.size, c.iters, out) })
		if err != nil {
			cancel() // the other end may still wait for this one
		}
		return errors.Join(err, <-served)
	}
}

// openShm opens a NIC whose wire is shared memory: it reaches other processes of this machine.
func openShm(o verbs.Options) (*verbs.Context, error) {
	port, err := shm.Open(shm.Options{})
	if err != nil {
		return nil, err
	}
	dev, err := verbs.OpenWith(port, o)
	if err != nil {
		return nil, errors.Join(err, port.Close())
	}
	return dev, nil
}

// withDevice runs f with a NIC that writes its packets to a file, if there is a name for one.
func withDevice(open func(verbs.Options) (*verbs.Context, error), trace string, f func(*verbs.Context) error) (err error) {
	var o verbs.Options
	if trace != "" {
		file, err := os.Create(trace)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		o.Trace = file
	}
	dev, err := open(o)
	if err != nil {
		return err
	}
	return errors.Join(f(dev), dev.Close()) // Close completes the trace
}

// server answers one client.
func server(ctx context.Context, dev *verbs.Context, listen string, out io.Writer, address chan<- string) error {
	l, err := cm.Listen(dev, listen)
	if err != nil {
		return err
	}
	defer l.Close()
	fmt.Fprintln(out, "listening at", l.Addr())
	if address != nil {
		address <- l.Addr()
	}
	request, err := l.Accept(ctx)
	if err != nil {
		return err
	}
	// What the client wants is in the private data of its request.
	p := request.PrivateData()
	size, iters := int(binary.BigEndian.Uint32(p)), int(binary.BigEndian.Uint32(p[4:]))
	if size < 8 || size > maxSize {
		return errors.Join(fmt.Errorf("the client asks for messages of %d bytes", size), request.Reject([]byte("size")))
	}
	e, err := newEnd(dev, size)
	if err != nil {
		return err
	}
	if e.conn, err = request.Accept(ctx, e.params(nil)); err != nil {
		return err
	}
	if err := l.Close(); err != nil { // one client is enough: the port is free for another server
		return err
	}
	for i := range iters {
		if err := e.receive(i); err != nil {
			return err
		}
		if err := e.send(i); err != nil {
			return err
		}
	}
	<-e.conn.Done() // the client disconnects when it has got the last message
	return errors.Join(e.conn.Err(), e.conn.Close())
}

// client sends, and waits for each message to come back: first some that do not count, while memory becomes resident and the peer
// wakes up, then batches that are timed. The median of batches does not mind the few in which something else ran.
func client(dev *verbs.Context, address string, size, iters int, out io.Writer) error {
	e, err := newEnd(dev, size)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	warm := iters/10 + 1
	wish := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(size)), uint32(warm+iters))
	if e.conn, err = dial(ctx, dev, address, e.params(wish)); err != nil {
		return err
	}
	if _, err := e.roundTrips(0, warm); err != nil {
		return err
	}
	batches := min(iters, 10)
	times := make([]float64, batches) // µs each way
	for b := range batches {
		from, to := iters*b/batches, iters*(b+1)/batches
		d, err := e.roundTrips(warm+from, warm+to)
		if err != nil {
			return err
		}
		times[b] = float64(d.Nanoseconds()) / float64(2000*(to-from))
	}
	slices.Sort(times)
	fmt.Fprintf(out, "%d round trips of %d bytes: %.2f µs each way (median of %d batches, %.2f to %.2f)\n",
		iters, size, (times[(batches-1)/2]+times[batches/2])/2, batches, times[0], times[batches-1])
	return e.conn.Close()
}

// dial is cm.Dial, but waits for an end that has just been started and does not listen yet.
func dial(ctx context.Context, dev *verbs.Context, address string, p cm.Params) (*cm.Conn, error) {
	const patience, pause = 2 * time.Second, 20 * time.Millisecond
	for start := time.Now(); ; time.Sleep(pause) {
		conn, err := cm.Dial(ctx, dev, address, p)
		if !errors.Is(err, cm.ErrRefused) || time.Since(start) > patience {
			return conn, err
		}
	}
}

// An end is what each side of the connection needs.
type end struct {
	pd       *verbs.PD
	cq       *verbs.CQ
	out, in  []byte // one message each
	mr       *verbs.MR
	received int // completions that came while another was waited for
	sent     int
	conn     *cm.Conn
}

func newEnd(dev *verbs.Context, size int) (*end, error) {
	memory := make([]byte, 2*size)
	e := &end{out: memory[:size], in: memory[size:]}
	var err error
	if e.pd, err = dev.AllocPD(); err != nil {
		return nil, err
	}
	if e.cq, err = dev.CreateCQ(4, nil); err != nil {
		return nil, err
	}
	e.mr, err = dev.RegMR(e.pd, memory, verbs.LocalWrite)
	return e, err
}

// params make a queue pair that has its first receive before the peer can send.
func (e *end) params(private []byte) cm.Params {
	return cm.Params{PD: e.pd, Init: verbs.QPInit{SendCQ: e.cq, RecvCQ: e.cq, Cap: verbs.QPCap{SendWR: 1, RecvWR: 1, SendSGE: 1, RecvSGE: 1}},
		Prepare: e.postReceive, PrivateData: private}
}

func (e *end) postReceive(qp *verbs.QP) error {
	return qp.PostRecv(verbs.RecvWR{SG: []verbs.SGE{{Buf: e.in, LKey: e.mr.LKey()}}})
}

// send sends message i, and waits until the buffer may be used again. The number is little-endian: a big-endian 1 would look to
// Wireshark like RPC over RDMA.
func (e *end) send(i int) error {
	binary.LittleEndian.PutUint64(e.out, uint64(i))
	err := e.conn.QP().PostSend(verbs.SendWR{Opcode: verbs.Send, Flags: verbs.Signaled, SG: []verbs.SGE{{Buf: e.out, LKey: e.mr.LKey()}}})
	if err != nil {
		return err
	}
	return e.wait(&e.sent)
}

// receive waits for message i, and posts the receive for the next before the peer can know that this one has come.
func (e *end) receive(i int) error {
	if err := e.wait(&e.received); err != nil {
		return err
	}
	if got := binary.LittleEndian.Uint64(e.in); got != uint64(i) {
		return fmt.Errorf("got message %d, want %d", got, i)
	}
	return e.postReceive(e.conn.QP())
}

// roundTrips sends the messages from one number up to another, gets each back, and tells how long that took.
func (e *end) roundTrips(from, to int) (time.Duration, error) {
	start := time.Now()
	for i := from; i < to; i++ {
		if err := e.send(i); err != nil {
			return 0, err
		}
		if err := e.receive(i); err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}

// wait takes completions until there is one of those that are counted.
func (e *end) wait(count *int) error {
	for *count == 0 {
		var wc [1]verbs.WC
		if _, err := e.cq.Wait(context.Background(), wc[:]); err != nil {
			return err
		}
		switch {
		case wc[0].Status != verbs.Success:
			return fmt.Errorf("%w %s", wc[0].Status, wc[0].Detail)
		case wc[0].Opcode == verbs.WCRecv:
			e.received++
		default:
			e.sent++
		}
	}
	*count--
	return nil
}
