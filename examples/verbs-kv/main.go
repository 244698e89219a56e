// Verbs-kv is a hash table that clients use without the server's help: a lookup is an RDMA READ, an insertion a
// COMPARE-AND-SWAP that locks a slot, a WRITE, and another that unlocks it.
//
//	go run ./examples/verbs-kv                        # a server and four clients in this process
//
//	go run ./examples/verbs-kv -listen :18516         # a server, until it is interrupted, and in another terminal:
//	go run ./examples/verbs-kv localhost:18516 put fruit apple
//	go run ./examples/verbs-kv localhost:18516 get fruit
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"outboard/verbs"
	"outboard/verbs/fabric/shm"
)

type config struct {
	listen  string
	slots   int
	packets bool
	args    []string
}

func main() {
	var c config
	flag.StringVar(&c.listen, "listen", "", "serve a table at `[host]:port`")
	flag.IntVar(&c.slots, "slots", 1024, "give the table `n` slots")
	flag.BoolVar(&c.packets, "packets", false, "have the NICs talk in packets, as real ones do")
	flag.Parse()
	c.args = flag.Args()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, c, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "verbs-kv:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, c config, out io.Writer) error {
	switch {
	case c.listen != "" && len(c.args) == 0:
		return c.withDevice(func(dev *verbs.Context) error { return serve(ctx, dev, c.listen, c.slots, out) })
	case c.listen == "" && len(c.args) == 0:
		return demo(ctx, c, out)
	case c.listen == "" && (len(c.args) == 3 && c.args[1] == "get" || len(c.args) == 4 && c.args[1] == "put"):
		return c.withDevice(func(dev *verbs.Context) error { return command(ctx, dev, c.args, out) })
	}
	return errors.New("want -listen, or ADDRESS get KEY, or ADDRESS put KEY VALUE, or nothing")
}

func (c config) withDevice(f func(*verbs.Context) error) error {
	port, err := shm.Open(shm.Options{})
	if err != nil {
		return err
	}
	dev, err := verbs.OpenWith(port, verbs.Options{Packets: c.packets})
	if err != nil {
		return errors.Join(err, port.Close())
	}
	return errors.Join(f(dev), dev.Close())
}

func serve(ctx context.Context, dev *verbs.Context, address string, slots int, out io.Writer) error {
	s, err := newServer(dev, address, slots)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d slots at %s\n", slots, s.l.Addr())
	return s.serve(ctx)
}

// command is one get or put.
func command(ctx context.Context, dev *verbs.Context, args []string, out io.Writer) error {
	k, err := dial(ctx, dev, args[0])
	if err != nil {
		return err
	}
	if args[1] == "put" {
		return errors.Join(k.put(args[2], args[3]), k.close())
	}
	value, found, err := k.get(args[2])
	switch {
	case err != nil:
	case !found:
		err = fmt.Errorf("no key %q", args[2])
	default:
		fmt.Fprintln(out, value)
	}
	return errors.Join(err, k.close())
}

// demo has four clients fill half of a table at the same time; then each reads what another has written.
func demo(ctx context.Context, c config, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return c.withDevice(func(dev *verbs.Context) error {
		s, err := newServer(dev, ":0", c.slots)
		if err != nil {
			return err
		}
		served := make(chan error, 1)
		go func() { served <- s.serve(ctx) }()
		err = clients(ctx, c, s.l.Addr(), out)
		cancel()
		return errors.Join(err, <-served)
	})
}

func clients(ctx context.Context, c config, address string, out io.Writer) error {
	const n = 4
	each := c.slots / (2 * n)
	pair := func(who, i int) (key, value string) {
		return fmt.Sprintf("key %d of %d", i, who), fmt.Sprintf("value %d of client %d", i, who)
	}
	var wrote, done sync.WaitGroup
	errs, reads := make([]error, n), make([]int, n)
	wrote.Add(n)
	start := time.Now()
	for who := range n {
		done.Go(func() {
			haveWritten := sync.OnceFunc(wrote.Done)
			defer haveWritten() // also if this client fails: the others go on
			errs[who] = c.withDevice(func(dev *verbs.Context) error {
				k, err := dial(ctx, dev, address)
				for i := 0; err == nil && i < each; i++ {
					err = k.put(pair(who, i))
				}
				haveWritten()
				if err != nil {
					return err
				}
				wrote.Wait()
				k.reads = 0
				for i := range each {
					key, want := pair((who+1)%n, i)
					if got, found, err := k.get(key); err != nil {
						return err
					} else if !found || got != want {
						return fmt.Errorf("key %q: got %q (found: %v), want %q", key, got, found, want)
					}
				}
				reads[who] = k.reads
				return k.close()
			})
		})
	}
	done.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	sum := 0
	for _, r := range reads {
		sum += r
	}
	fmt.Fprintf(out, "%d clients inserted %d pairs each and read them in %v, with %.2f reads a lookup\n",
		n, each, time.Since(start).Round(time.Microsecond), float64(sum)/float64(max(n*each, 1)))
	return nil
}
