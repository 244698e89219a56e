package main

import (
	"fmt"
	"io"
	"math/bits"
	"strings"

	"outboard/verbs"
)

// listDevices shows names as `ibv_devinfo -l` does.
func listDevices(w io.Writer, devices []verbs.Device) {
	plural := "s"
	if len(devices) == 1 {
		plural = ""
	}
	fmt.Fprintf(w, "%d HCA%s found:\n", len(devices), plural)
	for _, name := range deviceNames(devices) {
		fmt.Fprintf(w, "\t%s\n", name)
	}
	fmt.Fprintln(w)
}

func deviceNames(devices []verbs.Device) (names []string) {
	for _, d := range devices {
		names = append(names, d.Name)
	}
	return names
}

func findDevice(devices []verbs.Device, name string) (verbs.Device, bool) {
	for _, d := range devices {
		if d.Name == name {
			return d, true
		}
	}
	return verbs.Device{}, false
}

// describeDevices shows devices as ibv_devinfo does: a block for each, in which a block for each port. It returns the
// exit code.
func describeDevices(std stdio, devices []verbs.Device, verbose bool) int {
	code := exitOK
	for _, d := range devices {
		w := devinfo{std.out, verbose}
		if !d.Emulated {
			w.real(d)
			continue
		}
		ctx, err := d.Open()
		if err != nil {
			fmt.Fprintf(std.err, "outboard: info: %v\n", err)
			code = exitFail
			continue
		}
		if err := w.emulated(d.Name, ctx); err != nil {
			fmt.Fprintf(std.err, "outboard: info: %v\n", err)
			code = exitFail
		}
		ctx.Close()
	}
	return code
}

// devinfo writes in the layout of ibv_devinfo, which is made with tabs: a key, and its value in column 40, or 48 for that of a port.
type devinfo struct {
	io.Writer
	verbose bool
}

const (
	tab         = 8
	deviceLevel = 1 // tabs in front of a key
	portLevel   = 3
	itemLevel   = 5 // of a name that stands alone
	counterCol  = 64
)

func (w devinfo) line(level, column int, key, format string, args ...any) {
	at := level*tab + len(key) + len(":")
	gap := max(1, (column-at+tab-1)/tab)
	fmt.Fprintf(w, "%s%s:%s%s\n", strings.Repeat("\t", level), key, strings.Repeat("\t", gap), fmt.Sprintf(format, args...))
}

func (w devinfo) device(key, format string, args ...any) {
	w.line(deviceLevel, 40, key, format, args...)
}
func (w devinfo) port(key, format string, args ...any) { w.line(portLevel, 48, key, format, args...) }

// known writes the line of a text unless it is empty.
func (w devinfo) known(line func(key, format string, args ...any), key, text string) {
	if text != "" {
		line(key, "%s", text)
	}
}

func (w devinfo) item(name string) { fmt.Fprintf(w, "%s%s\n", strings.Repeat("\t", itemLevel), name) }

func (w devinfo) begin(name string, t verbs.Transport) {
	fmt.Fprintf(w, "hca_id:\t%s\n", name)
	if t != verbs.TransportUnknown {
		w.device("transport", "%v (%d)", t, t)
	}
}

func (w devinfo) beginPort(num int) { fmt.Fprintf(w, "\t\tport:\t%d\n", num) }

// emulated shows the emulated device and its ports.
func (w devinfo) emulated(name string, ctx *verbs.Context) error {
	a := ctx.QueryDevice()
	w.begin(name, verbs.TransportIB)
	w.known(w.device, "fw_ver", a.FWVer)
	w.device("node_guid", "%v", a.NodeGUID)
	w.device("sys_image_guid", "%v", a.SysImageGUID)
	w.device("vendor_id", "0x%04x", a.VendorID)
	w.device("vendor_part_id", "%d", a.VendorPartID)
	w.device("hw_ver", "0x%X", a.HWVer)
	w.device("phys_port_cnt", "%d", a.PhysPortCnt)
	if w.verbose {
		w.attributes(&a)
		w.extended(&a)
	}
	for num := uint8(1); num <= a.PhysPortCnt; num++ {
		if err := w.emulatedPort(ctx, num); err != nil {
			return err
		}
	}
	return nil
}

func (w devinfo) attributes(a *verbs.DeviceAttr) {
	w.device("max_mr_size", "0x%x", a.MaxMRSize)
	w.device("page_size_cap", "0x%x", a.PageSizeCap)
	w.device("max_qp", "%d", a.MaxQP)
	w.device("max_qp_wr", "%d", a.MaxQPWR)
	w.device("device_cap_flags", "0x%08x", uint32(a.CapFlags))
	for _, name := range a.CapFlags.Names() {
		w.item(name)
	}
	w.numbers([]number{
		{"max_sge", a.MaxSGE}, {"max_sge_rd", a.MaxSGERd}, {"max_cq", a.MaxCQ}, {"max_cqe", a.MaxCQE},
		{"max_mr", a.MaxMR}, {"max_pd", a.MaxPD}, {"max_qp_rd_atom", a.MaxQPRdAtom}, {"max_ee_rd_atom", 0},
		{"max_res_rd_atom", a.MaxResRdAtom}, {"max_qp_init_rd_atom", a.MaxQPInitRdAtom}, {"max_ee_init_rd_atom", 0},
	})
	w.device("atomic_cap", "%v (%d)", a.AtomicCap, a.AtomicCap)
	w.numbers([]number{
		{"max_ee", 0}, {"max_rdd", 0}, {"max_mw", a.MaxMW}, {"max_raw_ipv6_qp", 0}, {"max_raw_ethy_qp", 0},
		{"max_mcast_grp", 0}, {"max_mcast_qp_attach", 0}, {"max_total_mcast_qp_attach", 0}, {"max_ah", a.MaxAH},
		{"max_fmr", 0}, {"max_srq", a.MaxSRQ},
	})
	if a.MaxSRQ > 0 {
		w.numbers([]number{{"max_srq_wr", a.MaxSRQWR}, {"max_srq_sge", a.MaxSRQSGE}})
	}
	w.numbers([]number{{"max_pkeys", a.MaxPKeys}, {"local_ca_ack_delay", int(a.LocalCAAckDelay)}})
}

type number struct {
	key   string
	value int
}

// numbers writes lines of numbers; those that are 0 here are of objects that the emulated device knows nothing of.
func (w devinfo) numbers(ns []number) {
	for _, n := range ns {
		w.device(n.key, "%d", n.value)
	}
}

// extended shows the attributes of ibv_query_device_ex(3).
func (w devinfo) extended(a *verbs.DeviceAttr) {
	fmt.Fprint(w, "\tgeneral_odp_caps:\n")
	for _, service := range []string{"rc", "uc", "ud", "xrc"} {
		fmt.Fprintf(w, "\t%s_odp_caps:\n", service)
		w.item("NO SUPPORT")
	}
	fmt.Fprint(w, "\tcompletion_timestamp_mask not supported\n\tcore clock not supported\n")
	w.device("device_cap_flags_ex", "0x%X", uint32(a.CapFlags))
	if a.TM.MaxNumTags == 0 {
		fmt.Fprint(w, "\ttag matching not supported\n")
		return
	}
	w.numbers([]number{
		{"max_rndv_hdr_size", a.TM.MaxRndvHdrSize}, {"max_num_tags", a.TM.MaxNumTags}, {"max_ops", a.TM.MaxOps}, {"max_sge", a.TM.MaxSGE},
	})
	fmt.Fprint(w, "\tflags:\n")
	if a.TM.Flags&verbs.TMCapRC != 0 {
		w.item("IBV_TM_CAP_RC")
	}
}

// emulatedPort shows a port. What is written as 0 here belongs to subnet management, which the emulated port knows nothing of.
func (w devinfo) emulatedPort(ctx *verbs.Context, num uint8) error {
	p, err := ctx.QueryPort(num)
	if err != nil {
		return err
	}
	gids, err := ctx.QueryGIDTable(num)
	if err != nil {
		return err
	}
	w.beginPort(int(num))
	w.port("state", "%v (%d)", p.State, p.State)
	w.port("max_mtu", "%d (%d)", p.MaxMTU, mtuCode(p.MaxMTU))
	w.port("active_mtu", "%d (%d)", p.ActiveMTU, mtuCode(p.ActiveMTU))
	w.port("sm_lid", "%d", p.SMLID)
	w.port("port_lid", "%d", p.LID)
	w.port("port_lmc", "0x%02x", p.LMC)
	w.port("link_layer", "%s", p.LinkLayer)
	if w.verbose {
		w.port("max_msg_sz", "0x%x", p.MaxMsgSz)
		w.port("port_cap_flags", "0x%08x", 0)
		w.port("port_cap_flags2", "0x%04x", 0)
		w.port("max_vl_num", "1 (1)")
		w.port("bad_pkey_cntr", "0x%x", p.BadPKeyCntr)
		w.port("qkey_viol_cntr", "0x%x", p.QKeyViolCntr)
		w.port("sm_sl", "%d", 0)
		w.port("pkey_tbl_len", "%d", p.PKeyTblLen)
		w.port("gid_tbl_len", "%d", p.GIDTblLen)
		w.port("subnet_timeout", "%d", 0)
		w.port("init_type_reply", "%d", 0)
		w.port("active_width", "%v (%d)", p.ActiveWidth, p.ActiveWidth)
		w.port("active_speed", "%v (%d)", p.ActiveSpeed, p.ActiveSpeed)
		w.port("phys_state", "%v (%d)", p.PhysState, p.PhysState)
		w.gids(gids)
		for i := range p.PKeyTblLen {
			key, err := ctx.QueryPKey(num, i)
			if err != nil {
				return err
			}
			w.pkey(i, key)
		}
	}
	fmt.Fprintln(w)
	return nil
}

// mtuCode is the code of a path MTU (ibv_mtu): 1 for 256 bytes to 5 for 4096.
func mtuCode(bytes int) int { return bits.Len(uint(bytes) >> 8) }

func (w devinfo) gids(entries []verbs.GIDEntry) {
	for _, e := range entries {
		kind := ""
		if e.Type != verbs.GIDTypeIB {
			kind = ", " + e.Type.String()
		}
		w.port(fmt.Sprintf("GID[%3d]", e.Index), "%v%s", e.GID, kind)
	}
}

// pkey shows an entry of a P_Key table, which ibv_devinfo does not, unless it is empty.
func (w devinfo) pkey(index int, key uint16) {
	if key != 0 {
		w.port(fmt.Sprintf("P_Key[%3d]", index), "0x%04x", key)
	}
}
