package verbs_test

import (
	"errors"
	"strings"
	"testing"

	"outboard/verbs"
)

func TestQueryPort(t *testing.T) {
	for _, f := range plainFabrics {
		t.Run(f.name, func(t *testing.T) {
			ctx, err := verbs.Open(f.open(t))
			must(t, err)
			defer ctx.Close()
			a, err := ctx.QueryPort(verbs.PortNum)
			must(t, err)
			if a.State != verbs.PortActive || a.PhysState != verbs.PhysLinkUp || a.MaxMTU != 4096 || a.ActiveMTU != 4096 ||
				a.LinkLayer != verbs.LinkEthernet || a.MaxMsgSz != uint64(ctx.Limits().MaxMsg) {
				t.Errorf("port %+v", a)
			}
			if a.LID == 0 || a.LID > 0xbfff {
				t.Errorf("LID %#x, want a unicast one", a.LID)
			}
			table, err := ctx.QueryGIDTable(verbs.PortNum)
			must(t, err)
			if len(table) != a.GIDTblLen {
				t.Fatalf("%d GIDs, want %d", len(table), a.GIDTblLen)
			}
			for i, e := range table {
				g, err := ctx.QueryGID(verbs.PortNum, i)
				must(t, err)
				if want := (verbs.GIDEntry{GID: g, Index: i, Type: verbs.GIDTypeRoCEv2}); e != want {
					t.Errorf("GID %d is %v, want %v", i, e, want)
				}
			}
			if a.GIDTblLen != 2 || !strings.HasPrefix(table[0].GID.String(), "fe80:0000:0000:0000:") || table[1].GID[0] != 0xfd {
				t.Errorf("GIDs %v, want a link-local and a unique-local one", table)
			}
			for i := range a.PKeyTblLen {
				k, err := ctx.QueryPKey(verbs.PortNum, i)
				must(t, err)
				if k != 0xffff {
					t.Errorf("P_Key %d is %#x, want 0xffff", i, k)
				}
			}
		})
	}
}

// The names of two ports differ, those of one do not change.
func TestPortsHaveNamesOfTheirOwn(t *testing.T) {
	a, b := newEnd(t, plainFabrics[0]), newEnd(t, plainFabrics[0])
	ga, err := a.ctx.QueryGID(verbs.PortNum, 1)
	must(t, err)
	gb, err := b.ctx.QueryGID(verbs.PortNum, 1)
	must(t, err)
	again, err := a.ctx.QueryGID(verbs.PortNum, 1)
	must(t, err)
	if ga == gb || ga != again {
		t.Errorf("GIDs %v and %v, then %v", ga, gb, again)
	}
	if a.ctx.QueryDevice().NodeGUID == b.ctx.QueryDevice().NodeGUID {
		t.Error("two devices share a GUID")
	}
}

func TestQueryRefusals(t *testing.T) {
	ctx, err := verbs.Open(openInproc(t))
	must(t, err)
	defer ctx.Close()
	port := func(n uint8) error { _, err := ctx.QueryPort(n); return err }
	table := func(n uint8) error { _, err := ctx.QueryGIDTable(n); return err }
	gid := func(n uint8, i int) error { _, err := ctx.QueryGID(n, i); return err }
	pkey := func(n uint8, i int) error { _, err := ctx.QueryPKey(n, i); return err }
	tests := []struct {
		name, detail string
		call         func() error
	}{
		{"port 0", "query_port: port 0: expected 1", func() error { return port(0) }},
		{"port 2", "query_port: port 2: expected 1", func() error { return port(2) }},
		{"port 255", "query_port: port 255: expected 1", func() error { return port(255) }},
		{"GID table of port 0", "query_gid_table: port 0: expected 1", func() error { return table(0) }},
		{"GID of port 2", "query_gid: port 2: expected 1", func() error { return gid(2, 0) }},
		{"GID -1", "query_gid: index -1: expected 0 to 1", func() error { return gid(1, -1) }},
		{"GID 2", "query_gid: index 2: expected 0 to 1", func() error { return gid(1, 2) }},
		{"P_Key of port 0", "query_pkey: port 0: expected 1", func() error { return pkey(0, 0) }},
		{"P_Key -1", "query_pkey: index -1: expected 0 to 0", func() error { return pkey(1, -1) }},
		{"P_Key 1", "query_pkey: index 1: expected 0 to 0", func() error { return pkey(1, 1) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.call()
			wantErr(t, err, verbs.ErrInvalid)
			var e *verbs.Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), tt.detail) {
				t.Errorf("error %q, want a part %q", err, tt.detail)
			}
		})
	}
	must(t, ctx.Close())
	for _, tt := range tests {
		t.Run(tt.name+", closed", func(t *testing.T) { wantErr(t, tt.call(), verbs.ErrDestroyed) })
	}
}

func TestQueryDevice(t *testing.T) {
	for _, f := range plainFabrics {
		t.Run(f.name, func(t *testing.T) {
			ctx, err := verbs.Open(f.open(t))
			must(t, err)
			defer ctx.Close()
			a, l := ctx.QueryDevice(), ctx.Limits()
			if a.NodeGUID == (verbs.GUID{}) || a.SysImageGUID != a.NodeGUID || a.PhysPortCnt != 1 || a.FWVer == "" {
				t.Errorf("device %+v", a)
			}
			gid, err := ctx.QueryGID(verbs.PortNum, 0)
			must(t, err)
			if verbs.GUID(gid[8:]) != a.NodeGUID {
				t.Errorf("GUID %v, want the interface of %v", a.NodeGUID, gid)
			}
			for name, v := range map[string][2]int{
				"max_qp": {a.MaxQP, l.MaxQP}, "max_qp_wr": {a.MaxQPWR, l.MaxWR}, "max_sge": {a.MaxSGE, l.MaxSGE},
				"max_cq": {a.MaxCQ, l.MaxCQ}, "max_cqe": {a.MaxCQE, l.MaxCQE}, "max_mr": {a.MaxMR, l.MaxMR},
				"max_pd": {a.MaxPD, l.MaxPD}, "max_qp_rd_atom": {a.MaxQPRdAtom, l.MaxRdAtomic}, "max_mw": {a.MaxMW, l.MaxMW},
				"max_ah": {a.MaxAH, l.MaxAH}, "max_srq": {a.MaxSRQ, l.MaxSRQ}, "max_srq_wr": {a.MaxSRQWR, l.MaxSRQWR},
				"max_srq_sge": {a.MaxSRQSGE, l.MaxSRQSGE}, "max_pkeys": {a.MaxPKeys, l.MaxPKeys},
				"max_num_tags": {a.TM.MaxNumTags, l.MaxTMTags}, "max_ops": {a.TM.MaxOps, l.MaxTMOps},
				"max_mr_size": {int(a.MaxMRSize), l.MaxMRSize},
			} {
				if v[0] != v[1] || v[0] < 1 {
					t.Errorf("%s is %d, want the limit %d, above 0", name, v[0], v[1])
				}
			}
		})
	}
}

func TestCapFlags(t *testing.T) {
	f := verbs.CapRCRNRNakGen | verbs.CapSysImageGUID | 1<<31
	if got, want := f.String(), "SYS_IMAGE_GUID|RC_RNR_NAK_GEN|Unknown flags: 0x80000000"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestWordsOfPorts(t *testing.T) {
	for _, tt := range []struct {
		v    interface{ String() string }
		want string
	}{
		{verbs.PortNop, "PORT_NOP"},
		{verbs.PortDown, "PORT_DOWN"},
		{verbs.PortInit, "PORT_INIT"},
		{verbs.PortArmed, "PORT_ARMED"},
		{verbs.PortActive, "PORT_ACTIVE"},
		{verbs.PortState(9), "port state 9"},
		{verbs.PhysPolling, "POLLING"},
		{verbs.PhysLinkUp, "LINK_UP"},
		{verbs.PhysTest, "PHY_TEST"},
		{verbs.PhysState(0), "physical state 0"},
		{verbs.PhysState(8), "physical state 8"},
		{verbs.Width(1), "1X"},
		{verbs.Width4X, "4X"},
		{verbs.Width(8), "12X"},
		{verbs.Width(16), "2X"},
		{verbs.Width(3), "width 3"},
		{verbs.Speed(1), "2.5 Gbps"},
		{verbs.Speed25, "25.0 Gbps"},
		{verbs.Speed(128), "100.0 Gbps"},
		{verbs.Speed(3), "speed 3"},
		{verbs.GIDTypeIB, "IB"},
		{verbs.GIDTypeRoCEv1, "RoCE v1"},
		{verbs.GIDTypeRoCEv2, "RoCE v2"},
		{verbs.GIDType(3), "GID type 3"},
		{verbs.AtomicNone, "ATOMIC_NONE"},
		{verbs.AtomicHCA, "ATOMIC_HCA"},
		{verbs.AtomicGlob, "ATOMIC_GLOB"},
		{verbs.AtomicCap(3), "atomic capability 3"},
		{verbs.GUID{1, 2, 3, 4, 5, 6, 7, 8}, "0102:0304:0506:0708"},
	} {
		if got := tt.v.String(); got != tt.want {
			t.Errorf("%T is shown as %q, want %q", tt.v, got, tt.want)
		}
	}
}

// The active MTU is that of IBTA packets, whose headers the fabric must carry too.
func TestActiveMTU(t *testing.T) {
	for _, tt := range []struct{ mtu, want int }{{256, 0}, {383, 0}, {384, 256}, {511, 256}, {3000, 2048}, {4223, 2048}, {4224, 4096}, {8192, 4096}} {
		p := openInproc(t)
		at := p.Attr()
		at.MTU = tt.mtu
		ctx, err := verbs.Open(attrPort{p, at})
		must(t, err)
		a, err := ctx.QueryPort(verbs.PortNum)
		must(t, err)
		if a.ActiveMTU != tt.want {
			t.Errorf("packets of %d bytes: active MTU %d, want %d", tt.mtu, a.ActiveMTU, tt.want)
		}
		ctx.Close()
	}
}
