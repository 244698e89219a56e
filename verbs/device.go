package verbs

import (
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
	// Ports, CharDevs and NetDevs describe a real device, as far as the system tells.
	Ports    []string
	CharDevs []string
}

// Emulated is the name of the device that is always there.
const Emulated = "emu0"

// Devices lists the devices of this host, the emulated one first.
func Devices() []Device {
	ds := []Device{{Name: Emulated, Emulated: true, Ports: []string{"1"}}}
	for _, name := range quiet(rdmamap.GetRdmaDeviceList) {
		if name == "" || name == Emulated {
			continue
		}
		ds = append(ds, Device{
			Name:     name,
			Ports:    quiet(func() []string { return rdmamap.GetPorts(name) }),
			CharDevs: quiet(func() []string { return rdmamap.GetRdmaCharDevices(name) }),
		})
	}
	return ds
}

// quiet guards a look into sysfs: rdmamap panics on malformed entries, which
// for a listing means that there is nothing to show. The result is sorted.
func quiet(look func() []string) (out []string) {
	defer func() {
		if recover() != nil {
			out = nil
		}
	}()
	out = look()
	slices.Sort(out)
	return out
}

// localSwitch joins the contexts of this process that were opened without a port.
var localSwitch = sync.OnceValue(inproc.New)

// Open opens the device with a port on the in-process wire: contexts
// opened so reach each other. A real device gives ErrNotDriven.
func (d Device) Open() (*Context, error) {
	if !d.Emulated {
		return nil, opErr("open_device", d.Name, ErrNotDriven, "only %s is driven", Emulated)
	}
	port, err := localSwitch().Open(inproc.Options{})
	if err != nil {
		return nil, &Error{Op: "open_device", Object: d.Name, Err: err}
	}
	return Open(port)
}

// Open is OpenWith and no options.
func Open(port fabric.Port) (*Context, error) { return OpenWith(port, Options{}) }

func (d Device) String() string {
	if d.Emulated {
		return d.Name + " (emulated)"
	}
	return fmt.Sprintf("%s (present, not driven; ports %v)", d.Name, d.Ports)
}
