// Verbs-pingpong sends a message back and forth over a reliable connection, as ibv_rc_pingpong does.
//
//	go run ./examples/verbs-pingpong                  # both ends in this process
//
//	go run ./examples/verbs-pingpong -listen :18515   # one end, and in another terminal the other:
//	go run ./examples/verbs-pingpong -size 4096 localhost:18515
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
	"time"

	"outboard/verbs"
	"outboard/verbs/cm"
	"outboard/verbs/fabric/shm"
)

const maxSize = 1 << 24

func main() {
	listen := flag.String("listen", "", "wait for the other end at `[host]:port`")
	size := flag.Int("size", 64, "send messages of `n` bytes")
	iters := flag.Int("iters", 1000, "send `n` messages each way")
	flag.Parse()
	if err := run(*listen, flag.Args(), *size, *iters, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "verbs-pingpong:", err)
		os.Exit(1)
	}
}

func run(listen string, args []string, size, iters int, out io.Writer) error {
	switch {
	case size < 8 || size > maxSize:
		return fmt.Errorf("-size %d: want 8 to %d", size, maxSize)
	case iters < 1 || iters > 1<<30:
		return fmt.Errorf("-iters %d: want 1 to %d", iters, 1<<30)
	case len(args) > 1 || len(args) == 1 && listen != "":
		return errors.New("want either -listen or one address, or neither")
	case listen != "":
		return withDevice(openShm, func(dev *verbs.Context) error { return server(dev, listen, out, nil) })
	case len(args) == 1:
		return withDevice(openShm, func(dev *verbs.Context) error { return client(dev, args[0], size, iters, out) })
	}
	// Both ends here: contexts of one process reach each other on the in-process wire.
	address, served := make(chan string, 1), make(chan error, 1)
	go func() {
		served <- withDevice(verbs.Devices()[0].Open, func(dev *verbs.Context) error { return server(dev, ":0", out, address) })
	}()
	select {
	case err := <-served: // it did not come as far as to listen
		return err
	case a := <-address:
		err := withDevice(verbs.Devices()[0].Open, func(dev *verbs.Context) error { return client(dev, a, size, iters, out) })
		if err != nil {
			return err
		}
		return <-served
	}
}

// openShm opens a NIC whose wire is shared memory: it reaches other processes of this machine.
func openShm() (*verbs.Context, error) {
	port, err := shm.Open(shm.Options{})
	if err != nil {
		return nil, err
	}
	return verbs.Open(port)
}

func withDevice(open func() (*verbs.Context, error), f func(*verbs.Context) error) error {
	dev, err := open()
	if err != nil {
		return err
	}
	return errors.Join(f(dev), dev.Close())
}

// server answers one client.
func server(dev *verbs.Context, listen string, out io.Writer, address chan<- string) error {
	l, err := cm.Listen(dev, listen)
	if err != nil {
		return err
	}
	defer l.Close()
	fmt.Fprintln(out, "listening at", l.Addr())
	if address != nil {
		address <- l.Addr()
	}
	request, err := l.Accept(context.Background())
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
	if e.conn, err = request.Accept(context.Background(), e.params(nil)); err != nil {
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

// client sends, and waits for each message to come back.
func client(dev *verbs.Context, address string, size, iters int, out io.Writer) error {
	e, err := newEnd(dev, size)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	wish := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(size)), uint32(iters))
	if e.conn, err = cm.Dial(ctx, dev, address, e.params(wish)); err != nil {
		return err
	}
	start := time.Now()
	for i := range iters {
		if err := e.send(i); err != nil {
			return err
		}
		if err := e.receive(i); err != nil {
			return err
		}
	}
	d := time.Since(start)
	fmt.Fprintf(out, "%d round trips of %d bytes in %v: %.2f µs each way\n",
		iters, size, d.Round(time.Microsecond), float64(d.Nanoseconds())/float64(2000*iters))
	return e.conn.Close()
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

// send sends message i, and waits until the buffer may be used again.
func (e *end) send(i int) error {
	binary.BigEndian.PutUint64(e.out, uint64(i))
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
	if got := binary.BigEndian.Uint64(e.in); got != uint64(i) {
		return fmt.Errorf("got message %d, want %d", got, i)
	}
	return e.postReceive(e.conn.QP())
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
