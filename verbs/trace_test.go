package verbs_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"outboard/verbs"
	"outboard/verbs/fabric"
	"outboard/verbs/fabric/faulty"
	"outboard/verbs/internal/ib"
)

// everyOpcode are the packets that there are.
func everyOpcode() (ops []ib.Opcode) {
	for op := range 256 {
		if o := ib.Opcode(op); o.Valid() {
			ops = append(ops, o)
		}
	}
	return ops
}

// TestTrace traces every operation, refusals and what is sent again, and has Wireshark read the file: every frame is InfiniBand and whole,
// and every opcode there is occurs.
func TestTrace(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed")
	}
	path := filepath.Join(t.TempDir(), "trace.pcapng")
	file, err := os.Create(path)
	must(t, err)
	lossy := func(t testing.TB) fabric.Port {
		p, err := faulty.Wrap(openInproc(t), faulty.Options{Inject: faulty.ForEndpoint(0, faulty.Any(faulty.OnIndex(3, faulty.Drop), faulty.OnIndex(30, faulty.Drop), faulty.Every(40, faulty.Duplicate)))})
		must(t, err)
		return p
	}
	ctx, err := verbs.OpenWith(lossy(t), verbs.Options{Trace: file})
	must(t, err)
	f := fabricUnder{name: "traced", open: openInproc, lossy: true}
	perform(t, f, ctx, f.context(t))
	must(t, ctx.Close())
	must(t, file.Close())

	var stdout, stderr bytes.Buffer
	cmd := exec.Command(tshark, "-n", "-r", path, "--disable-protocol", "rpcordma", "--disable-protocol", "infiniband.eoib", "-o", "udp.check_checksum:TRUE",
		"-T", "fields", "-E", "occurrence=f", "-e", "frame.protocols", "-e", "infiniband.bth.opcode", "-e", "infiniband.aeth.syndrome", "-e", "_ws.expert.severity",
		"-e", "_ws.expert.message", "-e", "udp.checksum.status")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	var seen []ib.Opcode
	var syndromes []ib.SyndromeKind
	for line := range strings.Lines(stdout.String()) {
		col := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if !strings.HasPrefix(col[0], "eth:ethertype:ipv6:udp:infiniband") || strings.Contains(col[0], "malformed") || col[5] != "1" && col[5] != "Good" {
			t.Errorf("frame with protocols %s, UDP checksum %s", col[0], col[5])
		}
		op, err := strconv.ParseUint(col[1], 0, 8)
		if err != nil {
			t.Fatalf("opcode %q: %v", col[1], err)
		}
		seen = append(seen, ib.Opcode(op))
		const warning = 0x00600000
		if severity, _ := strconv.ParseUint(col[3], 0, 32); severity >= warning {
			t.Errorf("%v: expert information: %s", ib.Opcode(op), col[4])
		}
		if s, err := strconv.ParseUint(col[2], 0, 8); err == nil {
			kind, _ := ib.DecodeSyndrome(uint8(s))
			syndromes = append(syndromes, kind)
		}
	}
	for _, op := range everyOpcode() {
		if !slices.Contains(seen, op) {
			t.Errorf("no frame with %v", op)
		}
	}
	for _, k := range []ib.SyndromeKind{ib.SyndromeACK, ib.SyndromeRNR, ib.SyndromeNAK} {
		if !slices.Contains(syndromes, k) {
			t.Errorf("no acknowledgement of kind %d", k)
		}
	}
}

// An actor performs operations between two contexts.
type actor struct {
	t         *testing.T
	a, b      *end
	mem, recv region // of b
	src, in   region // of a
	id        uint64
	late      bool // the next receive is posted when the message has come
	ud        *verbs.UDDest
}

func newActor(t *testing.T, f fabricUnder, ca, cb *verbs.Context, kind verbs.QPType) *actor {
	change := func(in *verbs.QPInit) { in.Type = kind }
	p := &actor{t: t, a: newEndOn(t, f, ca, change), b: newEndOn(t, f, cb, change)}
	for i, e := range []*end{p.a, p.b} {
		at := attrFor([]*end{p.b, p.a}[i])
		at.PathMTU, at.MinRNRTimer, at.QKey = 256, 1, 77
		e.bringAny(t, at, verbs.RTS)
	}
	p.mem, p.recv = p.b.reg(t, make([]byte, 1024), allRights|verbs.MWBindAccess), p.b.reg(t, make([]byte, 1024), verbs.LocalWrite)
	p.src, p.in = p.a.reg(t, pattern(1024, 5), 0), p.a.reg(t, make([]byte, 1024), verbs.LocalWrite)
	if kind == verbs.UD {
		ah, err := ca.CreateAH(p.a.pd, verbs.AHAttr{Addr: cb.Addr(), Port: 1})
		must(t, err)
		p.ud = &verbs.UDDest{AH: ah, QPN: p.b.qp.QPN(), QKey: 77}
	}
	return p
}

// do performs one operation and waits for its completions.
func (p *actor) do(op verbs.Opcode, n int, inv uint32) {
	p.id++
	wr := verbs.SendWR{ID: p.id, Opcode: op, Flags: verbs.Signaled, SG: []verbs.SGE{p.src.part(0, n)}, RemoteAddr: p.mem.Addr(), RKey: p.mem.RKey(), Imm: 7,
		InvKey: inv, Mask: &verbs.AtomicMask{Add: 1 << 31, Swap: 3, Compare: 3}, UD: p.ud}
	takes := op == verbs.Send || op == verbs.SendImm || op == verbs.WriteImm || op == verbs.SendInv
	if !takes && op != verbs.Write {
		wr.SG = []verbs.SGE{p.in.part(0, n)}
	}
	post := func() {
		must(p.t, p.b.qp.PostRecv(verbs.RecvWR{ID: p.id, SG: []verbs.SGE{p.recv.sge()}}))
	}
	if takes && !p.late {
		post()
	}
	must(p.t, p.a.qp.PostSend(wr))
	if takes && p.late {
		p.late = false
		p.b.quiet(p.t, time.Millisecond)
		post()
	}
	if takes {
		p.b.expect(p.t, p.id, verbs.Success)
	}
	p.a.expect(p.t, p.id, verbs.Success)
}

// perform has two contexts do all that there is.
func perform(t *testing.T, f fabricUnder, ca, cb *verbs.Context) {
	rc := newActor(t, f, ca, cb, verbs.RC)
	rc.late = true
	for _, n := range []int{0, 1, 300, 700} {
		for _, op := range []verbs.Opcode{verbs.Send, verbs.SendImm, verbs.Write, verbs.WriteImm, verbs.Read} {
			rc.do(op, n, 0)
		}
	}
	for _, op := range []verbs.Opcode{verbs.FetchAdd, verbs.CompareSwap, verbs.MaskedFetchAdd, verbs.MaskedCompareSwap} {
		rc.do(op, 8, 0)
	}
	for _, n := range []int{8, 700} {
		w, err := cb.AllocMW(rc.b.pd, verbs.MWType2)
		must(t, err)
		bind := &verbs.MWBind{MW: w, MR: rc.mem.MR, Buf: rc.mem.b, Access: verbs.RemoteRead, RKey: verbs.IncRKey(w.RKey())}
		must(t, rc.b.qp.PostSend(verbs.SendWR{ID: 500, Opcode: verbs.BindMW, Flags: verbs.Signaled, Bind: bind}))
		rc.b.expect(t, 500, verbs.Success)
		rc.do(verbs.SendInv, n, bind.RKey)
	}
	uc := newActor(t, f, ca, cb, verbs.UC)
	for _, n := range []int{0, 300, 700} {
		for _, op := range []verbs.Opcode{verbs.Send, verbs.SendImm, verbs.Write, verbs.WriteImm} {
			uc.do(op, n, 0)
		}
	}
	ud := newActor(t, f, ca, cb, verbs.UD)
	for _, n := range []int{0, 1, 900} {
		ud.do(verbs.Send, n, 0)
		ud.do(verbs.SendImm, n, 0)
	}
	got := make(chan struct{})
	must(t, cb.OnMAD(func(string, []byte) { close(got) }))
	must(t, ca.SendMAD(cb.Addr(), ib.NewCM(1, &ib.RTU{LocalCommID: 2, RemoteCommID: 3}).Append(nil)))
	select {
	case <-got:
	case <-time.After(10 * time.Second):
		t.Error("no management datagram has come")
	}
	must(t, rc.a.qp.PostSend(verbs.SendWR{ID: 600, Opcode: verbs.Write, SG: []verbs.SGE{rc.src.part(0, 8)}, RemoteAddr: 1, RKey: 1}))
	rc.a.expect(t, 600, verbs.RemAccessErr)
}
