package verbs

import (
	"errors"
	"strings"
	"testing"

	"outboard/verbs/fabric/inproc"
)

// TestRegionAndWindowLimits fills a device with regions and windows, which share the table of its port.
func TestRegionAndWindowLimits(t *testing.T) {
	const room = 256
	var c *Context
	var pd *PD
	open := func(t *testing.T) {
		port, err := inproc.New().Open(inproc.Options{Regions: room})
		if err != nil {
			t.Fatal(err)
		}
		if c, err = Open(port); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if pd, err = c.AllocPD(); err != nil {
			t.Fatal(err)
		}
	}
	var ends []func() error
	region := func() error {
		m, err := c.RegMR(pd, nil, 0)
		if err == nil {
			ends = append(ends, m.Dereg)
		}
		return err
	}
	window := func() error {
		w, err := c.AllocMW(pd, MWType2)
		if err == nil {
			ends = append(ends, w.Dealloc)
		}
		return err
	}
	type step struct {
		make func() error
		n    int    // that are there to be had
		full string // what the error says then; empty if the device need not be full
	}
	for _, tt := range []struct {
		name     string
		mrs, mws int // limits
		steps    []step
	}{
		{"windows, then regions", room, room, []step{{window, room - 1, "256 memory regions and windows"}, {region, 1, "256 memory regions and windows"}}},
		{"regions", room, room, []step{{region, room, "256 memory regions:"}, {window, 0, "256 memory regions and windows"}}},
		{"mixed", room, room, []step{{region, 100, ""}, {window, 156, "256 memory regions and windows"}, {region, 0, "256 memory regions and windows"}}},
		{"few regions", 3, room, []step{{region, 3, "3 memory regions:"}, {window, 200, ""}}},
		{"few windows", room, 3, []step{{window, 3, "3 memory windows:"}, {region, 200, ""}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			open(t)
			c.limits.MaxMR, c.limits.MaxMW = tt.mrs, tt.mws
			for _, s := range tt.steps {
				for range s.n {
					if err := s.make(); err != nil {
						t.Fatal(err)
					}
				}
				if s.full == "" {
					continue
				}
				var e *Error
				if err := s.make(); !errors.Is(err, ErrLimit) || !errors.As(err, &e) || !strings.HasPrefix(e.Detail, s.full) {
					t.Fatalf("error %v, want ErrLimit about %s", err, s.full)
				}
			}
			for _, end := range ends {
				if err := end(); err != nil {
					t.Fatal(err)
				}
			}
			if ends = nil; c.keys.mrs != 0 || c.keys.mws != 0 {
				t.Errorf("%d regions and %d windows are left, want none", c.keys.mrs, c.keys.mws)
			}
		})
	}
	t.Run("long region", func(t *testing.T) {
		open(t)
		c.limits.MaxMRSize = 8
		m, err := c.RegMR(pd, make([]byte, 8), 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.RegMR(pd, make([]byte, 9), 0); !errors.Is(err, ErrInvalid) {
			t.Errorf("error %v, want ErrInvalid", err)
		}
		if err := m.Rereg(ReregTranslation, nil, make([]byte, 9), 0); !errors.Is(err, ErrInvalid) {
			t.Errorf("error %v, want ErrInvalid", err)
		}
	})
}
