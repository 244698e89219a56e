package cm

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"

	"outboard/verbs"
)

const addressForm = "host:port or NIC/port"

// maxAddr bounds the address of a NIC (fabric.Port.Addr).
const maxAddr = 200

// At is the address of a port at one NIC, named by its verbs.Context.Addr.
func At(nic string, port uint16) string { return fmt.Sprintf("%s/%d", nic, port) }

// parse takes an address apart. nic is empty for one that holds on the whole machine.
func parse(op, address string) (nic string, port uint16, err error) {
	shown := fmt.Sprintf("%.250q", address)
	at := strings.LastIndexAny(address, "/:")
	if at < 0 {
		return "", 0, fail(op, "", ErrAddress, "%s: expected %s", shown, addressForm)
	}
	n, err := strconv.ParseUint(address[at+1:], 10, 16)
	if err != nil || address[at+1] == '+' {
		return "", 0, fail(op, "", ErrAddress, "%s: expected a port from 0 to 65535 at the end", shown)
	}
	if address[at] == '/' {
		nic = address[:at]
		if !goodNIC(nic) {
			return "", 0, fail(op, "", ErrAddress, "%s: expected the address of a NIC, 1 to %d printable characters", shown, maxAddr)
		}
		return nic, uint16(n), nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fail(op, "", ErrAddress, "%s: expected %s", shown, addressForm)
	}
	if !isHere(host) {
		return "", 0, fail(op, address, ErrUnreachable, "host %q: expected this one, no fabric reaches another", host)
	}
	return "", uint16(n), nil
}

// goodNIC accepts what a NIC's address can be.
func goodNIC(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= maxAddr
}

// isHere tells whether a host name stands for this machine.
func isHere(host string) bool {
	if host == "" || host == "localhost" {
		return true
	}
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	own, err := os.Hostname()
	return err == nil && host == own
}

// resolve finds the NIC and the port that an address stands for.
func resolve(ctx context.Context, dev *verbs.Context, address string) (nic string, port uint16, err error) {
	const op = "dial"
	nic, port, err = parse(op, address)
	switch {
	case err != nil:
		return "", 0, err
	case port == 0:
		return "", 0, fail(op, address, ErrAddress, "port 0: expected 1 to 65535")
	case nic != "":
		return nic, port, nil
	}
	nic, pid, err := ask(ctx, port)
	if err != nil {
		return "", 0, &Error{Op: op, Addr: address, Err: err}
	}
	mine, _, _ := strings.Cut(dev.Addr(), ":")
	wire, _, _ := strings.Cut(nic, ":")
	if mine != wire || wire == inProcess && pid != os.Getpid() {
		return "", 0, fail(op, address, ErrUnreachable,
			"process %d listens on the wire %s, this context is on %s of process %d", pid, wire, mine, os.Getpid())
	}
	return nic, port, nil
}

// inProcess is the wire that does not leave the process.
const inProcess = "inproc"

// somePorts are candidates for a port that is free, of the dynamic ones (RFC 6335).
func somePorts() []uint16 {
	const first, count, tries = 49152, 1 << 14, 200
	ports := make([]uint16, tries)
	for i := range ports {
		ports[i] = first + uint16(rand.IntN(count))
	}
	return ports
}
