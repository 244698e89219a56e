package fabrictest

import (
	"testing"
	"time"
	"unsafe"

	"outboard/verbs/fabric"
)

// testNoAllocation checks that no hot path allocates.
func testNoAllocation(t *testing.T, open Open) {
	p, c := pair(t, open)
	var count counter
	h := &fabric.Header{Flags: fabric.AckNow}
	small, large := make([]byte, 24), make([]byte, p[0].Attr().MTU)
	mem, err := p[1].AllocMem(4096)
	if err != nil {
		t.Fatal(err)
	}
	base := uint64(uintptr(unsafe.Pointer(&mem[0])))
	if err := p[1].Publish(fabric.Region{Key: 0x100, Base: base, Len: 4096, Buf: mem}); err != nil {
		t.Fatal(err)
	}
	direct := c[0].Direct()
	mover, _ := direct.(fabric.Mover)
	terms := &fabric.Terms{}
	var r fabric.Region
	paths := map[string]func(){
		"empty": func() { p[1].Poll(&count, 16) },
		"small": func() { c[0].Send(h, small, small); p[1].Poll(&count, 16) },
		"large": func() { c[0].Send(h, small, large[24:]); p[1].Poll(&count, 16); c[0].Acked() },
		"grant": func() { c[1].Grant(fabric.Grant{Ready: true}); c[0].PeerGrant() },
		"sleep": func() {
			ticket := p[1].Arm()
			c[0].Send(h, small, nil)
			p[1].Sleep(ticket, time.Second)
			p[1].Poll(&count, 16)
		},
		"direct": func() {
			var ok bool
			if r, ok = direct.Enter(0x100); !ok || direct.WriteAt(&r, small, base) != nil || direct.ReadAt(&r, small, base) != nil {
				t.Fatal("direct access failed")
			}
			if _, err := direct.FetchAdd(&r, base, 1); err != nil {
				t.Fatal(err)
			}
			direct.Leave()
		},
		"move": func() {
			c[1].Grant(fabric.Grant{Ready: true})
			if mover != nil && !mover.Move(0x100, terms, base, small, true) && c[0].Sent() == c[0].Acked() {
				t.Fatal("nothing moved")
			}
		},
	}
	if direct == nil {
		delete(paths, "direct")
		delete(paths, "move")
	}
	for name, f := range paths {
		f()
		before := count.n
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
		if name == "small" && count.n-before != 101 {
			t.Errorf("%d packets came, want 101", count.n-before)
		}
	}
}
