package shm

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A watcher tells of processes that end. Its goroutine starts with the first process and blocks in
// poll(2).
type watcher struct {
	tell func() // called after each round in which a process had ended

	mu      sync.Mutex
	peers   map[*remote]bool
	dropped []int // pidfds to close: only the goroutine does, which may be polling them
	kick    int   // eventfd, valid while done is not nil
	done    chan struct{}
	over    bool
}

// add watches a peer. It takes over the peer's pidfd, also when it fails.
func (w *watcher) add(r *remote) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		unix.Close(r.pidfd)
		return os.ErrClosed
	}
	if w.done == nil {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			unix.Close(r.pidfd)
			return os.NewSyscallError("eventfd", err)
		}
		w.kick, w.done, w.peers = fd, make(chan struct{}), map[*remote]bool{}
		go w.run(w.done)
	}
	w.peers[r] = true
	w.wakeUp()
	return nil
}

// drop ends the watch of a peer.
func (w *watcher) drop(r *remote) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.peers[r] {
		delete(w.peers, r)
		w.dropped = append(w.dropped, r.pidfd)
		w.wakeUp()
	}
}

// close ends the goroutine and waits for it.
func (w *watcher) close() {
	w.mu.Lock()
	if w.over || w.done == nil {
		w.over = true
		w.mu.Unlock()
		return
	}
	w.over = true
	w.wakeUp()
	w.mu.Unlock()
	<-w.done
}

// wakeUp makes the goroutine look at the peers again. The caller holds mu.
func (w *watcher) wakeUp() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(w.kick, one[:]) // fails only if it is signalled already
}

func (w *watcher) run(done chan struct{}) {
	defer close(done)
	for {
		fds, peers, over := w.prepare()
		if over {
			return
		}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		w.report(fds[1:], peers)
	}
}

// prepare lists what to poll; the first is the eventfd.
func (w *watcher) prepare() (fds []unix.PollFd, peers []*remote, over bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var count [8]byte
	_, _ = unix.Read(w.kick, count[:])
	for _, fd := range w.dropped {
		unix.Close(fd)
	}
	w.dropped = nil
	if w.over {
		for r := range w.peers {
			unix.Close(r.pidfd)
		}
		w.peers = nil
		unix.Close(w.kick)
		return nil, nil, true
	}
	fds = append(fds, unix.PollFd{Fd: int32(w.kick), Events: unix.POLLIN})
	for r := range w.peers {
		if !r.dead.Load() {
			fds = append(fds, unix.PollFd{Fd: int32(r.pidfd), Events: unix.POLLIN})
			peers = append(peers, r)
		}
	}
	return fds, peers, false
}

func (w *watcher) report(fds []unix.PollFd, peers []*remote) {
	some := false
	for i, r := range peers {
		if fds[i].Revents != 0 {
			r.dead.Store(true)
			some = true
		}
	}
	if some {
		w.tell()
	}
}
