package trace_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"outboard/verbs/internal/ib"
	"outboard/verbs/internal/trace"
)

// expected has, by Wireshark's names, the values of the fields that a frame must show; it may show none of the
// other fields that any frame is expected to show.
type expected map[string]uint64

func one(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func expectHeader(h *ib.Header, p []byte) expected {
	kind, value := ib.DecodeSyndrome(h.Syndrome)
	e := expected{
		"infiniband.bth.opcode": uint64(h.Opcode), "infiniband.bth.se": one(h.Solicited), "infiniband.bth.m": one(h.MigReq),
		"infiniband.bth.padcnt": uint64(p[41] >> 4 & 3), "infiniband.bth.tver": 0, "infiniband.bth.p_key": uint64(h.PKey),
		"infiniband.bth.destqp": uint64(h.DestQP), "infiniband.bth.a": one(h.AckReq), "infiniband.bth.psn": uint64(h.PSN),
		"udp.checksum.status": 1, // good
	}
	op := h.Opcode
	if op.IsMasked() { // of a manufacturer: Wireshark looks no further
		return e
	}
	e["infiniband.invariant.crc"] = uint64(binary.BigEndian.Uint32(p[len(p)-ib.ICRCLen:]))
	if op.Transport() == ib.UD {
		e["infiniband.deth.q_key"], e["infiniband.deth.srcqp"] = uint64(h.QKey), uint64(h.SrcQP)
	}
	if op.HasRETH() {
		e["infiniband.reth.dmalen"] = uint64(h.Len)
	}
	if op.HasRETH() || op.IsAtomic() { // Wireshark gives both headers' fields the same names
		e["infiniband.reth.va"], e["infiniband.reth.r_key"] = h.VA, uint64(h.RKey)
	}
	if op.IsAtomic() {
		e["infiniband.atomiceth.swapdt"], e["infiniband.atomiceth.cmpdt"] = h.SwapAdd, h.Compare
	}
	if op.HasAETH() {
		e["infiniband.aeth.syndrome.opcode"], e["infiniband.aeth.syndrome.error_code"] = uint64(kind), uint64(value)
		e["infiniband.aeth.msn"] = uint64(h.MSN)
	}
	if op == ib.RCAtomicAck {
		e["infiniband.atomicacketh.origremdt"] = h.Orig
	}
	if op.HasImm() {
		e["infiniband.immdt"] = uint64(h.Imm)
	}
	if op.HasInv() {
		e["infiniband.ieth"] = uint64(h.Inv)
	}
	return e
}

// expectPath leaves out flow label and packet rate: Wireshark 4.0 takes both from the first bytes of their word, where
// the label only begins and the rate is not.
func expectPath(name string, a *ib.Path) expected {
	e := expected{}
	for field, v := range map[string]uint64{"locallid": uint64(a.LocalLID), "remotelid": uint64(a.RemoteLID), "tfcclass": uint64(a.TrafficClass), "hoplim": uint64(a.HopLimit), "sl": uint64(a.SL),
		"subnetlocal": one(a.SubnetLocal), "localacktout": uint64(a.AckTimeout)} {
		e["infiniband.cm.req."+name+"_"+field] = v
	}
	return e
}

// messages are all messages of the communication manager, with what Wireshark must say of them.
func messages() []struct {
	msg  ib.CMMessage
	want expected
} {
	guid := ib.GUIDOf("a")
	g := binary.BigEndian.Uint64(guid[:])
	prim := ib.Path{LocalLID: 0x0102, RemoteLID: 0x0304, LocalGID: ib.GIDOf("a"), RemoteGID: ib.GIDOf("b"), FlowLabel: 0x12345, Rate: 5,
		TrafficClass: 6, HopLimit: 7, SL: 8, SubnetLocal: true, AckTimeout: 19}
	alt := ib.Path{LocalLID: 0x1112, RemoteLID: 0x1314, FlowLabel: 0x56789, Rate: 10, TrafficClass: 11, HopLimit: 12, SL: 13, AckTimeout: 14}
	req := &ib.REQ{LocalCommID: 0x11121314, ServiceID: 0x2122232425262728, LocalCAGUID: guid, LocalQKey: 0x31323334, LocalQPN: 0x414243,
		LocalEECN: 0x515253, RemoteEECN: 0x616263, ResponderResources: 16, InitiatorDepth: 17, StartingPSN: 0x717273, ServiceType: ib.ServiceUC,
		ExtendedType: 1, EndToEndFlow: true, RemoteCMTimeout: 20, LocalCMTimeout: 21, RetryCount: 6, RNRRetryCount: 5, MaxCMRetries: 15,
		PKey: 0xffff, MTU: 5, RDCExists: true, SRQ: true, Primary: prim, Alternate: alt}
	wantReq := expected{"infiniband.cm.req": 0x11121314, "infiniband.cm.req.serviceid": 0x2122232425262728, "infiniband.cm.req.localcaguid": g,
		"infiniband.cm.req.localqkey": 0x31323334, "infiniband.cm.req.localqpn": 0x414243, "infiniband.cm.req.localeecn": 0x515253,
		"infiniband.cm.req.remoteeecn": 0x616263, "infiniband.cm.req.responderres": 16, "infiniband.cm.req.initdepth": 17,
		"infiniband.cm.req.startpsn": 0x717273, "infiniband.cm.req.transpsvctype": 1, "infiniband.cm.req.ext_transport": 1,
		"infiniband.cm.req.e2eflowctrl": 1, "infiniband.cm.req.remoteresptout": 20, "infiniband.cm.req.localresptout": 21,
		"infiniband.cm.req.retrcount": 6, "infiniband.cm.req.rnrretrcount": 5, "infiniband.cm.req.maxcmretr": 15,
		"infiniband.cm.req.pkey": 0xffff, "infiniband.cm.req.pppmtu": 5, "infiniband.cm.req.rdcexist": 1, "infiniband.cm.req.srq": 1}
	maps.Copy(wantReq, expectPath("prim", &prim))
	maps.Copy(wantReq, expectPath("alt", &alt))
	return []struct {
		msg  ib.CMMessage
		want expected
	}{
		{req, wantReq},
		{&ib.MRA{LocalCommID: 1, RemoteCommID: 2, Stage: ib.StageREP, ServiceTimeout: 3}, expected{}}, // Wireshark shows no fields
		{&ib.REP{LocalCommID: 0x11121314, RemoteCommID: 0x21222324, LocalQKey: 0x31323334, LocalQPN: 0x414243, LocalEECN: 0x515253,
			StartingPSN: 0x717273, ResponderResources: 16, InitiatorDepth: 17, TargetAckDelay: 18, FailoverAccepted: 2, EndToEndFlow: true,
			RNRRetryCount: 5, SRQ: true, LocalCAGUID: guid},
			expected{"infiniband.cm.rep": 0x11121314, "infiniband.cm.rep.remotecommid": 0x21222324, "infiniband.cm.rep.localqkey": 0x31323334,
				"infiniband.cm.rep.localqpn": 0x414243, "infiniband.cm.rep.localeecn": 0x515253, "infiniband.cm.rep.startpsn": 0x717273,
				"infiniband.cm.rep.respres": 16, "infiniband.cm.rep.initdepth": 17, "infiniband.cm.rep.tgtackdelay": 18,
				"infiniband.cm.rep.failoveracc": 2, "infiniband.cm.rep.e2eflowctrl": 1, "infiniband.cm.rep.rnrretrcount": 5,
				"infiniband.cm.rep.srq": 1, "infiniband.cm.rep.localcaguid": g}},
		{&ib.REJ{LocalCommID: 0x11121314, RemoteCommID: 0x21222324, Stage: ib.StageREP, InfoLen: 16, Reason: ib.RejConsumer},
			expected{"infiniband.cm.rej.localcommid": 0x11121314, "infiniband.cm.rej.remotecommid": 0x21222324, "infiniband.cm.rej.msgrej": 1,
				"infiniband.cm.rej.rejinfolen": 16, "infiniband.cm.rej.reason": 28}},
		{&ib.RTU{LocalCommID: 0x11121314, RemoteCommID: 0x21222324},
			expected{"infiniband.cm.rtu.localcommid": 0x11121314, "infiniband.cm.rtu.remotecommid": 0x21222324}},
		{&ib.DREQ{LocalCommID: 0x11121314, RemoteCommID: 0x21222324, RemoteQPN: 0x414243},
			expected{"infiniband.cm.dreq.localcommid": 0x11121314, "infiniband.cm.dreq.remotecommid": 0x21222324,
				"infiniband.cm.req.remoteqpneecn": 0x414243}},
		{&ib.DREP{LocalCommID: 0x11121314, RemoteCommID: 0x21222324},
			expected{"infiniband.cm.drsp.localcommid": 0x11121314, "infiniband.cm.drsp.remotecommid": 0x21222324}},
	}
}

// TestWireshark has tshark read traces of every opcode and every message, and show every field as we meant it. It shows
// the ICRC and does not check it; that is done in package ib, against packets of real NICs.
func TestWireshark(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed")
	}
	// Wireshark guesses the protocol of a payload, and guesses wrong for short ones unless told not to.
	noGuess := []string{"--disable-protocol", "rpcordma", "--disable-protocol", "infiniband.eoib"}
	for _, tt := range []struct {
		name  string
		sizes []int // payloads in bytes
		args  []string
	}{
		{"long payloads", []int{64, 65, 66, 67}, nil},
		{"short payloads", []int{0, 1, 2, 3, 8, 16}, noGuess},
	} {
		t.Run(tt.name, func(t *testing.T) { testWireshark(t, tshark, tt.sizes, tt.args) })
	}
}

func testWireshark(t *testing.T, tshark string, sizes []int, args []string) {
	path := filepath.Join(t.TempDir(), "all.pcapng")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := trace.New(file, "emu0")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	var wants []expected
	add := func(name string, p []byte, want expected) {
		if err := w.Packet(time.Unix(1_700_000_000, int64(len(wants))), p); err != nil {
			t.Fatal(err)
		}
		names, wants = append(names, name), append(wants, want)
	}
	for i, op := range opcodes() {
		for _, size := range sizes {
			h, p := packet(op, i, size)
			add(fmt.Sprintf("%v with %d bytes", op, size), p, expectHeader(&h, p))
		}
	}
	for i, m := range messages() {
		h, p := datagram(uint64(100+i), m.msg)
		maps.Copy(m.want, expectHeader(&h, p))
		maps.Copy(m.want, expected{"infiniband.mad.baseversion": 1, "infiniband.mad.mgmtclass": 7, "infiniband.mad.classversion": 2,
			"infiniband.mad.method": 3, "infiniband.mad.status": 0, "infiniband.mad.transactionid": uint64(100 + i),
			"infiniband.mad.attributeid": uint64(m.msg.Attr()), "infiniband.mad.attributemodifier": 0})
		add(m.msg.Attr().String(), p, m.want)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}

	union := expected{}
	for _, e := range wants {
		maps.Copy(union, e)
	}
	fields := slices.Sorted(maps.Keys(union))
	args = append(args, "-n", "-r", path, "-o", "udp.check_checksum:TRUE", "-T", "fields", "-E", "occurrence=f",
		"-e", "frame.protocols", "-e", "frame.interface_name", "-e", "_ws.expert.severity", "-e", "_ws.expert.message")
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(tshark, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	lines := strings.Split(strings.TrimSuffix(stdout.String(), "\n"), "\n")
	if len(lines) != len(wants) {
		t.Fatalf("%d frames, want %d", len(lines), len(wants))
	}
	for i, line := range lines {
		checkFrame(t, names[i], strings.Split(line, "\t"), fields, wants[i])
	}
}

func checkFrame(t *testing.T, name string, columns, fields []string, want expected) {
	t.Helper()
	protocols, columns := columns[0], columns[1:]
	if !strings.HasPrefix(protocols, "eth:ethertype:ipv6:udp:infiniband") || strings.Contains(protocols, "malformed") {
		t.Errorf("%s: protocols %s", name, protocols)
	}
	if columns[0] != "emu0" {
		t.Errorf("%s: interface %q, want emu0", name, columns[0])
	}
	if columns[1] != "" { // the highest that we allow is a note
		const warning = 0x00600000
		if severity, err := number(columns[1]); err != nil || severity >= warning {
			t.Errorf("%s: expert information of severity %s: %s", name, columns[1], columns[2])
		}
	}
	for i, f := range fields {
		text := columns[3+i]
		v, ok := want[f]
		if !ok {
			if text != "" {
				t.Errorf("%s: %s is %s, want none", name, f, text)
			}
			continue
		}
		if f == "infiniband.immdt" || f == "infiniband.ieth" { // printed as bytes
			text = "0x" + strings.ReplaceAll(text, ":", "")
		}
		if got, err := number(text); err != nil || got != v {
			t.Errorf("%s: %s is %q, want %#x", name, f, text, v)
		}
	}
}

// number reads a value as the versions of tshark print it: decimal, hexadecimal, a word, or bytes with colons.
func number(s string) (uint64, error) {
	switch s {
	case "True", "Good":
		return 1, nil
	case "False":
		return 0, nil
	}
	if v, err := strconv.ParseUint(s, 0, 64); err == nil {
		return v, nil
	}
	b, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
	if err != nil || len(b) > 8 {
		return 0, fmt.Errorf("%q is no number", s)
	}
	return binary.BigEndian.Uint64(append(make([]byte, 8-len(b)), b...)), nil
}
