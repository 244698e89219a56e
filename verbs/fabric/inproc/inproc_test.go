package inproc_test

import (
	"errors"
	"testing"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/fabrictest"
	"outboard/verbs/fabric/inproc"
)

var wires = inproc.New()

func open(o fabrictest.Options) (fabric.Port, error) {
	return wires.Open(inproc.Options{Reserved: o.Reserved, Endpoints: o.Endpoints})
}

func TestMain(m *testing.M) { fabrictest.Main(m, open) }

func TestFabric(t *testing.T) { fabrictest.Run(t, open) }

func Benchmark(b *testing.B) { fabrictest.Benchmark(b, open) }

// A thousand ports, each joined with a few others, all at once.
func TestThousandPorts(t *testing.T) {
	const n, neighbours = 1000, 3
	sw := inproc.New()
	var ports []*inproc.Port
	for range n {
		p, err := sw.Open(inproc.Options{Reserved: neighbours})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		ports = append(ports, p)
	}
	for i, p := range ports {
		for k := range neighbours {
			c, err := p.Open(fabric.Any, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Connect(ports[(i+k+1)%n].Addr(), k); err != nil {
				t.Fatal(err)
			}
			if !c.Send(&fabric.Header{Imm: uint32(i)}, nil, nil) {
				t.Fatal("no room")
			}
		}
	}
	for i, p := range ports {
		var from froms
		for k := range neighbours {
			if _, err := p.Open(k, uint32(k)); err != nil {
				t.Fatal(err)
			}
		}
		p.Poll(&from, 16)
		for k, got := range from {
			if want := uint32((i - k - 1 + n) % n); got != want {
				t.Fatalf("port %d heard from %d at endpoint %d, want %d", i, got, k, want)
			}
		}
	}
}

// froms is a Receiver that keeps the Imm of the last packet of each cookie.
type froms [3]uint32

func (f *froms) Packet(cookie uint32, h *fabric.Header, _ []byte) bool {
	f[cookie] = h.Imm
	return true
}
func (f *froms) Knock(int)          {}
func (f *froms) Down(uint32, error) {}

func TestOptions(t *testing.T) {
	for name, o := range map[string]inproc.Options{
		"endpoints": {Endpoints: 5000},
		"negative":  {Endpoints: -1},
		"reserved":  {Reserved: 2000},
		"regions":   {Regions: 100},
		"slots":     {Slots: 100},
		"bulk":      {Bulk: 100},
		"MTU":       {MTU: 1 << 20},
		"memory":    {Memory: -1},
	} {
		t.Run(name, func(t *testing.T) {
			if p, err := inproc.New().Open(o); err == nil {
				p.Close()
				t.Fatalf("opened with %+v", o)
			}
		})
	}
}

// Ports of two switches don't reach each other.
func TestSwitches(t *testing.T) {
	a, err := inproc.New().Open(inproc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := inproc.New().Open(inproc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c, err := a.Open(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Connect(b.Addr(), 0); !errors.Is(err, fabric.ErrUnreachable) {
		t.Fatalf("error %v", err)
	}
}

func FuzzAddress(f *testing.F) {
	p, err := inproc.New().Open(inproc.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { p.Close() })
	c, err := p.Open(0, 0)
	if err != nil {
		f.Fatal(err)
	}
	for _, addr := range []string{"inproc:1:2", "inproc:01:2", "inproc:-1:2", "inproc::", "inproc:18446744073709551616:1", ""} {
		f.Add(addr)
	}
	f.Fuzz(func(t *testing.T, addr string) {
		if addr == p.Addr() {
			return
		}
		if err := c.Connect(addr, 0); !errors.Is(err, fabric.ErrAddress) && !errors.Is(err, fabric.ErrUnreachable) {
			t.Fatalf("%q: %v", addr, err)
		}
	})
}
