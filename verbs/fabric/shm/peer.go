package shm

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/internal/port"
	"outboard/verbs/fabric/internal/ring"
)

// A remote is a port that a Port dialled. All Conns of the Port to it share it.
type remote struct {
	addr  address
	seg   *segment
	table *port.Table
	attr  fabric.Attr
	local *Port // set if it is a port of this process
	users int   // Conns, under Port.mu
	pidfd int   // of its process, belongs to the watcher; unless local
	noCMA bool

	dead    atomic.Bool // its process has ended
	refused atomic.Bool // the kernel forbids to reach its memory

	here  [1]unix.Iovec // arguments of Copy
	there [1]unix.RemoteIovec
}

var _ port.Peer = (*remote)(nil)

func (r *remote) Control() *port.Control { return r.seg.control() }
func (r *remote) Table() *port.Table     { return r.table }
func (r *remote) Attr() fabric.Attr      { return r.attr }
func (r *remote) Ring(ep int) ring.Ring  { return r.seg.ring(ep) }
func (r *remote) Wake()                  { wake(&r.seg.control().Bell) }

// Err implements port.Peer. A port that was closed before its process ended counts as closed.
func (r *remote) Err() error {
	switch {
	case r.Control().Closed():
		return fmt.Errorf("%w: process %d", fabric.ErrPeerClosed, r.addr.pid)
	case r.dead.Load():
		return fmt.Errorf("%w: process %d", fabric.ErrPeerDied, r.addr.pid)
	}
	return nil
}

// Map implements port.Peer. It trusts nothing in h but what Go memory of this process says.
func (r *remote) Map(h *port.Held, off uint64, n int) ([]byte, error) {
	if r.local != nil {
		if size := uint64(len(h.Buf)); off > size || uint64(n) > size-off {
			return nil, r.fault(h, off, n)
		}
		return h.Buf[off : off+uint64(n)], nil
	}
	if h.Seg == 0 {
		return nil, nil
	}
	size, at := uint64(r.seg.shape.memory), h.Seg-1
	if at > size || off > size-at || uint64(n) > size-at-off {
		return nil, r.fault(h, off, n)
	}
	base, err := r.seg.device()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", fabric.ErrRefused, err)
	}
	return unsafe.Slice((*byte)(unsafe.Add(base, at+off)), n), nil
}

// Device implements port.Peer.
func (r *remote) Device() []byte {
	if r.local != nil {
		return nil
	}
	base, err := r.seg.device()
	if err != nil || base == nil {
		return nil
	}
	return unsafe.Slice((*byte)(base), r.seg.shape.memory)
}

func (r *remote) fault(h *port.Held, off uint64, n int) error {
	return fmt.Errorf("%w: %d bytes at offset %d of region %#x of process %d", fabric.ErrFault, n, off, h.Key, r.addr.pid)
}

// Copy implements port.Peer through cross-memory attach.
func (r *remote) Copy(h *port.Held, off uint64, p []byte, write bool) error {
	if r.noCMA || r.refused.Load() || h.Real > math.MaxUint64-off {
		return fmt.Errorf("%w: memory of process %d", fabric.ErrRefused, r.addr.pid)
	}
	if r.dead.Load() {
		return r.Err()
	}
	askHuge(p)
	at := h.Real + off
	for first := true; len(p) > 0; first = false {
		n, err := r.copySome(p[:min(len(p), copyMax)], at, write)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return r.copyError(err, first, at)
		case n <= 0:
			return r.copyError(unix.EFAULT, first, at)
		}
		p, at = p[n:], at+uint64(n)
	}
	if r.dead.Load() { // its pid may be another process's by now
		return r.Err()
	}
	return nil
}

// copyMax is what one system call is asked to move. The kernel moves at most 2 GiB less a page.
const copyMax = 1 << 30

// copySome moves some bytes, fewer than all if the peer's memory ends before.
func (r *remote) copySome(p []byte, at uint64, write bool) (n int, err error) {
	r.here[0] = unix.Iovec{Base: &p[0], Len: uint64(len(p))}
	r.there[0] = unix.RemoteIovec{Base: uintptr(at), Len: len(p)}
	if write {
		n, err = unix.ProcessVMWritev(int(r.addr.pid), r.here[:], r.there[:], 0)
	} else {
		n, err = unix.ProcessVMReadv(int(r.addr.pid), r.here[:], r.there[:], 0)
	}
	r.here[0].Base = nil
	return n, err
}

func (r *remote) copyError(err error, first bool, at uint64) error {
	what := fabric.ErrFault
	switch {
	case errors.Is(err, unix.ESRCH):
		what = fabric.ErrPeerDied
	case first && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS)):
		r.refused.Store(true)
		what = fabric.ErrRefused
	}
	return fmt.Errorf("%w: address %#x of process %d: %w", what, at, r.addr.pid, os.NewSyscallError("process_vm", err))
}
