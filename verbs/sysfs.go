package verbs

import (
	"cmp"
	"net"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/Mellanox/rdmamap"
)

// A SysfsDevice is what the kernel tells about a real device in /sys/class/infiniband. What it does not tell, and
// what is malformed, is "", nil or the value that the field's comment names.
type SysfsDevice struct {
	Transport    Transport // TransportUnknown
	FWVer        string
	BoardID      string
	HCAType      string
	HWRev        string // in hexadecimal, without 0x
	NodeGUID     GUID   // zero
	SysImageGUID GUID   // zero
	NetDevs      []string
	Ports        []SysfsPort // one for each of Device.Ports
}

// A SysfsPort is what the kernel tells about a port, with the same rule for what it does not tell.
type SysfsPort struct {
	Num        int
	State      PortState // PortNop
	PhysState  PhysState // zero
	Rate       string    // such as "100 Gb/sec (4X EDR)"
	LinkLayer  LinkLayer
	LID        int            // -1
	SMLID      int            // -1
	LMC        int            // -1
	GIDs       []GIDEntry     // the valid ones; their type is that of InfiniBand if it is not told
	GIDTblLen  int            // valid or not; zero
	PKeys      []uint16       // the table; 0 stands for no key
	Counters   []SysfsCounter // by name: those of every port (IBTA 16.1.3), in their units
	HWCounters []SysfsCounter // by name: those of this kind of device
}

// A SysfsCounter is a number that the kernel keeps for a port.
type SysfsCounter struct {
	Name  string
	Value uint64
}

// Transport is the protocol family of a device, with the numbers of ibv_transport_type.
type Transport int8

const (
	TransportUnknown Transport = iota - 1
	TransportIB
	TransportIWARP
	TransportUSNIC
	TransportUSNICUDP
)

func (t Transport) String() string {
	if t >= 0 && int(t) < len(transportText) {
		return transportText[t]
	}
	return "unknown transport"
}

var transportText = [...]string{"InfiniBand", "iWARP", "usNIC", "usNIC UDP"}

// nodeTransports is the transport of the node types of the kernel, from 1: channel adapter, switch, router, RNIC …
var nodeTransports = [...]Transport{1: TransportIB, TransportIB, TransportIB, TransportIWARP, TransportUSNIC, TransportUSNICUDP}

// Sysfs reads what the kernel tells about a real device, now: two calls may differ. It never fails: for
// the emulated device, or one that has gone, there is nothing. For a port with a GID table of n entries it reads 2n files.
func (d Device) Sysfs() SysfsDevice {
	s := SysfsDevice{Transport: TransportUnknown}
	if d.Emulated {
		return s
	}
	dir := sysfsDir(filepath.Join(rdmamap.RdmaClassDir, d.Name))
	if n, _, ok := dir.coded("node_type"); ok && n > 0 && n < len(nodeTransports) {
		s.Transport = nodeTransports[n]
	}
	s.FWVer, s.BoardID, s.HCAType = dir.text("fw_ver"), dir.text("board_id"), dir.text("hca_type")
	if n, ok := dir.hex("hw_rev", 32); ok {
		s.HWRev = strconv.FormatUint(n, 16)
	}
	s.NodeGUID, s.SysImageGUID = dir.guid("node_guid"), dir.guid("sys_image_guid")
	s.NetDevs = netDevs(d.Name)
	for _, n := range d.Ports {
		s.Ports = append(s.Ports, d.sysfsPort(dir, n))
	}
	return s
}

func (d Device) sysfsPort(device sysfsDir, num int) SysfsPort {
	dir := device.join(rdmamap.RdmaPortsdir, strconv.Itoa(num))
	p := SysfsPort{Num: num, Rate: dir.text("rate"), LID: -1, SMLID: -1, LMC: -1}
	if n, _, ok := dir.coded("state"); ok && n < len(portStateText) {
		p.State = PortState(n)
	}
	if n, _, ok := dir.coded("phys_state"); ok && n < len(physStateText) {
		p.PhysState = PhysState(n)
	}
	if l := LinkLayer(dir.text("link_layer")); l == LinkInfiniBand || l == LinkEthernet {
		p.LinkLayer = l
	}
	for _, x := range []struct {
		file string
		to   *int
		bits int
	}{{"lid", &p.LID, 16}, {"sm_lid", &p.SMLID, 16}, {"lid_mask_count", &p.LMC, 8}} {
		if n, ok := dir.hex(x.file, x.bits); ok {
			*x.to = int(n)
		}
	}
	p.readGIDs(dir)
	for i := range dir.tableLen("pkeys") {
		n, _ := dir.hex(filepath.Join("pkeys", strconv.Itoa(i)), 16)
		p.PKeys = append(p.PKeys, uint16(n))
	}
	p.Counters = d.counters(num, rdmamap.GetRdmaSysfsStats, dir.join(rdmamap.RdmaCountersDir))
	p.HWCounters = d.counters(num, rdmamap.GetRdmaSysfsHwStats, dir.join(rdmamap.RdmaHwCountersDir))
	return p
}

// readGIDs reads the GID table. The kernel shows an entry that holds none as zeros.
func (p *SysfsPort) readGIDs(dir sysfsDir) {
	p.GIDTblLen = dir.tableLen("gids")
	for i := range p.GIDTblLen {
		g, ok := parseGID(dir.text(filepath.Join("gids", strconv.Itoa(i))))
		if !ok || g == (GID{}) {
			continue
		}
		e := GIDEntry{GID: g, Index: i}
		switch dir.text(filepath.Join(rdmamap.RdmaGidAttrDir, "types", strconv.Itoa(i))) {
		case "RoCE v2":
			e.Type = GIDTypeRoCEv2
		case "IB/RoCE v1":
			if p.LinkLayer == LinkEthernet {
				e.Type = GIDTypeRoCEv1
			}
		}
		p.GIDs = append(p.GIDs, e)
	}
}

// counters reads one of a port's folders of counters through rdmamap, less those that rdmamap shows as 0 because it
// cannot read them.
func (d Device) counters(port int, read func(string, int) ([]rdmamap.RdmaStatEntry, error), dir sysfsDir) (cs []SysfsCounter) {
	entries := quiet(func() []rdmamap.RdmaStatEntry {
		es, err := read(d.Name, port)
		if err != nil {
			return nil
		}
		return es
	})
	for _, e := range entries {
		if _, err := strconv.ParseUint(dir.text(e.Name), 10, 64); err == nil && printable(e.Name) {
			cs = append(cs, SysfsCounter{Name: e.Name, Value: e.Value})
		}
	}
	slices.SortFunc(cs, func(a, b SysfsCounter) int { return cmp.Compare(a.Name, b.Name) })
	return cs
}

// netDevs lists the network interfaces on top of a device. rdmamap answers for one interface at a time, and with "" for
// an InfiniBand interface that it cannot place.
func netDevs(device string) (names []string) {
	interfaces, err := net.Interfaces()
	if err != nil || device == "" {
		return nil
	}
	for _, i := range interfaces {
		owner := quiet(func() string {
			name, err := rdmamap.GetRdmaDeviceForNetdevice(i.Name)
			if err != nil {
				return ""
			}
			return name
		})
		if owner == device {
			names = append(names, i.Name)
		}
	}
	slices.Sort(names)
	return names
}
