package shm

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"outboard/verbs/fabric/internal/port"
	"outboard/verbs/fabric/internal/ring"
)

// seals is what makes a segment safe to map: it can't be cut short under those who mapped it.
const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

const segmentName = "outboard"

// A segment is the memory of a port, ours or a peer's, mapped. The control part and the device memory
// are mapped apart, the latter when first needed. What is mapped is unmapped by
// unmap, or once nothing refers to the segment any more: so whatever looks into the memory must
// hold the segment.
type segment struct {
	shape
	base    unsafe.Pointer
	cleanup runtime.Cleanup

	mu     sync.Mutex
	file   *os.File       // until mapped or, for our own, closed
	memory unsafe.Pointer // device memory, nil until mapped
	over   runtime.Cleanup
}

// createSegment makes the memory of a new port.
func createSegment(s shape, nonce [16]byte) (*segment, error) {
	fd, err := unix.MemfdCreate(segmentName, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), segmentName)
	g, err := func() (*segment, error) {
		if err := unix.Ftruncate(fd, int64(s.total())); err != nil {
			return nil, os.NewSyscallError("ftruncate", err)
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
			return nil, os.NewSyscallError("fcntl F_ADD_SEALS", err)
		}
		return mapSegment(f, s)
	}()
	if err != nil {
		f.Close()
		return nil, err
	}
	*(*header)(g.base) = s.header(nonce)
	return g, nil
}

// openSegment maps the memory that a describes, after checking that it is what a says.
func openSegment(a address) (*segment, error) {
	name, err := os.Readlink(a.file())
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(name, "/memfd:"+segmentName) {
		return nil, fmt.Errorf("%s is %s, no port", a.file(), name)
	}
	f, err := os.OpenFile(a.file(), os.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	g, err := checkSegment(f, a)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", a.file(), err)
	}
	return g, nil
}

func checkSegment(f *os.File, a address) (*segment, error) {
	got, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl F_GET_SEALS", err)
	}
	if got&seals != seals {
		return nil, fmt.Errorf("seals %#x, want %#x", got, seals)
	}
	var h header
	if _, err := f.ReadAt(unsafe.Slice((*byte)(unsafe.Pointer(&h)), unsafe.Sizeof(h)), 0); err != nil {
		return nil, err
	}
	if h.magic != magic || h.version != version {
		return nil, fmt.Errorf("magic %#x version %d, want %#x version %d", h.magic, h.version, uint64(magic), version)
	}
	if h.nonce != a.nonce {
		return nil, errors.New("another port's memory")
	}
	s, err := shapeOf(&h)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() != int64(s.total()) {
		return nil, fmt.Errorf("%d bytes, want %d", info.Size(), s.total())
	}
	return mapSegment(f, s)
}

// mapSegment maps all but the device memory.
func mapSegment(f *os.File, s shape) (*segment, error) {
	base, err := mapFile(f, 0, s.memoryOff())
	if err != nil {
		return nil, err
	}
	g := &segment{shape: s, base: base, file: f}
	g.cleanup = runtime.AddCleanup(g, unmapPart, part{base, s.memoryOff()})
	return g, nil
}

// mapFile maps n bytes of a file, a multiple of the page, at an address that is a multiple of 2 MiB, so that the
// kernel can use huge pages.
func mapFile(f *os.File, off, n int) (unsafe.Pointer, error) {
	room, err := unix.MmapPtr(-1, 0, nil, uintptr(n+hugeLen), unix.PROT_NONE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	skip := -uintptr(room) & (hugeLen - 1)
	at := unsafe.Add(room, skip)
	if _, err := unix.MmapPtr(int(f.Fd()), int64(off), at, uintptr(n), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_SHARED|unix.MAP_FIXED|unix.MAP_NORESERVE); err != nil {
		_ = unix.MunmapPtr(room, uintptr(n+hugeLen))
		return nil, os.NewSyscallError("mmap", err)
	}
	if skip > 0 {
		_ = unix.MunmapPtr(room, skip)
	}
	if skip < hugeLen {
		_ = unix.MunmapPtr(unsafe.Add(at, n), hugeLen-skip)
	}
	return at, nil
}

type part struct {
	at unsafe.Pointer
	n  int
}

func unmapPart(p part) { _ = unix.MunmapPtr(p.at, uintptr(p.n)) }

// device returns the device memory.
func (g *segment) device() (unsafe.Pointer, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.memory != nil || g.shape.memory == 0 {
		return g.memory, nil
	}
	if g.file == nil {
		return nil, errors.New("shm: segment closed")
	}
	at, err := mapFile(g.file, g.memoryOff(), g.shape.memory)
	if err != nil {
		return nil, err
	}
	g.memory = at
	g.over = runtime.AddCleanup(g, unmapPart, part{at, g.shape.memory})
	return at, nil
}

// closeFile gives the descriptor back; what is mapped stays.
func (g *segment) closeFile() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.file != nil {
		g.file.Close()
		g.file = nil
	}
}

// unmapDevice unmaps the device memory, which nobody uses any more.
func (g *segment) unmapDevice() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.memory != nil {
		g.over.Stop()
		unmapPart(part{g.memory, g.shape.memory})
		g.memory = nil
	}
}

// unmap unmaps everything. Nobody uses it any more.
func (g *segment) unmap() {
	g.closeFile()
	g.unmapDevice()
	g.cleanup.Stop()
	unmapPart(part{g.base, g.memoryOff()})
}

func (g *segment) control() *port.Control {
	return (*port.Control)(unsafe.Add(g.base, controlOff))
}

func (g *segment) ring(ep int) ring.Ring {
	return ring.At(unsafe.Add(g.base, g.ringOff(ep)), g.shape.ring)
}

func (g *segment) table(own bool) *port.Table {
	return port.MapTable(unsafe.Add(g.base, g.tableOff()), g.regions, own)
}
