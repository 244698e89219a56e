package cm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"outboard/verbs"
)

func TestParse(t *testing.T) {
	for address, want := range map[string]struct {
		nic  string
		port uint16
	}{
		":18515": {"", 18515}, "localhost:1": {"", 1}, "127.0.0.1:0": {"", 0}, "[::1]:65535": {"", 65535},
		"inproc:1:2/7": {"inproc:1:2", 7}, "a/b/7": {"a/b", 7}, "shm:1:2:3:ff/0": {"shm:1:2:3:ff", 0},
	} {
		nic, port, err := parse("dial", address)
		if err != nil || nic != want.nic || port != want.port {
			t.Errorf("%q: got %q, %d, %v, want %q, %d", address, nic, port, err, want.nic, want.port)
		}
	}
}

func FuzzAddress(f *testing.F) {
	for _, s := range []string{":1", "localhost:18515", "inproc:1:2/3", "[::1]:0", "/", ":", "a/99999999999999999999", "\x00/1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		nic, port, err := parse("dial", s)
		if err != nil {
			if !errors.Is(err, ErrAddress) && !errors.Is(err, ErrUnreachable) {
				t.Errorf("error %v", err)
			}
			return
		}
		if nic == "" {
			return
		}
		if n, p, err := parse("dial", At(nic, port)); err != nil || n != nic || p != port {
			t.Errorf("%q is written %q and read %q, %d, %v", s, At(nic, port), n, p, err)
		}
	})
}

// TestHostileNames has somebody else hold a port's name and answer nonsense, or nothing.
func TestHostileNames(t *testing.T) {
	a := newNode(t, wires[1])
	for name, tt := range map[string]struct {
		answer string
		hang   bool
		want   error
	}{
		"nothing":               {"", false, ErrUnreachable},
		"silence":               {"", true, context.DeadlineExceeded},
		"half an answer":        {greeting + "shm:", true, context.DeadlineExceeded},
		"garbage":               {"\x00\xff\n", false, ErrUnreachable},
		"another protocol":      {"HTTP/1.1 400 Bad Request\r\n\r\n", false, ErrUnreachable},
		"no address":            {greeting + "\n", false, ErrUnreachable},
		"no end":                {greeting + strings.Repeat("a", 100_000), false, ErrUnreachable},
		"a long address":        {greeting + strings.Repeat("a", maxAddr+1) + "\n", false, ErrUnreachable},
		"control characters":    {greeting + "shm:\x1b[2J\n", false, ErrUnreachable},
		"an address that lies":  {greeting + "shm:1:3:5:00112233445566778899aabbccddeeff\n", false, ErrUnreachable},
		"another wire":          {greeting + "inproc:1:1\n", false, ErrUnreachable},
		"a NIC that never was":  {greeting + "shm:x\n", false, ErrUnreachable},
		"the dialer's own port": {greeting + a.dev.Addr() + "\n", false, ErrRefused}, // which does not listen
	} {
		t.Run(name, func(t *testing.T) {
			port := somePorts()[0]
			s, err := net.ListenUnix("unix", socketName(port))
			must(t, err)
			stop := make(chan struct{})
			done := make(chan struct{})
			go func() {
				defer close(done)
				c, err := s.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				_, _ = c.Write([]byte(tt.answer))
				if tt.hang {
					<-stop
				}
			}()
			ctx, cancel := context.WithTimeout(context.Background(), 400*time.Millisecond)
			defer cancel()
			start := time.Now()
			_, err = Dial(ctx, a.dev, fmt.Sprintf(":%d", port), a.params())
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("it took %v", d)
			}
			close(stop)
			s.Close()
			<-done
		})
	}
}

func TestSilentName(t *testing.T) {
	a := newNode(t, wires[1])
	port := somePorts()[0]
	s, err := net.ListenUnix("unix", socketName(port)) // nobody takes the connection
	must(t, err)
	defer s.Close()
	if _, err := Dial(soon(t), a.dev, fmt.Sprintf(":%d", port), a.params()); !errors.Is(err, ErrTimeout) || !errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v, want ErrTimeout and ErrUnreachable", err)
	}
}

// TestInprocOfAnotherProcess asks for the name of a listener on the in-process wire of another process.
func TestInprocOfAnotherProcess(t *testing.T) {
	a := newNode(t, wires[0])
	p := startChild(t, "hold")
	_, err := Dial(soon(t), a.dev, p.line(), a.params())
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "on the wire inproc") {
		t.Errorf("got %v, want ErrUnreachable that names the wire", err)
	}
}

// TestConnectToItself connects two queue pairs of one NIC.
func TestConnectToItself(t *testing.T) {
	eachWire(t, func(t *testing.T, w wire) {
		a := newNode(t, w)
		ca, cb := connect(t, a, a, local(t, a))
		must(t, cb.QP().PostRecv(verbs.RecvWR{ID: 3}))
		must(t, ca.QP().PostSend(verbs.SendWR{ID: 4, Opcode: verbs.Send, Flags: verbs.Signaled}))
		for range 2 {
			if wc := a.wait(t); wc.Status != verbs.Success {
				t.Errorf("completion %+v", wc)
			}
		}
	})
}
