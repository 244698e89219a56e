package verbs

import (
	"errors"
	"strings"
	"testing"

	"outboard/verbs/fabric/inproc"
)

// Objects that are counted: the device gives them out up to its limit, and again once one is returned.
func TestCountedObjects(t *testing.T) {
	for _, tt := range []struct {
		name   string
		limit  func(l *Limits) *int
		create func(c *Context) (func() error, error)
	}{
		{"protection domains", func(l *Limits) *int { return &l.MaxPD }, func(c *Context) (func() error, error) {
			pd, err := c.AllocPD()
			if err != nil {
				return nil, err
			}
			return pd.Dealloc, nil
		}},
		{"completion queues", func(l *Limits) *int { return &l.MaxCQ }, func(c *Context) (func() error, error) {
			cq, err := c.CreateCQ(1, nil)
			if err != nil {
				return nil, err
			}
			return cq.Destroy, nil
		}},
		{"counters", func(l *Limits) *int { return &l.MaxCounters }, func(c *Context) (func() error, error) {
			k, err := c.CreateCounter()
			if err != nil {
				return nil, err
			}
			return k.Destroy, nil
		}},
		{"shared receive queues", func(l *Limits) *int { return &l.MaxSRQ }, func(c *Context) (func() error, error) {
			return inDomain(c, func(pd *PD) (func() error, error) {
				s, err := c.CreateSRQ(pd, SRQInit{MaxWR: 1})
				if err != nil {
					return nil, err
				}
				return s.Destroy, nil
			})
		}},
		{"address handles", func(l *Limits) *int { return &l.MaxAH }, func(c *Context) (func() error, error) {
			return inDomain(c, func(pd *PD) (func() error, error) {
				a, err := c.CreateAH(pd, AHAttr{Addr: c.Addr(), Port: 1})
				if err != nil {
					return nil, err
				}
				return a.Destroy, nil
			})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			port, err := inproc.New().Open(inproc.Options{})
			if err != nil {
				t.Fatal(err)
			}
			c, err := Open(port)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			const limit = 3
			*tt.limit(&c.limits) = limit
			full := func() {
				t.Helper()
				_, err := tt.create(c)
				var e *Error
				if !errors.Is(err, ErrLimit) || !errors.As(err, &e) || !strings.HasPrefix(e.Detail, "3 "+tt.name) {
					t.Fatalf("error %v, want ErrLimit about 3 %s", err, tt.name)
				}
			}
			var ends []func() error
			for range limit {
				end, err := tt.create(c)
				if err != nil {
					t.Fatal(err)
				}
				ends = append(ends, end)
			}
			full()
			if err := ends[1](); err != nil {
				t.Fatal(err)
			}
			if err := ends[1](); !errors.Is(err, ErrDestroyed) { // must not make room twice
				t.Fatalf("error %v, want ErrDestroyed", err)
			}
			if ends[1], err = tt.create(c); err != nil {
				t.Fatalf("after one was returned: %v", err)
			}
			full()
			for _, end := range ends {
				if err := end(); err != nil {
					t.Fatal(err)
				}
			}
			if n := c.pds + c.cqs + c.srqs + c.ahs; n != 0 {
				t.Errorf("%d objects are left, want none", n)
			}
		})
	}
}

// inDomain creates an object in a protection domain of its own.
func inDomain(c *Context, create func(*PD) (func() error, error)) (func() error, error) {
	pd, err := c.AllocPD()
	if err != nil {
		return nil, err
	}
	destroy, err := create(pd)
	if err != nil {
		return nil, errors.Join(err, pd.Dealloc())
	}
	return func() error {
		if err := destroy(); err != nil {
			return err
		}
		return pd.Dealloc()
	}, nil
}

func TestPacketMTU(t *testing.T) {
	for _, tt := range []struct {
		name       string
		room, want int
	}{
		{"with headers", 4096, 2048},
		{"just with headers", 4096 + packetHeaders, 4096},
		{"smallest", minMTU + packetHeaders, 256},
		{"too small", minMTU + packetHeaders - 1, 0},
		{"huge", 1 << 30, 4096},
	} {
		if got := packetMTU(tt.room); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}
