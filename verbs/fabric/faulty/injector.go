package faulty

import (
	"fmt"
	"strconv"
	"strings"

	"outboard/verbs/fabric"
)

// A Packet is what an Injector sees of a packet that is about to be sent.
type Packet struct {
	Endpoint int           // that sends it
	Index    uint64        // packets that the Conn has sent before, of those that Options.Only admits
	Header   fabric.Header // a copy
	Len      int           // of the payload, in bytes
}

// An Injector decides which packets suffer. Judge should depend on nothing but p: a packet that the wire has
// no room for is judged again when it is sent again. Those of this package are such functions and may
// serve several ports. String returns what Parse takes, if the Injector is one of this package.
type Injector interface {
	Judge(p Packet) Fault
	fmt.Stringer
}

// OnIndex injects f into packet n of each Conn. The first packet is 0.
func OnIndex(n uint64, f Fault) Injector { return onIndex{n, f} }

type onIndex struct {
	n uint64
	f Fault
}

func (i onIndex) Judge(p Packet) Fault {
	if p.Index == i.n {
		return i.f
	}
	return None
}

func (i onIndex) String() string { return fmt.Sprintf("OnIndex(%d, %v)", i.n, i.f) }

// Every injects f into every n-th packet of each Conn: the first is packet n-1. With n = 0 it does nothing.
func Every(n uint64, f Fault) Injector { return every{n, f} }

type every struct {
	n uint64
	f Fault
}

func (i every) Judge(p Packet) Fault {
	if i.n > 0 && p.Index%i.n == i.n-1 {
		return i.f
	}
	return None
}

func (i every) String() string { return fmt.Sprintf("Every(%d, %v)", i.n, i.f) }

// Rate injects f into each packet with probability p, from 0 to 1; what lies outside counts as the nearer
// bound, and what is no number as 0. Rates of one seed and different faults are independent of each other.
func Rate(seed uint64, p float64, f Fault) Injector {
	if !(p > 0) {
		p = 0
	}
	return rate{seed, min(p, 1), f}
}

type rate struct {
	seed uint64
	p    float64
	f    Fault
}

func (i rate) Judge(p Packet) Fault {
	const unit = 1 << 53 // the integers up to here are all float64s
	if float64(draw(i.seed, p.Endpoint, p.Index, uint64(i.f.kind()))%unit) < i.p*unit {
		return i.f
	}
	return None
}

func (i rate) String() string {
	return fmt.Sprintf("Rate(%d, %s, %v)", i.seed, strconv.FormatFloat(i.p, 'g', -1, 64), i.f)
}

// ForEndpoint leaves all endpoints but ep alone.
func ForEndpoint(ep int, inj Injector) Injector {
	if inj == nil {
		inj = Any()
	}
	return forEndpoint{ep, inj}
}

type forEndpoint struct {
	ep  int
	inj Injector
}

func (i forEndpoint) Judge(p Packet) Fault {
	if p.Endpoint == i.ep {
		return i.inj.Judge(p)
	}
	return None
}

func (i forEndpoint) String() string { return fmt.Sprintf("ForEndpoint(%d, %v)", i.ep, i.inj) }

// Any injects the first fault that one of its Injectors wants. It skips those that are nil.
func Any(inj ...Injector) Injector {
	var all anyOf
	for _, i := range inj {
		if i != nil {
			all = append(all, i)
		}
	}
	return all
}

type anyOf []Injector

func (all anyOf) Judge(p Packet) Fault {
	for _, i := range all {
		if f := i.Judge(p); f != None {
			return f
		}
	}
	return None
}

func (all anyOf) String() string {
	s := make([]string, len(all))
	for n, i := range all {
		s[n] = i.String()
	}
	return "Any(" + strings.Join(s, ", ") + ")"
}

// Uses of draw beside the kinds of faults that Rate draws for.
const (
	useDelay = 1 << kindBits << iota
	useCorrupt
)

// draw returns the random number that a seed has for one use on one packet. It is a hash and keeps no
// state, so that what one Conn draws doesn't depend on the others.
func draw(seed uint64, ep int, index, use uint64) uint64 {
	x := scramble(seed)
	x = scramble(x ^ uint64(ep))
	x = scramble(x ^ index)
	return scramble(x ^ use)
}

// scramble is one step of the generator SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
