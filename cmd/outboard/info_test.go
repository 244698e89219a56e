package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"outboard/verbs"
	"outboard/verbs/sysfstest"
)

// TestMain runs the tests, or, in the namespaces of a child, a command line.
func TestMain(m *testing.M) {
	sysfstest.Child(func(args []string) int { return dispatch(stdio{os.Stdin, os.Stdout, os.Stderr}, args) })
	os.Exit(m.Run())
}

// TestInfoOfHosts runs `outboard info` on made-up hosts. A file of testdata/info lays out a host in the words of
// sysfstest, and shows what command lines print there. `go test -run TestInfoOfHosts -rewrite` writes the outputs
// anew: commit them only if you know why they changed.
func TestInfoOfHosts(t *testing.T) {
	datadriven.Walk(t, "testdata/info", func(t *testing.T, path string) {
		var tree string
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "host":
				tree = d.Input
				return ""
			case "run":
				stdout, stderr, code := sysfstest.Run(t, tree, strings.Fields(d.Input)...)
				if code != exitOK {
					return fmt.Sprintf("%s%scode %d\n", stdout, stderr, code)
				}
				return stable(stdout) + stderr
			}
			d.Fatalf(t, "unknown command")
			return ""
		})
	})
}

// volatile are the names that the emulated device has from its address, which differ from process to process, and
// what the machine adds.
var volatile = []struct {
	pattern *regexp.Regexp
	stable  string
}{
	{regexp.MustCompile(`(hca_id:\temu0\n(?:\t.*\n)*?\tnode_guid:\t+)\S+`), "${1}G"},
	{regexp.MustCompile(`(hca_id:\temu0\n(?:\t.*\n)*?\tsys_image_guid:\t+)\S+`), "${1}G"},
	{regexp.MustCompile(`(hca_id:\temu0\n(?:\t.*\n)*?\t+port_lid:\t+)\S+`), "${1}L"},
	{regexp.MustCompile(`(hca_id:\temu0\n(?:\t.*\n)*?\t+GID\[  0\]:\t+fe80:0000:0000:0000:)[0-9a-f:]{19},`), "${1}G,"},
	{regexp.MustCompile(`(hca_id:\temu0\n(?:\t.*\n)*?\t+GID\[  1\]:\t+fd)[0-9a-f:]{37},`), "${1}X,"},
	{regexp.MustCompile(`(?s)\n\nFabric inproc\n.*\n\nFabric shm\n.*\n\nProcessor\n.*\n\nLimits\n.*`), "\n\n(fabrics, processor and limits)\n"},
}

func stable(out string) string {
	for _, v := range volatile {
		out = v.pattern.ReplaceAllString(out, v.stable)
	}
	return out
}

// A value stands in its column, or one tab behind a key that is too long.
func TestDevinfoLayout(t *testing.T) {
	for _, tt := range []struct {
		level, column int
		key, want     string
	}{
		{1, 40, "fw_ver", "\tfw_ver:\t\t\t\tx\n"},
		{1, 40, "max_total_mcast_qp_attach", "\tmax_total_mcast_qp_attach:\tx\n"},
		{1, 40, "max_res_rd_atom", "\tmax_res_rd_atom:\t\tx\n"},
		{3, 48, "state", "\t\t\tstate:\t\t\tx\n"},
		{3, 48, "max_mtu", "\t\t\tmax_mtu:\t\tx\n"},
		{4, 64, strings.Repeat("k", 40), "\t\t\t\t" + strings.Repeat("k", 40) + ":\tx\n"},
	} {
		var b strings.Builder
		devinfo{Writer: &b}.line(tt.level, tt.column, tt.key, "%s", "x")
		if b.String() != tt.want {
			t.Errorf("%q, want %q", b.String(), tt.want)
		}
	}
}

func TestMTUCode(t *testing.T) {
	for bytes, want := range map[int]int{0: 0, 256: 1, 512: 2, 1024: 3, 2048: 4, 4096: 5} {
		if got := mtuCode(bytes); got != want {
			t.Errorf("%d bytes have code %d, want %d", bytes, got, want)
		}
	}
}

// A device without shared receive queues and tag matching is shown as ibv_devinfo shows it.
func TestDevinfoOfLess(t *testing.T) {
	var b strings.Builder
	w := devinfo{Writer: &b}
	w.attributes(&verbs.DeviceAttr{CapFlags: 1 << 31})
	w.extended(&verbs.DeviceAttr{})
	for text, want := range map[string]bool{
		"\tmax_srq:\t\t\t0\n": true, "max_srq_wr": false, "max_srq_sge": false, "\ttag matching not supported\n": true, "max_num_tags": false,
		"\tdevice_cap_flags:\t\t0x80000000\n\t\t\t\t\tUnknown flags: 0x80000000\n": true,
	} {
		if strings.Contains(b.String(), text) != want {
			t.Errorf("%q is shown: %v, want %v, in\n%s", text, !want, want, b.String())
		}
	}
}
