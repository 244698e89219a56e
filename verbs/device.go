package verbs

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/Mellanox/rdmamap"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/inproc"
)

// A Device is an RDMA device of this host: the emulated one, which is always
// there, or one that the kernel lists, which is shown but not driven.
type Device struct {
	Name     string
	Emulated bool
	Ports    []int    // their numbers, ascending
	CharDevs []string // paths of the character devices of a real device
}

// Emulated is the name of the device that is always there.
const Emulated = "emu0"

// Devices lists the devices of this host, the emulated one first, then those in
// /sys/class/infiniband by name (ibv_get_device_list(3)). A real device that has the name of the emulated one is left out.
func Devices() []Device {
	ds := []Device{{Name: Emulated, Emulated: true, Ports: []int{PortNum}}}
	names := quiet(rdmamap.GetRdmaDeviceList)
	slices.Sort(names)
	for _, name := range names {
		if name == "" || name == Emulated {
			continue
		}
		d := Device{Name: name, CharDevs: quiet(func() []string { return rdmamap.GetRdmaCharDevices(name) })}
		for _, port := range quiet(func() []string { return rdmamap.GetPorts(name) }) {
			if n, ok := decimal(port); ok && n > 0 {
				d.Ports = append(d.Ports, n)
			}
		}
		slices.Sort(d.Ports)
		slices.Sort(d.CharDevs)
		ds = append(ds, d)
	}
	return ds
}

// quiet guards a look into sysfs: rdmamap panics on malformed entries, which
// means that there is nothing to show.
func quiet[T any](look func() T) (found T) {
	defer func() {
		if recover() != nil {
			var nothing T
			found = nothing
		}
	}()
	return look()
}

// localSwitch joins the contexts of this process that were opened without a port.
var localSwitch = sync.OnceValue(inproc.New)

// Open opens the device with a port on the in-process wire: contexts
// opened so reach each other. A real device gives ErrNotDriven.
func (d Device) Open() (*Context, error) { return d.OpenWith(Options{}) }

// OpenWith is Open with options.
func (d Device) OpenWith(o Options) (*Context, error) {
	if !d.Emulated {
		return nil, opErr("open_device", d.Name, ErrNotDriven, "only %s is driven", Emulated)
	}
	port, err := localSwitch().Open(inproc.Options{})
	if err != nil {
		return nil, &Error{Op: "open_device", Object: d.Name, Err: err}
	}
	c, err := OpenWith(port, o)
	if err != nil {
		return nil, errors.Join(err, port.Close())
	}
	return c, nil
}

// Open is OpenWith and no options.
func Open(port fabric.Port) (*Context, error) { return OpenWith(port, Options{}) }

func (d Device) String() string {
	if d.Emulated {
		return d.Name + " (emulated)"
	}
	return fmt.Sprintf("%s (present, not driven; ports %v)", d.Name, d.Ports)
}
