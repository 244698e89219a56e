package verbs_test

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outboard/verbs"
	"outboard/verbs/sysfstest"
)

// kernelDevice is a real device as the tests compare it.
type kernelDevice struct {
	verbs.Device
	Sysfs verbs.SysfsDevice
}

// childSysfs is the child's part: it writes the real devices.
func childSysfs([]string) int {
	ds := []kernelDevice{}
	for _, d := range verbs.Devices()[1:] {
		ds = append(ds, kernelDevice{d, d.Sysfs()})
	}
	if err := json.NewEncoder(os.Stdout).Encode(ds); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

const rxeTree = `
	infiniband/rxe0 -> ../devices/rxe0
	devices/rxe0/node_type = 1: CA
	devices/rxe0/node_guid = 5054:00ff:fe12:3456
	devices/rxe0/sys_image_guid = 5054:00ff:fe12:3456
	devices/rxe0/ports/1/state = 4: ACTIVE
	devices/rxe0/ports/1/phys_state = 5: LinkUp
	devices/rxe0/ports/1/rate = 2.5 Gb/sec (1X SDR)
	devices/rxe0/ports/1/link_layer = Ethernet
	devices/rxe0/ports/1/lid = 0x0
	devices/rxe0/ports/1/sm_lid = 0x0
	devices/rxe0/ports/1/lid_mask_count = 0
	devices/rxe0/ports/1/gids/0 = fe80:0000:0000:0000:5054:00ff:fe12:3456
	devices/rxe0/ports/1/gids/1 = 0000:0000:0000:0000:0000:ffff:c0a8:0a01
	devices/rxe0/ports/1/gids/2 = 0000:0000:0000:0000:0000:0000:0000:0000
	devices/rxe0/ports/1/gid_attrs/types/0 = RoCE v2
	devices/rxe0/ports/1/gid_attrs/types/1 = IB/RoCE v1
	devices/rxe0/ports/1/gid_attrs/ndevs/0 = eth7
	devices/rxe0/ports/1/pkeys/0 = 0xffff
	devices/rxe0/ports/1/hw_counters/sent_pkts = 120
	devices/rxe0/ports/1/hw_counters/rcvd_pkts = 99
	devices/rxe0/ports/1/hw_counters/lifespan = 10
`

var rxe = kernelDevice{
	verbs.Device{Name: "rxe0", Ports: []int{1}},
	verbs.SysfsDevice{
		NodeGUID:     verbs.GUID{0x50, 0x54, 0, 0xff, 0xfe, 0x12, 0x34, 0x56},
		SysImageGUID: verbs.GUID{0x50, 0x54, 0, 0xff, 0xfe, 0x12, 0x34, 0x56},
		Ports: []verbs.SysfsPort{{
			Num: 1, State: verbs.PortActive, PhysState: verbs.PhysLinkUp, Rate: "2.5 Gb/sec (1X SDR)", LinkLayer: verbs.LinkEthernet,
			GIDs: []verbs.GIDEntry{
				{GID: verbs.GID{0: 0xfe, 1: 0x80, 8: 0x50, 9: 0x54, 11: 0xff, 12: 0xfe, 13: 0x12, 14: 0x34, 15: 0x56}, Type: verbs.GIDTypeRoCEv2},
				{GID: verbs.GID{10: 0xff, 11: 0xff, 12: 192, 13: 168, 14: 10, 15: 1}, Index: 1, Type: verbs.GIDTypeRoCEv1},
			},
			GIDTblLen: 3, PKeys: []uint16{0xffff},
			HWCounters: []verbs.SysfsCounter{{"lifespan", 10}, {"rcvd_pkts", 99}, {"sent_pkts", 120}},
		}},
	},
}

const mlxTree = `
	infiniband/mlx5_0 -> ../devices/mlx5_0
	infiniband/emu0 -> ../devices/mlx5_0
	infiniband_verbs/uverbs3/ibdev = mlx5_0
	infiniband_mad/umad1/ibdev = mlx5_0
	infiniband_mad/issm1/ibdev = mlx5_0
	infiniband_cm/ucm0/ibdev = mlx5_0
	devices/mlx5_0/node_type = 1: CA
	devices/mlx5_0/fw_ver = 20.31.1014
	devices/mlx5_0/board_id = MT_0000000223
	devices/mlx5_0/hca_type = MT4123
	devices/mlx5_0/hw_rev = 0
	devices/mlx5_0/node_guid = 0c42:a103:0065:8f40
	devices/mlx5_0/sys_image_guid = 0c42:a103:0065:8f40
	devices/mlx5_0/ports/2/state = 1: DOWN
	devices/mlx5_0/ports/2/phys_state = 3: Disabled
	devices/mlx5_0/ports/1/state = 4: ACTIVE
	devices/mlx5_0/ports/1/phys_state = 5: LinkUp
	devices/mlx5_0/ports/1/rate = 200 Gb/sec (4X HDR)
	devices/mlx5_0/ports/1/link_layer = InfiniBand
	devices/mlx5_0/ports/1/lid = 0x1a
	devices/mlx5_0/ports/1/sm_lid = 0x1
	devices/mlx5_0/ports/1/lid_mask_count = 0
	devices/mlx5_0/ports/1/gids/0 = fe80:0000:0000:0000:0c42:a103:0065:8f40
	devices/mlx5_0/ports/1/gid_attrs/types/0 = IB/RoCE v1
	devices/mlx5_0/ports/1/pkeys/0 = 0xffff
	devices/mlx5_0/ports/1/pkeys/1 = 0x0000
	devices/mlx5_0/ports/1/pkeys/2 = 0x8001
	devices/mlx5_0/ports/1/counters/port_xmit_data = 18446744073709551615
	devices/mlx5_0/ports/1/counters/port_rcv_data = 7
	devices/mlx5_0/ports/1/hw_counters/out_of_sequence = 3
`

var mlx = kernelDevice{
	verbs.Device{Name: "mlx5_0", Ports: []int{1, 2}, CharDevs: []string{"/dev/infiniband/issm1", "/dev/infiniband/ucm0", "/dev/infiniband/umad1", "/dev/infiniband/uverbs3"}},
	verbs.SysfsDevice{
		FWVer: "20.31.1014", BoardID: "MT_0000000223", HCAType: "MT4123", HWRev: "0",
		NodeGUID:     verbs.GUID{0x0c, 0x42, 0xa1, 3, 0, 0x65, 0x8f, 0x40},
		SysImageGUID: verbs.GUID{0x0c, 0x42, 0xa1, 3, 0, 0x65, 0x8f, 0x40},
		Ports: []verbs.SysfsPort{
			{
				Num: 1, State: verbs.PortActive, PhysState: verbs.PhysLinkUp, Rate: "200 Gb/sec (4X HDR)", LinkLayer: verbs.LinkInfiniBand,
				LID: 0x1a, SMLID: 1,
				GIDs:      []verbs.GIDEntry{{GID: verbs.GID{0: 0xfe, 1: 0x80, 8: 0x0c, 9: 0x42, 10: 0xa1, 11: 3, 13: 0x65, 14: 0x8f, 15: 0x40}}},
				GIDTblLen: 1, PKeys: []uint16{0xffff, 0, 0x8001},
				Counters:   []verbs.SysfsCounter{{"port_rcv_data", 7}, {"port_xmit_data", 1<<64 - 1}},
				HWCounters: []verbs.SysfsCounter{{"out_of_sequence", 3}},
			},
			{Num: 2, State: verbs.PortDown, PhysState: verbs.PhysDisabled, LID: -1, SMLID: -1, LMC: -1},
		},
	},
}

// All that can be broken is.
const brokenTree = `
	infiniband/folder/
	infiniband/broken -> ../devices/broken
	infiniband/gone -> ../devices/gone
	infiniband_verbs/uverbs0/
	infiniband_verbs/uverbs1/ibdev/
	devices/broken/node_guid =
	devices/broken/sys_image_guid := "\xff\xfe"
	devices/broken/node_type = 0: nothing
	devices/broken/fw_ver := "1.0\n2.0\n"
	devices/broken/board_id/
	devices/broken/hca_type := "\x1b[31mred"
	devices/broken/hw_rev = zz
	devices/broken/ports/0/
	devices/broken/ports/01/
	devices/broken/ports/-1/
	devices/broken/ports/first/
	devices/broken/ports/99999999999999999999/
	devices/broken/ports/7/state = 9: ACTIVE
	devices/broken/ports/7/phys_state = 99: Gone
	devices/broken/ports/7/rate =
	devices/broken/ports/7/link_layer = Token Ring
	devices/broken/ports/7/lid = 0x10000
	devices/broken/ports/7/sm_lid = -1
	devices/broken/ports/7/lid_mask_count =
	devices/broken/ports/7/gids/0 = fe80::1
	devices/broken/ports/7/gids/1/
	devices/broken/ports/7/gids/2 = fe80:0000:0000:0000:0000:0000:0000:0001
	devices/broken/ports/7/gids/4 = fe80:0000:0000:0000:0000:0000:0000:0004
	devices/broken/ports/7/gid_attrs/types/2 = carrier pigeon
	devices/broken/ports/7/gid_attrs/ndevs =
	devices/broken/ports/7/pkeys =
	devices/broken/ports/7/counters/many = many
	devices/broken/ports/7/counters/folder/
	devices/broken/ports/7/counters/negative = -1
	devices/broken/ports/7/counters/large = 18446744073709551616
	devices/broken/ports/7/counters/none = 0
`

var broken = []kernelDevice{
	{
		verbs.Device{Name: "broken", Ports: []int{7}},
		verbs.SysfsDevice{
			Transport: verbs.TransportUnknown,
			Ports: []verbs.SysfsPort{{
				Num: 7, LID: -1, SMLID: -1, LMC: -1,
				GIDs: []verbs.GIDEntry{{GID: verbs.GID{0: 0xfe, 1: 0x80, 15: 1}, Index: 2}}, GIDTblLen: 3,
				Counters: []verbs.SysfsCounter{{"none", 0}},
			}},
		},
	},
	{verbs.Device{Name: "gone"}, verbs.SysfsDevice{Transport: verbs.TransportUnknown}},
}

func TestDevicesOfTheKernel(t *testing.T) {
	withNetDevs := func(d kernelDevice, names ...string) kernelDevice {
		d.Sysfs.NetDevs = names
		return d
	}
	for _, tt := range []struct {
		name, tree string
		want       []kernelDevice
	}{
		{"none", "", []kernelDevice{}},
		{"no entries", "infiniband/", []kernelDevice{}},
		{"a file for a folder", "infiniband =", []kernelDevice{}},
		{"rxe", rxeTree, []kernelDevice{rxe}},
		{"mlx5", mlxTree, []kernelDevice{mlx}},
		{"broken", brokenTree, broken},
		{"RNIC", "infiniband/siw0 -> ../devices/siw0\ndevices/siw0/node_type = 4: RNIC",
			[]kernelDevice{{verbs.Device{Name: "siw0"}, verbs.SysfsDevice{Transport: verbs.TransportIWARP}}}},
		{"node of a type to come", "infiniband/x0 -> ../devices/x0\ndevices/x0/node_type = 7: unspecified",
			[]kernelDevice{{verbs.Device{Name: "x0"}, verbs.SysfsDevice{Transport: verbs.TransportUnknown}}}},
		{"all", rxeTree + mlxTree + brokenTree, append(broken[:2:2], mlx, rxe)},
		{"with interfaces", rxeTree + mlxTree + "netdev eth7\nnetdev eth8\n",
			[]kernelDevice{mlx, withNetDevs(rxe, "eth7")}},
		{"with an interface whose hardware address is short", rxeTree + brokenTree + "ipoib ib0\nnetdev eth7\n",
			append(broken[:2:2], withNetDevs(rxe, "eth7"))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, code := sysfstest.Run(t, tt.tree)
			if code != 0 || stderr != "" {
				t.Fatalf("code %d, %s", code, stderr)
			}
			var got []kernelDevice
			must(t, json.Unmarshal([]byte(stdout), &got))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// The emulated device has nothing in sysfs.
func TestSysfsOfTheEmulatedDevice(t *testing.T) {
	want := verbs.SysfsDevice{Transport: verbs.TransportUnknown}
	if diff := cmp.Diff(want, verbs.Devices()[0].Sysfs()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestDeviceString(t *testing.T) {
	d := verbs.Device{Name: "mlx5_0", Ports: []int{1, 2}}
	if got, want := d.String(), "mlx5_0 (present, not driven; ports [1 2])"; got != want {
		t.Errorf("device is shown as %q, want %q", got, want)
	}
	for tr, want := range map[verbs.Transport]string{verbs.TransportUnknown: "unknown transport", verbs.TransportIB: "InfiniBand",
		verbs.TransportIWARP: "iWARP", verbs.TransportUSNIC: "usNIC", verbs.TransportUSNICUDP: "usNIC UDP", 4: "unknown transport"} {
		if got := tr.String(); got != want {
			t.Errorf("transport %d is shown as %q, want %q", tr, got, want)
		}
	}
}
