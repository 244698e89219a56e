package pmi

import (
	"context"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// maxRanks bounds what a launcher may claim.
const maxRanks = 1 << 20

// helloTimeout is how long FromEnv waits for the launcher.
const helloTimeout = 30 * time.Second

// FromEnv connects to the launcher that started this process. The boolean says
// whether the environment names one; without, the process is alone and the
// client is nil. Only one client of a process can use the launcher's file
// descriptor.
func FromEnv() (*Client, bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), helloTimeout)
	defer cancel()
	return Dial(ctx, os.LookupEnv)
}

// Dial is FromEnv with another environment. It uses PMI_FD with PMI_RANK and
// PMI_SIZE, or else PMI_PORT (host:port) with PMI_ID. A wrong variable is an
// *Error with ErrEnv.
func Dial(ctx context.Context, lookup func(string) (string, bool)) (*Client, bool, error) {
	if _, ok := lookup("PMI_FD"); ok {
		c, err := dialFD(ctx, lookup)
		return c, true, err
	}
	if _, ok := lookup("PMI_PORT"); ok {
		c, err := dialPort(ctx, lookup)
		return c, true, err
	}
	return nil, false, nil
}

// dialFD uses the inherited stream.
func dialFD(ctx context.Context, lookup func(string) (string, bool)) (*Client, error) {
	fd, err := envInt(lookup, "PMI_FD", 3, 1<<20)
	if err != nil {
		return nil, err
	}
	size, err := envInt(lookup, "PMI_SIZE", 1, maxRanks)
	if err != nil {
		return nil, err
	}
	rank, err := envInt(lookup, "PMI_RANK", 0, size-1)
	if err != nil {
		return nil, err
	}
	conn, err := inherit(fd)
	if err != nil {
		return nil, &Error{Op: "dial", What: "PMI_FD", Got: strconv.Itoa(fd), Want: "the launcher's socket: " + err.Error(), Err: ErrEnv}
	}
	return newClient(ctx, conn, rank, size, "")
}

// inherit turns a file descriptor into a connection that our own children do
// not inherit. A descriptor that is no stream socket is left alone: it belongs
// to somebody else.
func inherit(fd int) (net.Conn, error) {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return nil, err
	}
	if kind != unix.SOCK_STREAM {
		return nil, unix.EPROTOTYPE
	}
	f := os.NewFile(uintptr(fd), "PMI_FD")
	defer f.Close() // FileConn has its own duplicate
	return net.FileConn(f)
}

// dialPort connects to a launcher that listens on TCP.
func dialPort(ctx context.Context, lookup func(string) (string, bool)) (*Client, error) {
	id, err := envInt(lookup, "PMI_ID", 0, maxRanks-1)
	if err != nil {
		return nil, err
	}
	addr, _ := lookup("PMI_PORT")
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, &Error{Op: "dial", What: "PMI_PORT", Got: addr, Want: "host:port", Err: ErrEnv}
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, &Error{Op: "dial", What: "PMI_PORT", Got: addr, Want: "a listening launcher: " + err.Error(), Err: ErrGone}
	}
	return newClient(ctx, conn, 0, 0, strconv.Itoa(id))
}

// envInt reads a variable that must be a number from min to max.
func envInt(lookup func(string) (string, bool), name string, min, max int) (int, error) {
	s, ok := lookup(name)
	n, err := strconv.Atoi(s)
	if !ok || err != nil || n < min || n > max {
		want := "a number from " + strconv.Itoa(min) + " to " + strconv.Itoa(max)
		return 0, &Error{Op: "dial", What: name, Got: s, Want: want, Err: ErrEnv}
	}
	return n, nil
}
