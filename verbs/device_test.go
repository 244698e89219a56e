package verbs_test

import (
	"testing"

	"outboard/verbs"
	"outboard/verbs/fabric"
	"outboard/verbs/fabric/inproc"
)

func TestDevicesBeginWithTheEmulatedOne(t *testing.T) {
	ds := verbs.Devices()
	if len(ds) == 0 || ds[0].Name != verbs.Emulated || !ds[0].Emulated {
		t.Fatalf("devices %v, want %s first", ds, verbs.Emulated)
	}
	if got := ds[0].String(); got != "emu0 (emulated)" {
		t.Errorf("device is shown as %q", got)
	}
}

func TestOpen(t *testing.T) {
	t.Run("not driven", func(t *testing.T) {
		_, err := verbs.Device{Name: "mlx5_0"}.Open()
		wantErr(t, err, verbs.ErrNotDriven)
	})
	t.Run("contexts of the device reach each other", func(t *testing.T) {
		open := func(t testing.TB) *end {
			ctx, err := verbs.Devices()[0].Open()
			must(t, err)
			t.Cleanup(func() { ctx.Close() })
			return newEndOn(t, fabricUnder{}, ctx, nil)
		}
		a, b := open(t), open(t)
		a.connect(t, b)
		b.connect(t, a)
		must(t, b.qp.PostRecv(verbs.RecvWR{ID: 1}))
		must(t, a.qp.PostSend(verbs.SendWR{}))
		b.expect(t, 1, verbs.Success)
	})
	for name, change := range map[string]func(*fabric.Attr){
		"tiny MTU":                 func(a *fabric.Attr) { a.MTU = 255 },
		"no room for IBTA packets": func(a *fabric.Attr) { a.MTU, a.Reliable = 256+127, false },
	} {
		t.Run(name, func(t *testing.T) {
			p := openInproc(t)
			defer p.Close()
			a := p.Attr()
			change(&a)
			_, err := verbs.Open(attrPort{p, a})
			wantErr(t, err, verbs.ErrInvalid)
		})
	}
}

type attrPort struct {
	fabric.Port
	attr fabric.Attr
}

func (p attrPort) Attr() fabric.Attr { return p.attr }

func TestClosedContext(t *testing.T) {
	e := newEnd(t, plainFabrics[0])
	mem, err := e.ctx.AllocMem(100)
	must(t, err)
	mr, err := e.ctx.RegMR(e.pd, make([]byte, 8), 0)
	must(t, err)
	must(t, e.ctx.Close())
	for name, call := range map[string]func() error{
		"close":          e.ctx.Close,
		"alloc pd":       func() error { _, err := e.ctx.AllocPD(); return err },
		"reg mr":         func() error { _, err := e.ctx.RegMR(e.pd, nil, 0); return err },
		"dereg mr":       mr.Dereg,
		"create cq":      func() error { _, err := e.ctx.CreateCQ(1, nil); return err },
		"create channel": func() error { _, err := e.ctx.CreateCompChannel(); return err },
		"create qp":      func() error { _, err := e.ctx.CreateQP(e.pd, verbs.QPInit{SendCQ: e.cq, RecvCQ: e.cq}); return err },
		"modify":         func() error { return e.qp.Modify(verbs.QPAttr{State: verbs.Reset}, verbs.AttrState) },
		"post send":      func() error { return e.qp.PostSend(verbs.SendWR{}) },
		"post recv":      func() error { return e.qp.PostRecv(verbs.RecvWR{}) },
		"destroy qp":     e.qp.Destroy,
		"poll":           func() error { _, err := e.cq.Poll(make([]verbs.WC, 1)); return err },
		"wait":           func() error { _, err := e.cq.Wait(t.Context(), make([]verbs.WC, 1)); return err },
		"alloc mem":      func() error { _, err := e.ctx.AllocMem(1); return err },
		"free mem":       func() error { return e.ctx.FreeMem(mem) },
	} {
		t.Run(name, func(t *testing.T) { wantErr(t, call(), verbs.ErrDestroyed) })
	}
}

func TestLimits(t *testing.T) {
	p, err := inproc.New().Open(inproc.Options{Endpoints: 2, Regions: 256})
	must(t, err)
	e := newEnd(t, fabricUnder{open: func(testing.TB) fabric.Port { return p }})
	l := e.ctx.Limits()
	if l.MaxQP != 2 || l.MaxMR != 256 {
		t.Fatalf("limits %+v, want 2 queue pairs and 256 regions", l)
	}
	t.Run("queue pairs", func(t *testing.T) {
		newEndOn(t, fabricUnder{}, e.ctx, nil)
		for range 3 {
			_, err := e.ctx.CreateQP(e.pd, verbs.QPInit{SendCQ: e.cq, RecvCQ: e.cq})
			wantErr(t, err, verbs.ErrLimit)
		}
	})
	t.Run("regions", func(t *testing.T) {
		for range 256 {
			_, err := e.ctx.RegMR(e.pd, nil, 0)
			must(t, err)
		}
		_, err := e.ctx.RegMR(e.pd, nil, 0)
		wantErr(t, err, verbs.ErrLimit)
	})
}
