package verbs

import (
	"reflect"
	"testing"

	"outboard/verbs/fabric/inproc"
)

// TestBuiltRequests compares what each method of a builder makes with the request that PostSend would be given.
func TestBuiltRequests(t *testing.T) {
	port, err := inproc.New().Open(inproc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(port)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const key, addr = 0x77, 0x123450
	sge := SGE{Buf: make([]byte, 3), LKey: 5}
	mask := AtomicMask{Compare: 1, Swap: 2, Add: 4}
	k, other, ah := &Counter{}, &QP{}, &AH{}
	for _, x := range []struct {
		name  string
		typ   QPType
		build func(b *WRBuilder)
		want  SendWR
	}{
		{"send", RC, func(b *WRBuilder) { b.Send() }, SendWR{Opcode: Send}},
		{"send, one piece", RC, func(b *WRBuilder) { b.Send(); b.SetSGE(sge) }, SendWR{Opcode: Send, SG: []SGE{sge}}},
		{"send, a list", RC, func(b *WRBuilder) { b.Send(); b.SetSGEList([]SGE{sge, sge}) }, SendWR{Opcode: Send, SG: []SGE{sge, sge}}},
		{"send, inline", RC, func(b *WRBuilder) { b.Send(); b.SetInline([]byte{7, 8}) }, SendWR{Opcode: Send, Flags: Inline, SG: []SGE{{Buf: []byte{7, 8}}}}},
		{"send, an inline list", RC, func(b *WRBuilder) { b.Send(); b.SetInlineList([][]byte{{7}, nil, {8, 9}}) },
			SendWR{Opcode: Send, Flags: Inline, SG: []SGE{{Buf: []byte{7, 8, 9}}}}},
		{"send with immediate", RC, func(b *WRBuilder) { b.SendImm(9) }, SendWR{Opcode: SendImm, Imm: 9}},
		{"send with invalidate", RC, func(b *WRBuilder) { b.SendInv(key) }, SendWR{Opcode: SendInv, InvKey: key}},
		{"send to", UD, func(b *WRBuilder) { b.Send(); b.SetUD(UDDest{AH: ah, QPN: 3, QKey: 4}) }, SendWR{Opcode: Send, UD: &UDDest{AH: ah, QPN: 3, QKey: 4}}},
		{"write", RC, func(b *WRBuilder) { b.Write(key, addr) }, SendWR{Opcode: Write, RKey: key, RemoteAddr: addr}},
		{"write with immediate", RC, func(b *WRBuilder) { b.WriteImm(key, addr, 9) }, SendWR{Opcode: WriteImm, RKey: key, RemoteAddr: addr, Imm: 9}},
		{"read", RC, func(b *WRBuilder) { b.Read(key, addr) }, SendWR{Opcode: Read, RKey: key, RemoteAddr: addr}},
		{"compare and swap", RC, func(b *WRBuilder) { b.CompareSwap(key, addr, 1, 2) }, SendWR{Opcode: CompareSwap, RKey: key, RemoteAddr: addr, Compare: 1, Swap: 2}},
		{"fetch and add", RC, func(b *WRBuilder) { b.FetchAdd(key, addr, 3) }, SendWR{Opcode: FetchAdd, RKey: key, RemoteAddr: addr, Add: 3}},
		{"masked compare and swap", RC, func(b *WRBuilder) { b.MaskedCompareSwap(key, addr, 1, 2, mask) },
			SendWR{Opcode: MaskedCompareSwap, RKey: key, RemoteAddr: addr, Compare: 1, Swap: 2, Mask: &mask}},
		{"masked fetch and add", RC, func(b *WRBuilder) { b.MaskedFetchAdd(key, addr, 3, mask) },
			SendWR{Opcode: MaskedFetchAdd, RKey: key, RemoteAddr: addr, Add: 3, Mask: &mask}},
		{"local invalidate", RC, func(b *WRBuilder) { b.LocalInv(key) }, SendWR{Opcode: LocalInv, InvKey: key}},
		{"bind", RC, func(b *WRBuilder) { b.BindMW(MWBind{}) }, SendWR{Opcode: BindMW, Bind: &MWBind{}}},
		{"wait", RC, func(b *WRBuilder) { b.Wait(k, 6) }, SendWR{Opcode: WaitCounter, Wait: &WaitFor{k, 6}}},
		{"enable", RC, func(b *WRBuilder) { b.Enable(other, 6) }, SendWR{Opcode: SendEnable, Enable: &Enable{other, 6}}},
	} {
		t.Run(x.name, func(t *testing.T) {
			b := (&QP{ctx: c, init: QPInit{Type: x.typ, Cap: QPCap{Inline: 8}}}).Start()
			b.ID, b.Flags = 1, Inline|Solicited // of the request before it
			b.Send()
			b.ID, b.Flags = 11, Signaled|Fence
			x.build(b)
			x.want.ID, x.want.Flags = 11, x.want.Flags|Signaled|Fence
			if b.err != nil || len(b.wrs) != 2 {
				t.Fatalf("%d requests, %v", len(b.wrs), b.err)
			}
			for i, want := range []SendWR{{ID: 1, Flags: Solicited}, x.want} {
				b.point(&b.wrs[i])
				if got := b.wrs[i].wr; !reflect.DeepEqual(got, want) {
					t.Errorf("request %d:\n%+v, want\n%+v", i, got, want)
				}
			}
			b.Abort()
			if len(b.wrs)+len(b.sge)+len(b.data) != 0 {
				t.Error("something is left after Abort")
			}
		})
	}
}
