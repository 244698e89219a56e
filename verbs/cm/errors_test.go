package cm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"outboard/verbs"
	"outboard/verbs/fabric/inproc"
)

func TestReject(t *testing.T) {
	t.Parallel()
	eachWire(t, func(t *testing.T, w wire) {
		a, b := newNode(t, w), newNode(t, w)
		l := local(t, b)
		done := make(chan error, 1)
		go func() {
			r, err := l.Accept(soon(t))
			if err != nil {
				done <- err
				return
			}
			time.Sleep(200 * time.Millisecond) // longer than the first REQ waits
			err = r.Reject([]byte("not today"))
			if again := r.Reject(nil); !errors.Is(again, ErrClosed) {
				t.Errorf("rejecting again: %v, want ErrClosed", again)
			}
			if _, again := r.Accept(soon(t), b.params()); !errors.Is(again, ErrClosed) {
				t.Errorf("accepting what is rejected: %v, want ErrClosed", again)
			}
			done <- err
		}()
		_, err := Dial(soon(t), a.dev, l.Addr(), a.params())
		var rej *RejectedError
		if !errors.As(err, &rej) || rej.Reason != ConsumerReject || strings.TrimRight(string(rej.PrivateData), "\x00") != "not today" {
			t.Errorf("got %v, want a *RejectedError with the private data", err)
		}
		if errors.Is(err, ErrRefused) || errors.Is(err, ErrUnreachable) {
			t.Errorf("%v is ErrRefused or ErrUnreachable", err)
		}
		must(t, <-done)
	})
}

func TestNobodyListens(t *testing.T) {
	eachWire(t, func(t *testing.T, w wire) {
		a, b := newNode(t, w), newNode(t, w)
		l := local(t, b)
		_, err := Dial(soon(t), a.dev, At(b.dev.Addr(), l.Port()^1), a.params())
		var rej *RejectedError
		if !errors.Is(err, ErrRefused) || !errors.As(err, &rej) || rej.Reason != InvalidServiceID {
			t.Errorf("got %v, want ErrRefused with reason 8", err)
		}
		// The same words as those of a name that nobody holds.
		const free = 1
		_, byName := Dial(soon(t), a.dev, fmt.Sprintf("localhost:%d", free), a.params())
		at := At(b.dev.Addr(), free)
		_, byNIC := Dial(soon(t), a.dev, at, a.params())
		if got, want := byNIC.Error(), strings.Replace(byName.Error(), "localhost:1", at, 1); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestDialErrors dials what is not there, or must not be. No queue pair is left behind.
func TestDialErrors(t *testing.T) {
	t.Parallel()
	w := wire{open: openInproc}
	a, silent, gone := newNode(t, w), newNode(t, w), newNode(t, w)
	must(t, gone.dev.Close())
	server := newNode(t, w)
	l := local(t, server)
	good := a.params()
	edit := func(f func(*Params)) Params {
		p := good
		f(&p)
		return p
	}
	other := newNode(t, w)
	used, err := a.dev.CreateQP(a.pd, good.Init)
	must(t, err)
	must(t, used.Modify(verbs.QPAttr{State: verbs.Init, Port: 1}, verbs.AttrState|verbs.AttrPKeyIndex|verbs.AttrPort|verbs.AttrAccess))
	must(t, used.Modify(verbs.QPAttr{State: verbs.Err}, verbs.AttrState))
	wrong := errors.New("wrong")
	udInit := good.Init
	udInit.Type = verbs.UD
	ud, err := a.dev.CreateQP(a.pd, udInit)
	must(t, err)
	destroyed, err := a.dev.CreateCQ(1, nil)
	must(t, err)
	must(t, destroyed.Destroy())
	const silence, nobody = "a silent port", "localhost:1"
	for _, tt := range []struct {
		name, address string
		p             Params
		want          error
	}{
		{silence, At(silent.dev.Addr(), 5), good, ErrUnreachable},
		{"a closed port", At(gone.dev.Addr(), 5), good, ErrUnreachable},
		{"a port that never was", At("inproc:77:77", 5), good, ErrUnreachable},
		{"no fabric's address", At("nonsense", 5), good, ErrUnreachable},
		{"a name that nobody holds", "localhost:1", good, ErrRefused},
		{"another host", "example.org:18515", good, ErrUnreachable},
		{"another address", "192.0.2.1:18515", good, ErrUnreachable},
		{"port 0", ":0", good, ErrAddress},
		{"no port", "localhost", good, ErrAddress},
		{"a name for a port", "localhost:http", good, ErrAddress},
		{"a large port", ":65536", good, ErrAddress},
		{"a signed port", ":+5", good, ErrAddress},
		{"no NIC", "/5", good, ErrAddress},
		{"a NIC with a space", "a b/5", good, ErrAddress},
		{"a long NIC", strings.Repeat("a", 201) + "/5", good, ErrAddress},
		{"brackets", "[::1:5", good, ErrAddress},
		{"nothing", "", good, ErrAddress},
		// Nobody listens there, and nobody is asked.
		{"no completion queue for sends", nobody, edit(func(p *Params) { p.Init.SendCQ = nil }), ErrInvalid},
		{"no completion queue for receives", nobody, edit(func(p *Params) { p.Init.RecvCQ = nil }), ErrInvalid},
		{"another's completion queue", nobody, edit(func(p *Params) { p.Init.RecvCQ = other.cq }), verbs.ErrInvalid},
		{"a completion queue that is gone", nobody, edit(func(p *Params) { p.Init.SendCQ = destroyed }), verbs.ErrInvalid},
		{"a queue that is too deep", nobody, edit(func(p *Params) { p.Init.Cap.SendWR = 1 << 30 }), verbs.ErrInvalid},
		{"no such type", nobody, edit(func(p *Params) { p.Init.Type = 9 }), ErrInvalid},
		{"a queue pair of UD", nobody, edit(func(p *Params) { p.QP = ud }), ErrInvalid},
		{"no protection domain", nobody, edit(func(p *Params) { p.PD = nil }), ErrInvalid},
		{"another's protection domain", nobody, edit(func(p *Params) { p.PD = other.pd }), verbs.ErrInvalid},
		{"too much private data", l.Addr(), edit(func(p *Params) { p.PrivateData = make([]byte, MaxRequestData+1) }), ErrInvalid},
		{"retries", l.Addr(), edit(func(p *Params) { p.Conn = &ConnParam{RetryCount: 8} }), ErrInvalid},
		{"RNR retries", l.Addr(), edit(func(p *Params) { p.Conn = &ConnParam{RNRRetryCount: 8} }), ErrInvalid},
		{"MTU", l.Addr(), edit(func(p *Params) { p.MTU = 1000 }), ErrInvalid},
		{"acknowledgement timeout", l.Addr(), edit(func(p *Params) { p.AckTimeout = 32 }), ErrInvalid},
		{"UD", nobody, edit(func(p *Params) { p.Init.Type = verbs.UD }), ErrInvalid},
		{"a queue pair in ERR", nobody, edit(func(p *Params) { p.QP = used }), ErrInvalid},
		{"Prepare", l.Addr(), edit(func(p *Params) { p.Prepare = func(*verbs.QP) error { return wrong } }), wrong},
	} {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			c, err := Dial(soon(t), a.dev, tt.address, tt.p)
			if !errors.Is(err, tt.want) || c != nil {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			text := err.Error()
			if !strings.HasPrefix(text, "cm: dial") || strings.Count(text, "cm: ") != 1 || !strings.Contains(text, fmt.Sprintf("%.200s", tt.address)) {
				t.Errorf("got %q, want it to say once that cm failed to dial %s", text, tt.address)
			}
			if tt.want == ErrInvalid && tt.p.qpType() == verbs.UD && !strings.Contains(text, tt.address+": queue pair of type UD: expected RC or UC") {
				t.Errorf("got %q, want it to name the type", text)
			}
			if tt.name == silence && !errors.Is(err, ErrTimeout) {
				t.Errorf("%v is not ErrTimeout", err)
			}
			if d := time.Since(start); d > 10*time.Second || tt.name != silence && d > 2*time.Second {
				t.Errorf("it took %v", d)
			}
		})
	}
	must(t, used.Destroy())
	must(t, ud.Destroy())
	must(t, a.cq.Destroy()) // no queue pair uses it
}

func TestDialIsCanceled(t *testing.T) {
	a, b := newNode(t, wires[1]), newNode(t, wires[1])
	l := local(t, b)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, a.dev, l.Addr(), a.params()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's error", err)
	}
	time.Sleep(100 * time.Millisecond) // until the peer has heard
	short, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if r, err := l.Accept(short); !errors.Is(err, context.DeadlineExceeded) { // it was withdrawn
		t.Errorf("got %v and %v, want no request", r, err)
	}
}

// TestWithdrawn accepts what the peer has withdrawn after it was taken.
func TestWithdrawn(t *testing.T) {
	a, b := newNode(t, wires[1]), newNode(t, wires[1])
	l := local(t, b)
	ctx, cancel := context.WithCancel(context.Background())
	dialed := make(chan error, 1)
	go func() {
		_, err := Dial(ctx, a.dev, l.Addr(), a.params())
		dialed <- err
	}()
	r, err := l.Accept(soon(t))
	must(t, err)
	cancel()
	if err := <-dialed; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	_, err = r.Accept(soon(t), b.params())
	var rej *RejectedError
	if !errors.As(err, &rej) {
		t.Errorf("got %v, want it rejected", err)
	}
	must(t, b.cq.Destroy()) // no queue pair uses it
}

func TestListenErrors(t *testing.T) {
	w := wire{open: openShm}
	a, b, closed := newNode(t, w), newNode(t, w), newNode(t, w)
	must(t, closed.dev.Close())
	everywhere := listen(t, a, ":0")
	here := local(t, a)
	busy := newNode(t, w)
	must(t, busy.dev.OnMAD(func(string, []byte) {}))
	for _, tt := range []struct {
		name, address string
		n             *node
		want          error
	}{
		{"the name is held", everywhere.Addr(), b, ErrInUse},
		{"the port is taken by a name", At(a.dev.Addr(), everywhere.Port()), a, ErrInUse},
		{"the port is taken at the NIC", here.Addr(), a, ErrInUse},
		{"another NIC", At(b.dev.Addr(), 5), a, ErrUnreachable},
		{"another host", "example.org:5", a, ErrUnreachable},
		{"no address", "x", a, ErrAddress},
		{"closed context", ":0", closed, verbs.ErrDestroyed},
		{"another manager", ":0", busy, verbs.ErrBusy},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if l, err := Listen(tt.n.dev, tt.address); !errors.Is(err, tt.want) || l != nil {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	if _, err := (ListenConfig{Backlog: -1}).Listen(a.dev, ":0"); !errors.Is(err, ErrInvalid) {
		t.Errorf("backlog -1: got %v, want ErrInvalid", err)
	}
	must(t, everywhere.Close())
	must(t, listen(t, b, everywhere.Addr()).Close()) // the name is free again
}

func TestBacklogIsFull(t *testing.T) {
	w := wire{open: openInproc}
	a, b := newNode(t, w), newNode(t, w)
	l, err := ListenConfig{Backlog: 2}.Listen(b.dev, At(b.dev.Addr(), 0))
	must(t, err)
	errs := make(chan error, 3)
	for range 3 {
		go func() {
			_, err := Dial(soon(t), a.dev, l.Addr(), a.params())
			errs <- err
		}()
	}
	var rej *RejectedError
	if err := <-errs; !errors.As(err, &rej) || rej.Reason != NoResources {
		t.Errorf("got %v, want a rejection for lack of room", err)
	}
	must(t, l.Close()) // rejects the others
	for range 2 {
		if err := <-errs; !errors.Is(err, ErrRefused) {
			t.Errorf("got %v, want ErrRefused", err)
		}
	}
	if _, err := l.Accept(soon(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

// TestMTUIsNegotiated connects NICs whose ports carry different packets: the smaller counts, whoever dials.
func TestMTUIsNegotiated(t *testing.T) {
	large := newNode(t, wire{open: openInproc, options: verbs.Options{Packets: true}})
	p, err := testSwitch.Open(inproc.Options{MTU: 8 << 10})
	must(t, err)
	dev, err := verbs.Open(p)
	must(t, err)
	defer dev.Close()
	a, err := agentOf(dev)
	must(t, err)
	defer a.release()
	a.do(func(m *machine) { m.maxMTU = 3 }) // as if its port carried no more
	a.maxMTU = 3
	small := &node{dev: dev}
	small.pd, err = dev.AllocPD()
	must(t, err)
	small.cq, err = dev.CreateCQ(16, nil)
	must(t, err)
	for _, tt := range []struct{ dials, listens *node }{{large, small}, {small, large}} {
		ca, cb := connect(t, tt.dials, tt.listens, local(t, tt.listens))
		if ca.MTU() != 1024 || cb.MTU() != 1024 {
			t.Errorf("MTU %d and %d, want 1024", ca.MTU(), cb.MTU())
		}
		must(t, ca.Close())
		must(t, cb.Close())
	}

	// Both tries are of one queue pair, which is prepared once.
	l := local(t, small)
	accepted := make(chan error, 1)
	go func() {
		r, err := l.Accept(soon(t))
		if err == nil {
			var c *Conn
			if c, err = r.Accept(soon(t), small.params()); err == nil {
				t.Cleanup(func() { c.Close() })
			}
		}
		accepted <- err
	}()
	prepared := 0
	param := large.params()
	param.Prepare = func(qp *verbs.QP) error {
		prepared++
		return qp.PostRecv(make([]verbs.RecvWR, param.Init.Cap.RecvWR)...) // all that it holds
	}
	conn, err := Dial(soon(t), large.dev, l.Addr(), param)
	must(t, errors.Join(err, <-accepted))
	if conn.MTU() != 1024 || prepared != 1 {
		t.Errorf("MTU %d, and prepared %d times, want 1024 and once", conn.MTU(), prepared)
	}
	must(t, conn.Close())
}

func TestOwnHostName(t *testing.T) {
	own, err := os.Hostname()
	must(t, err)
	for host, want := range map[string]bool{"": true, "localhost": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true, own: true,
		"10.0.0.1": false, "example.org": false, "::2": false} {
		if got := isHere(host); got != want {
			t.Errorf("%q is here: %v, want %v", host, got, want)
		}
	}
}
