package inproc

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/internal/port"
	"outboard/verbs/fabric/internal/ring"
)

const prefix = "inproc:"

// A Switch joins ports. Its methods may be called by any goroutine.
type Switch struct {
	id    uint64
	mu    sync.RWMutex
	ports map[uint64]*Port // open ports by number
	last  uint64
}

var switches atomic.Uint64

// New returns a Switch without ports.
func New() *Switch {
	return &Switch{id: switches.Add(1), ports: map[uint64]*Port{}}
}

// Options say how a port is made. A zero field stands for its default.
type Options struct {
	Reserved  int // endpoints that are opened by number only, 0
	Endpoints int // 1,024, at most 4,032
	Regions   int // 65,536; a multiple of 256
	Slots     int // packets that a ring holds, 64; a power of two
	Bulk      int // bytes that a ring holds of payloads above 96 bytes, 2 MiB, made as far as a stream needs it; a power of two
	MTU       int // largest payload in bytes, 8 KiB; at most Bulk/4
	Memory    int // bytes that AllocMem gives out in all, 16 GiB
}

func (o Options) filled() Options {
	for _, d := range []struct {
		field *int
		value int
	}{
		{&o.Endpoints, 1024},
		{&o.Regions, 65536},
		{&o.Slots, 64},
		{&o.Bulk, 2 << 20},
		{&o.MTU, 8 << 10},
		{&o.Memory, 16 << 30},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	return o
}

// Open attaches a new port to the Switch. The error names the option that is out of range.
func (s *Switch) Open(o Options) (*Port, error) {
	o = o.filled()
	geo := ring.Geometry{Slots: o.Slots, Bulk: o.Bulk, MTU: o.MTU}
	if err := geo.Check(); err != nil {
		return nil, fmt.Errorf("inproc: %w", err)
	}
	if err := port.CheckRegions(o.Regions); err != nil {
		return nil, fmt.Errorf("inproc: %w", err)
	}
	if o.Memory < 0 {
		return nil, fmt.Errorf("inproc: %d bytes of device memory", o.Memory)
	}
	p := &Port{sw: s, geo: geo, ctl: new(port.Control), table: port.NewTable(o.Regions)}
	p.heap.free = o.Memory
	attr := fabric.Attr{
		Name:      "inproc",
		Ordered:   true,
		Reliable:  true,
		MTU:       o.MTU,
		Inline:    ring.Inline,
		Endpoints: o.Endpoints,
		Regions:   o.Regions,
	}
	if err := port.Init(&p.Port, attr, o.Reserved, p.ctl, p.table, backend{p}); err != nil {
		return nil, fmt.Errorf("inproc: %w", err)
	}
	p.rings = make([]atomic.Pointer[ring.Ring], o.Endpoints)
	s.add(p)
	return p, nil
}

func (s *Switch) add(p *Port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	p.id = s.last
	p.addr = fmt.Sprintf("%s%d:%d", prefix, s.id, p.id)
	s.ports[p.id] = p
}

func (s *Switch) remove(p *Port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ports, p.id)
}

// find returns the open port at addr.
func (s *Switch) find(addr string) (*Port, error) {
	sw, id, err := parse(addr)
	if err != nil {
		return nil, err
	}
	if sw != s.id {
		return nil, fmt.Errorf("%w: %s is a port of another switch", fabric.ErrUnreachable, addr)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := s.ports[id]
	if p == nil {
		return nil, fmt.Errorf("%w: %s: no such port", fabric.ErrUnreachable, addr)
	}
	return p, nil
}

// parse splits an address, "inproc:SWITCH:PORT" with numbers in the form in which Addr writes them.
func parse(addr string) (sw, id uint64, err error) {
	rest, ok := strings.CutPrefix(addr, prefix)
	a, b, colon := strings.Cut(rest, ":")
	sw, errA := strconv.ParseUint(a, 10, 64)
	id, errB := strconv.ParseUint(b, 10, 64)
	if !ok || !colon || errA != nil || errB != nil || addr != fmt.Sprintf("%s%d:%d", prefix, sw, id) {
		return 0, 0, fmt.Errorf("%w: %.250q, want inproc:SWITCH:PORT", fabric.ErrAddress, addr)
	}
	return sw, id, nil
}
