package fabrictest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"sync"
	"time"

	"outboard/verbs/fabric"
)

// expose gives b n bytes of memory and publishes them under the key.
func (e *env) expose(key uint32, n int, plain bool) (mem int, g fabric.Region) {
	e.Helper()
	r := e.b.must(command{Do: "alloc", N: n, Plain: plain})
	g = fabric.Region{Key: key, PD: key + 1, Access: key + 2, Base: r.X, Len: uint64(n)}
	e.b.must(command{Do: "publish", Region: g, Mem: r.N, N: n})
	return r.N, g
}

// enter enters a region from a.
func (e *env) enter(ep int, key uint32) (fabric.Region, bool) {
	e.Helper()
	r := e.a.must(command{Do: "enter", EP: ep, Region: fabric.Region{Key: key}})
	return r.Region, r.OK
}

func (e *env) leave(ep int) {
	e.Helper()
	e.a.must(command{Do: "leave", EP: ep})
}

// wantRegion checks that a can enter the region if want is not nil, and else that it can't.
func (e *env) wantRegion(ep int, key uint32, want *fabric.Region) {
	e.Helper()
	got, ok := e.enter(ep, key)
	switch {
	case ok != (want != nil):
		e.Fatalf("enter %#x: %v", key, ok)
	case ok && (got.Key != want.Key || got.PD != want.PD || got.Access != want.Access || got.Base != want.Base || got.Len != want.Len):
		e.Fatalf("enter %#x: %+v, want %+v", key, got, *want)
	case ok:
		e.leave(ep)
	}
}

func testRegions(e *env) {
	ep, _ := e.joinDirect()
	last := uint32(e.b.attr.Regions-1)<<8 | 255
	for _, key := range []uint32{1, 0x100, 0x1234ff & (uint32(e.b.attr.Regions)<<8 - 1), last} {
		e.wantRegion(ep, key, nil)
		mem, g := e.expose(key, 100, false)
		e.wantRegion(ep, key, &g)
		e.wantRegion(ep, key^1, nil)
		e.wantRegion(ep, key^0x100, nil)
		e.b.wantErr(fabric.ErrRegion, command{Do: "publish", Region: g, Mem: mem, N: 100})
		e.b.must(command{Do: "withdraw", Region: g})
		e.wantRegion(ep, key, nil)
		// The next variant at the same index.
		next := g
		next.Key = key ^ 2
		next.PD, next.Access = 5, 6
		e.b.must(command{Do: "publish", Region: next, Mem: mem, N: 100})
		e.wantRegion(ep, key, nil)
		e.wantRegion(ep, next.Key, &next)
		e.b.must(command{Do: "withdraw", Region: next})
	}
	for _, key := range []uint32{0, last + 1, math.MaxUint32} {
		e.wantRegion(ep, key, nil)
	}
}

func testRegionErrors(e *env) {
	r := e.b.must(command{Do: "alloc", N: 64, Plain: true})
	good := fabric.Region{Key: 0x301, Base: r.X, Len: 64}
	for name, change := range map[string]func(*fabric.Region){
		"key 0":    func(g *fabric.Region) { g.Key = 0 },
		"index":    func(g *fabric.Region) { g.Key = uint32(e.b.attr.Regions) << 8 },
		"length":   func(g *fabric.Region) { g.Len = 63 },
		"overflow": func(g *fabric.Region) { g.Base = math.MaxUint64 - 10 },
	} {
		bad := good
		change(&bad)
		if _, err := e.b.try(command{Do: "publish", Region: bad, Mem: r.N, N: 64}); !errors.Is(err, fabric.ErrRegion) {
			e.Errorf("publish with bad %s: %v", name, err)
		}
	}
	for _, key := range []uint32{0, 0x301, 0x300, math.MaxUint32} {
		e.b.wantErr(fabric.ErrRegion, command{Do: "withdraw", Region: fabric.Region{Key: key}})
	}
	e.b.must(command{Do: "publish", Region: good, Mem: r.N, N: 64})
	e.b.wantErr(fabric.ErrRegion, command{Do: "withdraw", Region: fabric.Region{Key: 0x302}})
	e.b.must(command{Do: "withdraw", Region: good})
	e.b.wantErr(fabric.ErrRegion, command{Do: "withdraw", Region: good})
}

func testDirect(e *env) {
	ep, _ := e.joinDirect()
	for i, plain := range []bool{false, true} {
		const size = 3 << 20
		key := uint32(i+1) << 8
		mem, g := e.expose(key, size, plain)
		if _, ok := e.enter(ep, key); !ok {
			e.Fatalf("enter %#x: no", key)
		}
		for _, n := range []int{0, 1, 7, 8, 63, 4096, 4097, 1 << 17} {
			for _, off := range []int{0, 1, 4095, size - n} {
				data := noise[:n]
				e.a.must(command{Do: "writeat", EP: ep, Region: g, Data: data, At: g.Base + uint64(off)})
				if got := e.b.must(command{Do: "load", Mem: mem, Off: off, N: n}).Data; !bytes.Equal(got, data) {
					e.Fatalf("plain %v: wrote %d bytes at %d, they are not there", plain, n, off)
				}
				data = noise[len(noise)-n:]
				e.b.must(command{Do: "store", Mem: mem, Off: off, Data: data})
				if got := e.a.must(command{Do: "readat", EP: ep, Region: g, N: n, At: g.Base + uint64(off)}).Data; !bytes.Equal(got, data) {
					e.Fatalf("plain %v: read %d bytes at %d, they are others", plain, n, off)
				}
			}
		}
		e.leave(ep)
	}
}

func testDirectBounds(e *env) {
	ep, _ := e.joinDirect()
	for i, plain := range []bool{false, true} {
		key := uint32(i+1) << 8
		_, g := e.expose(key, 8192, plain)
		read := func(at uint64, n int) command {
			return command{Do: "readat", EP: ep, Region: g, N: n, At: at}
		}
		e.a.wantErr(fabric.ErrRegion, read(g.Base, 8)) // not entered
		if _, ok := e.enter(ep, key); !ok {
			e.Fatal("enter: no")
		}
		if _, ok := e.enter(ep, key); ok {
			e.Fatal("entered a second region")
		}
		for _, c := range []command{
			read(g.Base-1, 1), read(g.Base+8192, 1), read(g.Base+8191, 2), read(g.Base, 8193), read(0, 1),
			read(math.MaxUint64, 1), read(math.MaxUint64-7, 8),
			{Do: "writeat", EP: ep, Region: g, Data: []byte{1}, At: g.Base + 8192},
			{Do: "fetchadd", EP: ep, Region: g, At: g.Base + 8188},
			{Do: "compareswap", EP: ep, Region: g, At: g.Base - 8},
		} {
			e.a.wantErr(fabric.ErrFault, c)
		}
		other := g
		other.Key++
		e.a.wantErr(fabric.ErrRegion, command{Do: "readat", EP: ep, Region: other, N: 1, At: g.Base})
		e.leave(ep)
		e.a.wantErr(fabric.ErrRegion, read(g.Base, 8))
	}
}

func testAtomics(e *env) {
	ep, _ := e.joinDirect()
	mem, g := e.expose(0x100, 64, false)
	if _, ok := e.enter(ep, g.Key); !ok {
		e.Fatal("enter: no")
	}
	at := g.Base + 16
	word := func() uint64 {
		return binary.NativeEndian.Uint64(e.b.must(command{Do: "load", Mem: mem, Off: 16, N: 8}).Data)
	}
	for _, step := range []struct {
		c         command
		old, want uint64
	}{
		{command{Do: "fetchadd", X: 5}, 0, 5},
		{command{Do: "fetchadd", X: math.MaxUint64}, 5, 4},
		{command{Do: "compareswap", X: 3, Y: 9}, 4, 4},
		{command{Do: "compareswap", X: 4, Y: 9}, 4, 9},
		{command{Do: "fetchadd", X: 1 << 63}, 9, 1<<63 + 9},
	} {
		step.c.EP, step.c.Region, step.c.At = ep, g, at
		if r := e.a.must(step.c); r.X != step.old || word() != step.want {
			e.Fatalf("%+v: old %d, then %d; want %d, %d", step.c, r.X, word(), step.old, step.want)
		}
	}
	e.a.wantErr(fabric.ErrFault, command{Do: "fetchadd", EP: ep, Region: g, At: at + 4})
	e.leave(ep)

	_, g = e.expose(0x200, 64, true)
	e.enter(ep, g.Key)
	_, err := e.a.try(command{Do: "fetchadd", EP: ep, Region: g, At: g.Base, X: 1})
	if e.apart != errors.Is(err, fabric.ErrRefused) {
		e.Fatalf("atomic on plain memory: %v", err)
	}
	e.leave(ep)
}

func testAtomicsConcurrent(e *env) {
	const each = 20000
	ep, _ := e.joinDirect()
	mem, g := e.expose(0x100, 64, false)
	self := e.b.open(anyEP, 3) // b reaches its own memory too
	e.b.connect(self, e.b, self)
	var wg sync.WaitGroup
	for _, side := range []struct {
		n  *node
		ep int
	}{{e.a, ep}, {e.b, self}} {
		side.n.must(command{Do: "enter", EP: side.ep, Region: g})
		wg.Go(func() {
			if _, err := side.n.try(command{Do: "fetchadd", EP: side.ep, Region: g, At: g.Base, X: 3, N: each}); err != nil {
				e.Error(err)
			}
		})
	}
	wg.Wait()
	e.leave(ep)
	e.b.must(command{Do: "leave", EP: self})
	got := binary.NativeEndian.Uint64(e.b.must(command{Do: "load", Mem: mem, N: 8}).Data)
	if got != 2*3*each {
		e.Fatalf("sum %d, want %d", got, 2*3*each)
	}
}

func testWithdrawWaits(e *env) {
	ep, _ := e.joinDirect()
	_, g := e.expose(0x100, 64, false)
	if _, ok := e.enter(ep, g.Key); !ok {
		e.Fatal("enter: no")
	}
	done := make(chan error, 1)
	go func() {
		_, err := e.b.try(command{Do: "withdraw", Region: g})
		done <- err
	}()
	select {
	case err := <-done:
		e.Fatalf("withdrawn while it was held: %v", err)
	case <-time.After(30 * time.Millisecond):
	}
	e.leave(ep)
	if err := <-done; err != nil {
		e.Fatal(err)
	}
	e.wantRegion(ep, g.Key, nil)
}

func testMemory(e *env) {
	for _, n := range []int{1, 100, 4096, 4097, 1 << 20, 2 << 20, 5<<20 + 1} {
		r := e.b.must(command{Do: "alloc", N: n})
		align := uint64(4096)
		if n >= 2<<20 {
			align = 2 << 20
		}
		if r.X%align != 0 {
			e.Fatalf("%d bytes at %#x", n, r.X)
		}
		for round := range 2 {
			all := e.b.must(command{Do: "load", Mem: r.N, N: n}).Data
			if len(all) != n || bytes.Count(all, []byte{0}) != n {
				e.Fatalf("%d bytes, round %d: not zeroed", n, round)
			}
			e.b.must(command{Do: "store", Mem: r.N, Data: bytes.Repeat([]byte{7}, n)})
			if n > 1 {
				e.b.wantErr(fabric.ErrNotOurs, command{Do: "free", Mem: r.N, N: n - 1})
				e.b.wantErr(fabric.ErrNotOurs, command{Do: "free", Mem: r.N, Off: 1, N: n - 1})
			}
			e.b.must(command{Do: "free", Mem: r.N, N: n})
			e.b.wantErr(fabric.ErrNotOurs, command{Do: "free", Mem: r.N, N: n})
			r = e.b.must(command{Do: "alloc", N: n})
		}
	}
	for _, n := range []int{0, -1, math.MinInt, math.MaxInt, 1 << 50} {
		e.b.wantErr(fabric.ErrNoMemory, command{Do: "alloc", N: n})
	}
	r := e.b.must(command{Do: "alloc", N: 64, Plain: true})
	e.b.wantErr(fabric.ErrNotOurs, command{Do: "free", Mem: r.N, N: 64})
	e.b.wantErr(fabric.ErrNotOurs, command{Do: "free", Mem: r.N, N: 0})
}
