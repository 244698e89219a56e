package main

import (
	"fmt"
	"strings"

	"outboard/verbs"
)

// real shows what the kernel tells about a device of its own, which ibv_devinfo learns from its driver in part.
func (w devinfo) real(d verbs.Device) {
	s := d.Sysfs()
	w.begin(d.Name, s.Transport)
	w.known(w.device, "fw_ver", s.FWVer)
	w.known(w.device, "node_guid", guidText(s.NodeGUID))
	w.known(w.device, "sys_image_guid", guidText(s.SysImageGUID))
	if s.HWRev != "" {
		w.device("hw_ver", "0x%s", strings.ToUpper(s.HWRev))
	}
	w.known(w.device, "board_id", s.BoardID)
	w.device("phys_port_cnt", "%d", len(s.Ports))
	w.device("driven", "no")
	w.known(w.device, "hca_type", s.HCAType)
	w.known(w.device, "char_devs", strings.Join(d.CharDevs, " "))
	w.known(w.device, "net_devs", strings.Join(s.NetDevs, " "))
	for i := range s.Ports {
		w.realPort(&s.Ports[i])
	}
	if len(s.Ports) == 0 {
		fmt.Fprintln(w)
	}
}

func guidText(g verbs.GUID) string {
	if g == (verbs.GUID{}) {
		return ""
	}
	return g.String()
}

func (w devinfo) realPort(p *verbs.SysfsPort) {
	w.beginPort(p.Num)
	if p.State != verbs.PortNop {
		w.port("state", "%v (%d)", p.State, p.State)
	}
	if p.SMLID >= 0 {
		w.port("sm_lid", "%d", p.SMLID)
	}
	if p.LID >= 0 {
		w.port("port_lid", "%d", p.LID)
	}
	if p.LMC >= 0 {
		w.port("port_lmc", "0x%02x", p.LMC)
	}
	w.known(w.port, "link_layer", string(p.LinkLayer))
	w.known(w.port, "rate", p.Rate)
	if w.verbose {
		w.port("pkey_tbl_len", "%d", len(p.PKeys))
		w.port("gid_tbl_len", "%d", p.GIDTblLen)
		if p.PhysState != 0 {
			w.port("phys_state", "%v (%d)", p.PhysState, p.PhysState)
		}
		w.gids(p.GIDs)
		for i, key := range p.PKeys {
			w.pkey(i, key)
		}
		w.counters("counters", p.Counters)
		w.counters("hw_counters", p.HWCounters)
	}
	fmt.Fprintln(w)
}

func (w devinfo) counters(folder string, cs []verbs.SysfsCounter) {
	if len(cs) == 0 {
		return
	}
	fmt.Fprintf(w, "\t\t\t%s:\n", folder)
	for _, c := range cs {
		w.line(portLevel+1, counterCol, c.Name, "%d", c.Value)
	}
}
