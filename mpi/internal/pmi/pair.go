package pmi

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Pair returns the two ends of a stream between a launcher and one rank: the
// connection for Server.Serve, and the file that the rank's process inherits
// as PMI_FD. The caller closes both; neither is inherited by itself.
func Pair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours := os.NewFile(uintptr(fds[0]), "pmi")
	theirs := os.NewFile(uintptr(fds[1]), "PMI_FD")
	defer ours.Close() // FileConn has its own duplicate
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn, theirs, nil
}
