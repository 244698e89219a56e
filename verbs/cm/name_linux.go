package cm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A name holds a port of this machine for a user: an abstract Unix socket, which needs no file and ends with its process. Whoever
// connects gets one line: the greeting and the address of the NIC.
type name struct {
	socket *net.UnixListener
	answer []byte
	ended  sync.WaitGroup
}

const (
	greeting    = "outboard-cm 1 "
	nameTimeout = 2 * time.Second // in which the other end of the socket must do its part
)

// socketName is the abstract name of a port.
func socketName(port uint16) *net.UnixAddr {
	return &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("@outboard/cm/%d/%d", os.Getuid(), port)}
}

// hold takes a port for a NIC.
func hold(port uint16, nic string) (*name, error) {
	s, err := net.ListenUnix("unix", socketName(port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%w: port %d: %w", ErrInUse, port, err)
	} else if err != nil {
		return nil, err
	}
	n := &name{socket: s, answer: []byte(greeting + nic + "\n")}
	n.ended.Go(n.serve)
	return n, nil
}

func (n *name) release() {
	n.socket.Close()
	n.ended.Wait()
}

// serve answers one after the other: an answer fits the socket's buffer, so nobody can hold it up.
func (n *name) serve() {
	for {
		conn, err := n.socket.AcceptUnix()
		switch {
		case err == nil:
			n.tell(conn)
		case errors.Is(err, net.ErrClosed):
			return
		default:
			time.Sleep(10 * time.Millisecond) // out of file descriptors, for example
		}
	}
}

func (n *name) tell(conn *net.UnixConn) {
	defer conn.Close()
	if _, err := peerOf(conn); err == nil {
		_ = conn.SetDeadline(time.Now().Add(nameTimeout))
		_, _ = conn.Write(n.answer) // whoever has left does not need it
	}
}

// ask finds out which NIC a port of this machine is at, and the process that says so. The error is ctx's if it is over.
func ask(ctx context.Context, port uint16) (nic string, pid int, err error) {
	limited, cancel := context.WithTimeout(ctx, nameTimeout)
	defer cancel()
	nic, pid, err = askWithin(limited, port)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		err = ctx.Err()
	case limited.Err() != nil:
		err = fmt.Errorf("%w: process %d, which holds the name of port %d", errNoAnswer, pid, port)
	}
	return nic, pid, err
}

func askWithin(ctx context.Context, port uint16) (nic string, pid int, err error) {
	c, err := new(net.Dialer).DialContext(ctx, "unix", socketName(port).Name)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "", 0, nobodyListens(port)
	} else if err != nil {
		return "", 0, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	conn := c.(*net.UnixConn)
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if pid, err = peerOf(conn); err != nil {
		return "", 0, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	line, err := bufio.NewReader(io.LimitReader(conn, int64(len(greeting)+maxAddr+1))).ReadString('\n')
	if err != nil {
		return "", pid, fmt.Errorf("%w: process %d at port %d: %w", ErrUnreachable, pid, port, err)
	}
	nic, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), greeting)
	if !ok || !goodNIC(nic) {
		return "", 0, fmt.Errorf("%w: process %d at port %d says %q, expected %q and an address", ErrUnreachable, pid, port, line, greeting)
	}
	return nic, pid, nil
}

// peerOf returns the process at the other end, which must be of this user, or of root.
func peerOf(conn *net.UnixConn) (pid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	if e := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); e != nil {
		return 0, e
	}
	if err != nil {
		return 0, os.NewSyscallError("getsockopt", err)
	}
	if uid := os.Getuid(); cred.Uid != 0 && int(cred.Uid) != uid {
		return 0, fmt.Errorf("process %d is of user %d, expected %d", cred.Pid, cred.Uid, uid)
	}
	return int(cred.Pid), nil
}
