package faulty

import (
	"errors"
	"fmt"
	"time"

	"outboard/verbs/fabric"
)

// ErrOption is the error of Wrap for an option that is out of range.
var ErrOption = errors.New("faulty: option out of range")

// Options say what goes wrong. The zero Options let everything through.
//
// A packet gets the first fault that Inject, CutAfter, Drop, Duplicate, Reorder, Delay and Corrupt, in this
// order, have for it.
type Options struct {
	// Seed of all that is drawn: the rates, how long a Delay takes, where a packet is corrupted.
	Seed uint64

	// Inject, unless nil, is asked about each packet.
	Inject Injector

	// Probabilities, from 0 to 1, with which a packet gets the fault: shorthand for Rate(Seed, p, fault).
	Drop, Duplicate, Reorder, Delay, Corrupt float64

	// CutAfter, unless 0, cuts the link of each Conn after so many packets, for HealAfter, or until
	// Port.Heal if that is 0: shorthand for OnIndex(CutAfter, Cut.By(HealAfter)).
	CutAfter  uint64
	HealAfter time.Duration

	// DelayBy is the longest delay of a fault that has no duration of its own, 1 ms.
	DelayBy time.Duration

	// Only, unless nil, says which packets can have faults; the others go through uncounted, unless the
	// link is cut. Like an Injector it may be asked several times about one packet. It
	// must not change or keep its arguments.
	Only func(h *fabric.Header, payload []byte) bool

	// Clock tells the time, time.Now. Any goroutine may call it; it must not call the Port.
	Clock func() time.Time
}

// check returns an error that names the option that is out of range.
func (o *Options) check() error {
	for _, r := range []struct {
		name string
		p    float64
	}{
		{"Drop", o.Drop}, {"Duplicate", o.Duplicate}, {"Reorder", o.Reorder}, {"Delay", o.Delay}, {"Corrupt", o.Corrupt},
	} {
		if !(r.p >= 0 && r.p <= 1) {
			return fmt.Errorf("%w: %s is %v, want 0 to 1", ErrOption, r.name, r.p)
		}
	}
	for _, r := range []struct {
		name string
		d    time.Duration
	}{
		{"HealAfter", o.HealAfter}, {"DelayBy", o.DelayBy},
	} {
		if r.d < 0 {
			return fmt.Errorf("%w: %s is %v, want at least 0", ErrOption, r.name, r.d)
		}
	}
	return nil
}

// injector returns what the options amount to, or nil if that is nothing.
func (o *Options) injector() Injector {
	var all anyOf
	if o.Inject != nil {
		all = append(all, o.Inject)
	}
	if o.CutAfter > 0 {
		all = append(all, OnIndex(o.CutAfter, Cut.By(o.HealAfter)))
	}
	for _, r := range []struct {
		p float64
		f Fault
	}{
		{o.Drop, Drop}, {o.Duplicate, Duplicate}, {o.Reorder, Reorder}, {o.Delay, Delay}, {o.Corrupt, Corrupt},
	} {
		if r.p > 0 {
			all = append(all, Rate(o.Seed, r.p, r.f))
		}
	}
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	default:
		return all
	}
}
