package shm

import (
	"errors"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/internal/ring"
)

var tiny = shape{endpoints: 4, regions: 256, ring: ring.Geometry{Slots: 8, Bulk: 1024, MTU: 256}, memory: 4 << 20}

// forge makes a memfd as another process might, and returns its address.
func forge(t *testing.T, name string, h header, size int64, seal int) address {
	t.Helper()
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Ftruncate(fd, size); err != nil {
		t.Fatal(err)
	}
	if size > 0 {
		if _, err := unix.Pwrite(fd, unsafe.Slice((*byte)(unsafe.Pointer(&h)), unsafe.Sizeof(h)), 0); err != nil {
			t.Fatal(err)
		}
	}
	if seal != 0 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seal); err != nil {
			t.Fatal(err)
		}
	}
	return address{pid: uint32(os.Getpid()), fd: uint32(fd), nonce: [16]byte{1}}
}

func TestForgedSegment(t *testing.T) {
	good := tiny.header([16]byte{1})
	size := int64(tiny.total())
	with := func(f func(*header)) header {
		h := good
		f(&h)
		return h
	}
	for _, test := range []struct {
		name string
		file string
		h    header
		size int64
		seal int
		want string // part of the error, "" for none
	}{
		{"good", segmentName, good, size, seals, ""},
		{"other name", "other", good, size, seals, "no port"},
		{"not sealed", segmentName, good, size, 0, "seals"},
		{"may shrink", segmentName, good, size, unix.F_SEAL_GROW | unix.F_SEAL_SEAL, "seals"},
		{"empty", segmentName, good, 0, seals, "EOF"},
		{"too short", segmentName, good, size - pageLen, seals, "bytes"},
		{"too long", segmentName, good, size + pageLen, seals, "bytes"},
		{"magic", segmentName, with(func(h *header) { h.magic++ }), size, seals, "magic"},
		{"version", segmentName, with(func(h *header) { h.version = 99 }), size, seals, "version 99"},
		{"nonce", segmentName, with(func(h *header) { h.nonce[15] = 1 }), size, seals, "another port"},
		{"no endpoints", segmentName, with(func(h *header) { h.endpoints = 0 }), size, seals, "0 endpoints"},
		{"many endpoints", segmentName, with(func(h *header) { h.endpoints = 1 << 40 }), size, seals, "endpoints"},
		{"overflow", segmentName, with(func(h *header) { h.endpoints = 1 << 63 }), size, seals, "header"},
		{"regions", segmentName, with(func(h *header) { h.regions = 255 }), size, seals, "255 regions"},
		{"slots", segmentName, with(func(h *header) { h.slots = 9 }), size, seals, "9 slots"},
		{"bulk", segmentName, with(func(h *header) { h.bulk = 1 << 40 }), size, seals, "bulk"},
		{"MTU", segmentName, with(func(h *header) { h.mtu = 512 }), size, seals, "512"},
		{"memory", segmentName, with(func(h *header) { h.memory = 1 << 45 }), size, seals, "device memory"},
		{"odd memory", segmentName, with(func(h *header) { h.memory++ }), size, seals, "device memory"},
		{"other memory", segmentName, with(func(h *header) { h.memory += hugeLen }), size, seals, "bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			g, err := openSegment(forge(t, test.file, test.h, test.size, test.seal))
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v, want %q", err, test.want)
			}
			if err == nil {
				g.unmap()
			}
		})
	}
}

// Addresses that point at other things than ports.
func TestWrongFile(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	file, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c, err := p.Open(fabric.Any, 1)
	if err != nil {
		t.Fatal(err)
	}
	for name, a := range map[string]address{
		"pipe":            {pid: p.addr.pid, fd: uint32(r.Fd()), start: p.addr.start},
		"file":            {pid: p.addr.pid, fd: uint32(file.Fd()), start: p.addr.start},
		"no descriptor":   {pid: p.addr.pid, fd: 9999, start: p.addr.start},
		"other nonce":     {pid: p.addr.pid, fd: p.addr.fd, start: p.addr.start},
		"other start":     {pid: p.addr.pid, fd: p.addr.fd, start: p.addr.start + 1, nonce: p.addr.nonce},
		"no process":      {pid: 1 << 29, fd: 3},
		"process 1":       {pid: 1, fd: 0},
		"parent":          {pid: uint32(os.Getppid()), fd: 1},
		"descriptor of a": {pid: uint32(os.Getppid()), fd: p.addr.fd, nonce: p.addr.nonce},
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.Connect(a.String(), 0); !errors.Is(err, fabric.ErrUnreachable) {
				t.Fatalf("error %v, want ErrUnreachable", err)
			}
			if g, err := openSegment(a); err == nil {
				g.unmap()
				if name != "other start" { // which the segment doesn't know
					t.Fatal("opened")
				}
			}
		})
	}
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"endpoints":  {Endpoints: 5000},
		"negative":   {Endpoints: -1},
		"reserved":   {Reserved: 2000},
		"regions":    {Regions: 100},
		"slots":      {Slots: 100},
		"bulk":       {Bulk: 100},
		"MTU":        {MTU: 1 << 20},
		"small MTU":  {MTU: 1},
		"memory":     {Memory: 1 << 50},
		"negative M": {Memory: -8 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			if p, err := Open(o); err == nil {
				p.Close()
				t.Fatalf("opened with %+v", o)
			}
		})
	}
}

// Ports of different shapes work together if the receiver's MTU is large enough.
func TestShapes(t *testing.T) {
	small, err := Open(Options{Slots: 16, Bulk: 8 << 10, MTU: 1 << 10, Endpoints: 2, Memory: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer small.Close()
	big, err := Open(Options{Memory: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer big.Close()
	cs, _ := small.Open(0, 1)
	cb, _ := big.Open(0, 2)
	if err := cb.Connect(small.Addr(), 0); !errors.Is(err, fabric.ErrUnreachable) || !strings.Contains(err.Error(), "1024") {
		t.Fatalf("a large MTU to a small one: %v", err)
	}
	if err := cs.Connect(big.Addr(), 0); err != nil {
		t.Fatal(err)
	}
	if !cs.Send(&fabric.Header{}, make([]byte, 1<<10), nil) {
		t.Fatal("no room")
	}
}
