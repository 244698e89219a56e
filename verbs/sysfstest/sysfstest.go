// Package sysfstest shows a process a made-up /sys/class, so that what reads the RDMA devices of the kernel can be
// tested on machines that have none.
//
// A test calls Run, which starts the test binary again in user, mount and network namespaces of its own; TestMain calls
// Child, which lays out the tree there and runs what is to be tested.
package sysfstest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// variable is the environment variable that makes a process a child: a JSON request.
const variable = "SYSFSTEST_CHILD"

type request struct {
	Tree string
	Args []string
}

const (
	exitLayout = 96 // the tree could not be laid out
	exitSkip   = 97 // this machine makes no network interfaces
)

// Run starts the test binary as a child with a tree and arguments for the function that its TestMain gives to Child,
// and returns what it wrote and its exit code. The test is skipped on a machine that forbids it.
func Run(t testing.TB, tree string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	req, err := json.Marshal(request{tree, args})
	if err != nil {
		t.Fatal(err)
	}
	var out, complaints bytes.Buffer
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), variable+"="+string(req))
	cmd.Stdout, cmd.Stderr = &out, &complaints
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
	case errors.Is(err, fs.ErrPermission):
		t.Skipf("this machine allows no user namespaces: %v", err)
	case err != nil:
		t.Fatal(err)
	}
	switch code = cmd.ProcessState.ExitCode(); code {
	case exitSkip:
		t.Skip(complaints.String())
	case exitLayout:
		t.Fatal(complaints.String())
	}
	return out.String(), complaints.String(), code
}

// Child does nothing unless the process was started by Run. Then it lays out the tree, calls run and ends the process
// with its result.
func Child(run func(args []string) int) {
	text, ok := os.LookupEnv(variable)
	if !ok {
		return
	}
	var req request
	err := json.Unmarshal([]byte(text), &req)
	if err == nil {
		err = layOut(req.Tree)
	}
	switch {
	case errors.Is(err, errNoInterfaces):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitSkip)
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitLayout)
	}
	os.Exit(run(req.Args))
}

// class is the folder that a tree covers; characters holds what the kernel offers to all devices, and is emptied.
const (
	class      = "/sys/class"
	characters = "/dev/infiniband"
)

// layOut covers /sys/class with a tree, in the words of one line each, with paths relative to that folder:
//
//	PATH = TEXT       a file that holds the text and a newline; none if there is no text
//	PATH := QUOTED    a file that holds a Go string, to the byte
//	PATH -> TARGET    a symbolic link
//	PATH/             a folder
//	netdev NAME       a network interface of type Ethernet
//	ipoib NAME        one of type InfiniBand that lacks its hardware address
//
// Folders on the way to a path are made too. Empty lines and those that begin with # are skipped.
func layOut(tree string) error {
	if err := unix.Mount("tmpfs", class, "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("cover %s: %w", class, err)
	}
	if err := unix.Mount("tmpfs", characters, "tmpfs", 0, ""); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cover %s: %w", characters, err)
	}
	for line := range strings.Lines(tree) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if err := layLine(line); err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
	}
	return nil
}

func layLine(line string) error {
	path, rest, _ := strings.Cut(line, " ")
	switch path {
	case "netdev":
		return addInterface(rest, unix.IFF_TAP, unix.ARPHRD_ETHER)
	case "ipoib":
		return addInterface(rest, unix.IFF_TUN, unix.ARPHRD_INFINIBAND)
	}
	full := filepath.Join(class, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	sign, value, _ := strings.Cut(rest, " ")
	switch {
	case rest == "" && strings.HasSuffix(path, "/"):
		return os.MkdirAll(full, 0o755)
	case sign == "->":
		return os.Symlink(value, full)
	case sign == "=":
		if value != "" {
			value += "\n"
		}
	case sign == ":=":
		var err error
		if value, err = strconv.Unquote(value); err != nil {
			return err
		}
	default:
		return errors.New("want PATH = TEXT, PATH := QUOTED, PATH -> TARGET or PATH/")
	}
	return os.WriteFile(full, []byte(value), 0o644)
}

var errNoInterfaces = errors.New("this machine makes no network interfaces")

// addInterface makes an interface that lives as long as the process.
func addInterface(name string, kind uint16, link int) error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%w: /dev/net/tun: %w", errNoInterfaces, err)
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	req.SetUint16(kind | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return fmt.Errorf("%w: TUNSETIFF: %w", errNoInterfaces, err)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETLINK, link); err != nil {
		return fmt.Errorf("%w: TUNSETLINK: %w", errNoInterfaces, err)
	}
	return nil
}
