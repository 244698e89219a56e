package shm

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/internal/port"
	"outboard/verbs/fabric/internal/ring"
)

// Options say how a port is made. A zero field stands for its default.
type Options struct {
	Reserved  int  // endpoints that are opened by number only, 0
	Endpoints int  // 1,024, at most 4,032
	Regions   int  // 65,536; a multiple of 256
	Slots     int  // packets that a ring holds, 128; a power of two
	Bulk      int  // bytes that a ring holds of payloads above 96 bytes, 2 MiB, touched as far as a stream needs it; a power of two
	MTU       int  // largest payload in bytes, 16 KiB; at most Bulk/4
	Memory    int  // bytes that AllocMem can give out, as many as the machine has; rounded up to 2 MiB
	NoCMA     bool // act as if the kernel forbade cross-memory attach
}

func (o Options) shape() shape {
	def := func(n, def int) int {
		if n == 0 {
			return def
		}
		return n
	}
	return shape{
		endpoints: def(o.Endpoints, 1024),
		regions:   def(o.Regions, 65536),
		ring: ring.Geometry{
			Slots: def(o.Slots, 128),
			Bulk:  def(o.Bulk, 2<<20),
			MTU:   def(o.MTU, 16<<10),
		},
		memory: (def(o.Memory, machineMemory()) + hugeLen - 1) &^ (hugeLen - 1),
	}
}

// machineMemory returns the memory of the machine, in bytes.
func machineMemory() int {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 16 << 30
	}
	return min(int(info.Totalram*uint64(info.Unit)), maxTotal/2)
}

// A Port implements fabric.Port.
type Port struct {
	port.Port
	addr  address
	text  string // addr
	noCMA bool
	seg   *segment
	table *port.Table
	heap  *heap
	watch watcher

	mu      sync.Mutex
	remotes map[address]*remote
}

var _ fabric.Port = (*Port)(nil)

// The open ports of this process: whoever dials one needs no second mapping of its memory.
var (
	localMu sync.Mutex
	locals  = map[address]*Port{}
)

// Open makes a port. The error names the option that is out of range, or the system call that
// failed.
func Open(o Options) (*Port, error) {
	s := o.shape()
	if err := s.check(); err != nil {
		return nil, err
	}
	if o.Reserved < 0 || o.Reserved > s.endpoints {
		return nil, fmt.Errorf("shm: %d reserved endpoints, want 0 to %d", o.Reserved, s.endpoints)
	}
	a := address{pid: uint32(os.Getpid())}
	nonce, err := uuid.NewRandom()
	if err != nil {
		return nil, fmt.Errorf("shm: %w", err)
	}
	a.nonce = nonce
	if a.start, err = startTime(a.pid); err != nil {
		return nil, fmt.Errorf("shm: %w", err)
	}
	seg, err := createSegment(s, a.nonce)
	if err != nil {
		return nil, fmt.Errorf("shm: %w", err)
	}
	a.fd = uint32(seg.file.Fd())
	p := &Port{
		addr:    a,
		text:    a.String(),
		noCMA:   o.NoCMA,
		seg:     seg,
		table:   seg.table(true),
		heap:    newHeap(s.memory),
		remotes: map[address]*remote{},
	}
	p.watch.tell = func() { port.Gone(&p.Port) }
	if err := port.Init(&p.Port, s.attr(), o.Reserved, seg.control(), p.table, backend{p}); err != nil {
		seg.unmap()
		return nil, err
	}
	localMu.Lock()
	defer localMu.Unlock()
	locals[a] = p
	return p, nil
}

func (s shape) attr() fabric.Attr {
	return fabric.Attr{
		Name:      "shm",
		Ordered:   true,
		Reliable:  true,
		MTU:       s.ring.MTU,
		Inline:    ring.Inline,
		Endpoints: s.endpoints,
		Regions:   s.regions,
	}
}

// Addr implements fabric.Port.
func (p *Port) Addr() string { return p.text }

// Sleep implements fabric.Port.
func (p *Port) Sleep(t fabric.Ticket, d time.Duration) {
	if !port.Closed(&p.Port) {
		sleep(&p.seg.control().Bell, uint32(t), d)
	}
	runtime.KeepAlive(p)
}

// Publish implements fabric.Port.
func (p *Port) Publish(r fabric.Region) error {
	if !p.noCMA {
		askHuge(r.Buf)
	}
	return p.Port.Publish(r)
}

// AllocMem implements fabric.Port.
func (p *Port) AllocMem(n int) ([]byte, error) { return p.heap.alloc(p.seg, n) }

// FreeMem implements fabric.Port.
func (p *Port) FreeMem(b []byte) error { return p.heap.release(p.seg, b) }

// Close implements fabric.Port. A second Close does nothing. The rings stay mapped, without pages, until
// nothing refers to the port: another goroutine may be in Poll or Send.
func (p *Port) Close() error {
	localMu.Lock()
	delete(locals, p.addr)
	localMu.Unlock()
	first, unused := port.Shut(&p.Port)
	if !first {
		return nil
	}
	p.watch.close()
	p.heap.close()
	if unused {
		p.seg.unmapDevice()
	}
	err := p.seg.punch(pageLen, p.seg.total()-pageLen)
	p.seg.closeFile()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.remotes {
		if r.local == nil {
			r.seg.closeFile()
		}
	}
	return err
}
