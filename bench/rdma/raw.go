package rdma

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"outboard/bench"
	"outboard/mpi"
	"outboard/verbs"
)

// Names of the experiments that measure the machine.
const (
	RawLine    = "raw_line_lat"
	RawCopy    = "raw_copy_bw"
	RawVMRead  = "raw_vm_read_bw"
	RawVMWrite = "raw_vm_write_bw"
)

func rawBenchmarks() []*bench.Benchmark {
	bandwidth := func(name, summary string, run func(*mpi.Comm, int) (float64, error)) *bench.Benchmark {
		u := units[Bandwidth]
		return &bench.Benchmark{Name: name, Summary: summary, Unit: u.unit, Better: u.better,
			Sizes: []int{1 << 20}, MinRanks: 2, MinSize: 1, Multiple: 1, Run: run}
	}
	return []*bench.Benchmark{
		{Name: RawLine, Summary: "half round trip of a cache line", Unit: units[Latency].unit, Better: units[Latency].better,
			Sizes: []int{8}, MinRanks: 2, MinSize: 8, Multiple: 8, Run: rawLine},
		bandwidth(RawCopy, "Go's copy", rawCopy),
		bandwidth(RawVMRead, "process_vm_readv", rawVM(false)),
		bandwidth(RawVMWrite, "process_vm_writev", rawVM(true)),
	}
}

// rawLoops are the batches and counts of the verbs' experiments of the same size.
func rawLoops(m Metric, size int) (batches, count int) {
	return experiment{metric: m}.loops(size)
}

// page is memory of both processes, with a line for each direction.
type page struct {
	ping atomic.Uint64
	_    [lineSize - 8]byte
	pong atomic.Uint64
}

// pageLen is the length of the mapping, in bytes.
const pageLen = 4096

// rawLine returns half of the round trip of a cache line in microseconds. The size does not matter.
func rawLine(c *mpi.Comm, _ int) (float64, error) {
	p, err := sharedPage(c)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.MunmapPtr(unsafe.Pointer(p), pageLen) }()
	batches, count := rawLoops(Latency, 8)
	seconds, err := measure(c, &lineRally{page: p, rank: c.Rank()}, batches, count)
	return seconds * 1e6, err
}

// lineRally is the least that can be a ping-pong.
type lineRally struct {
	*page
	rank  int
	total uint64
}

func (r *lineRally) run(count int) (float64, error) {
	elapsed := clock()
	for range count {
		r.total++
		if r.rank == 0 {
			r.ping.Store(r.total)
			awaitWord(&r.pong, r.total)
		} else {
			awaitWord(&r.ping, r.total)
			r.pong.Store(r.total)
		}
	}
	return elapsed() / 2, nil
}

func awaitWord(w *atomic.Uint64, v uint64) {
	for idle := 0; ; idle++ {
		for range spinLoads {
			if w.Load() == v {
				return
			}
		}
		yield(idle)
	}
}

// sharedPage maps a page that both ranks see.
func sharedPage(c *mpi.Comm) (*page, error) {
	var mine, theirs struct {
		PID, FD int
		Err     string
	}
	if c.Rank() == 0 {
		mine.PID = os.Getpid()
		fd, err := unix.MemfdCreate("outboard-bench", unix.MFD_CLOEXEC)
		if err == nil {
			defer unix.Close(fd)
			err = unix.Ftruncate(fd, pageLen)
		}
		if mine.FD = fd; err != nil {
			mine.Err = err.Error()
		}
	}
	if err := exchange(c, mine, &theirs); err != nil {
		return nil, err
	}
	if e := mine.Err + theirs.Err; e != "" {
		return nil, fmt.Errorf("memory for two processes: %s", e)
	}
	fd := mine.FD
	if c.Rank() == 1 {
		var err error
		if fd, err = unix.Open(fmt.Sprintf("/proc/%d/fd/%d", theirs.PID, theirs.FD), unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
			return nil, os.NewSyscallError("open", err)
		}
		defer unix.Close(fd)
	}
	at, err := unix.MmapPtr(fd, 0, nil, pageLen, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return (*page)(at), c.Barrier() // rank 0 keeps the file open until then
}

// copies are rounds of a copy by rank 0 while rank 1 rests.
type copies struct {
	rank int
	move func() error
}

func (r *copies) run(count int) (float64, error) {
	elapsed := clock()
	if r.rank == 0 {
		for range count {
			if err := r.move(); err != nil {
				return 0, err
			}
		}
	}
	return elapsed(), nil
}

// copyPiece is what one copy is asked to move, in bytes: from 1 MiB on Go's copy goes round the cache (amd64), which makes it
// half as fast on memory that is in it.
const copyPiece = 512 << 10

func copyHot(dst, src []byte) {
	for len(src) > 0 {
		n := copy(dst, src[:min(len(src), copyPiece)])
		dst, src = dst[n:], src[n:]
	}
}

// rawCopy returns the rate of Go's copy in MB/s.
func rawCopy(c *mpi.Comm, size int) (float64, error) {
	dst, src := make([]byte, size), make([]byte, size)
	pattern(src, 0, 0)
	batches, count := rawLoops(Bandwidth, size)
	move := func() error { copyHot(dst, src); return nil }
	seconds, err := measure(c, &copies{c.Rank(), move}, batches, count)
	if err == nil && c.Rank() == 0 {
		err = mustEqual(dst, src)
	}
	return float64(size) / seconds / 1e6, err
}

// rawVM returns the benchmark of cross-memory attach alone, on memory as the verbs use it.
func rawVM(write bool) func(*mpi.Comm, int) (float64, error) {
	op := operation{"raw", "process_vm_readv", verbs.Read}
	if write {
		op = operation{"raw", "process_vm_writev", verbs.Write}
	}
	return func(c *mpi.Comm, size int) (value float64, err error) {
		e := experiment{fabric: bench.Shm, op: op, metric: Bandwidth, memory: Go}
		if err := e.check(c.Size(), size); err != nil {
			return 0, err
		}
		l, err := e.join(c, size)
		if err != nil {
			return 0, err
		}
		defer func() {
			if e := l.close(); err == nil {
				err = e
			}
		}()
		var pid int
		if err := exchange(c, os.Getpid(), &pid); err != nil {
			return 0, err
		}
		batches, count := rawLoops(Bandwidth, size)
		move := func() error { return vmCopy(pid, l.local.b[:size], uintptr(l.peer.Open), write) }
		seconds, err := measure(c, &copies{c.Rank(), move}, batches, count)
		if err != nil {
			return 0, err
		}
		if err := c.Barrier(); err != nil {
			return 0, err
		}
		return float64(size) / seconds / 1e6, l.verify(0)
	}
}

// vmCopy moves all of b from or to an address of another process.
func vmCopy(pid int, b []byte, at uintptr, write bool) error {
	for len(b) > 0 {
		here := []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}
		there := []unix.RemoteIovec{{Base: at, Len: len(b)}}
		var n int
		var err error
		if write {
			n, err = unix.ProcessVMWritev(pid, here, there, 0)
		} else {
			n, err = unix.ProcessVMReadv(pid, here, there, 0)
		}
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return os.NewSyscallError("process_vm", err)
		case n == 0:
			return fmt.Errorf("%w: process_vm moved nothing of %d bytes", bench.ErrWrong, len(b))
		}
		b, at = b[n:], at+uintptr(n)
	}
	return nil
}
