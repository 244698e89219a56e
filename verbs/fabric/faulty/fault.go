package faulty

import (
	"fmt"
	"time"
)

// A Fault is what happens to a packet, one thing at most. Those that take time may carry how long: see By.
type Fault int64

const (
	// None lets the packet through.
	None Fault = iota
	// Drop loses the packet.
	Drop
	// Duplicate sends the packet and a copy: at once, or as late as By says.
	Duplicate
	// Reorder holds the packet until the next of its Conn has been sent, but no longer than By
	// says. A Conn holds one such packet: the next one passes it, though it be to be reordered itself.
	Reorder
	// Delay holds the packet as long as By says. Others pass it.
	Delay
	// Corrupt flips one bit of the payload, in a copy; a packet without payload stays whole.
	Corrupt
	// Cut loses the packet and all that its endpoint sends after it, as long as By says, or else until
	// Port.Heal.
	Cut
)

var faultNames = [...]string{"None", "Drop", "Duplicate", "Reorder", "Delay", "Corrupt", "Cut"}

// A Fault is its kind in the lower bits, nanoseconds above.
const (
	kindBits = 3
	maxBy    = time.Duration(1)<<(63-kindBits) - 1
)

// By returns f with a duration above 0, at most 36 years. Without one, a Duplicate comes at once, a Cut
// lasts, a Reorder waits for Options.DelayBy at most, and a Delay is drawn from 0 to
// Options.DelayBy. The faults that take no time stay as they are.
func (f Fault) By(d time.Duration) Fault {
	switch f.kind() {
	case Duplicate, Reorder, Delay, Cut:
		return f.kind() | Fault(min(max(d, 0), maxBy))<<kindBits
	default:
		return f
	}
}

func (f Fault) kind() Fault { return f & (1<<kindBits - 1) }

// by returns the duration, 0 if there is none.
func (f Fault) by() time.Duration { return time.Duration(max(f>>kindBits, 0)) }

// String returns the name of the fault, with its duration if it has one: "Drop", "Delay(1ms)".
func (f Fault) String() string {
	k := f.kind()
	switch {
	case int(k) >= len(faultNames) || f < 0:
		return fmt.Sprintf("Fault(%d)", int64(f))
	case f.by() > 0:
		return fmt.Sprintf("%s(%s)", faultNames[k], f.by())
	default:
		return faultNames[k]
	}
}
