package verbs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

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

// TestDevicesOfTheKernel lists a made-up /sys in a mount namespace: a sound device, and one at which rdmamap panics.
func TestDevicesOfTheKernel(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childRole+"=devices")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if os.IsPermission(err) {
		t.Skipf("this machine allows no user namespaces: %v", err)
	}
	must(t, err)
	want := "emu0 (emulated)\nmlx5_0 (present, not driven; ports [1 2]) [/dev/infiniband/uverbs0]\n"
	if got := string(out); got != want {
		t.Errorf("devices:\n%swant:\n%s", got, want)
	}
}

// childDevices lays the tree out and lists it.
func childDevices() int {
	dir := "/sys/class"
	steps := []error{
		unix.Mount("tmpfs", dir, "tmpfs", 0, ""),
		os.MkdirAll(filepath.Join(dir, "infiniband"), 0o755),
		os.MkdirAll(filepath.Join(dir, "real/mlx5_0/ports/1"), 0o755),
		os.MkdirAll(filepath.Join(dir, "real/mlx5_0/ports/2"), 0o755),
		os.Symlink("../real/mlx5_0", filepath.Join(dir, "infiniband/mlx5_0")),
		os.Symlink("../real/mlx5_0", filepath.Join(dir, "infiniband/"+verbs.Emulated)), // hidden by ours
		os.MkdirAll(filepath.Join(dir, "infiniband_verbs/uverbs0"), 0o755),
		os.WriteFile(filepath.Join(dir, "infiniband_verbs/uverbs0/ibdev"), []byte("mlx5_0\n"), 0o644),
	}
	for _, err := range steps {
		if err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			return 1
		}
	}
	for _, d := range verbs.Devices() {
		s := d.String()
		if len(d.CharDevs) > 0 {
			s += " [" + strings.Join(d.CharDevs, " ") + "]"
		}
		os.Stdout.WriteString(s + "\n")
	}
	return 0
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
