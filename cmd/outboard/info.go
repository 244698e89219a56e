package main

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"

	"outboard/verbs"
	"outboard/verbs/fabric"
	"outboard/verbs/fabric/inproc"
	"outboard/verbs/fabric/shm"
)

func init() {
	commands = append(commands, command{
		name: "info", args: "[flags]", summary: "Show the devices, fabrics, processors and limits of this machine", run: info,
	})
}

// info prints what a run on this machine would find.
func info(std stdio, args []string) int {
	fs := newFlags("info")
	verbose := fs.Bool("v", false, "show all attributes of the devices, and the counters of real ones")
	name := fs.String("d", "", "show the device `NAME` and nothing else")
	list := fs.Bool("l", false, "list the names of the devices and nothing else")
	if code, ok := parse(std, fs, args); !ok {
		return code
	}
	if fs.NArg() > 0 {
		return complain(std, "info: unexpected argument %q", fs.Arg(0))
	}
	devices := verbs.Devices()
	switch {
	case *list && *name != "":
		return complain(std, "info: -l and -d %s: want one of them", *name)
	case *list:
		listDevices(std.out, devices)
		return exitOK
	case *name != "":
		d, ok := findDevice(devices, *name)
		if !ok {
			return complain(std, "info: -d %s: want a device of this machine: %s", *name, listOf(deviceNames(devices)))
		}
		return describeDevices(std, []verbs.Device{d}, *verbose)
	}
	code := describeDevices(std, devices, *verbose)
	w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	if printFabrics(w) {
		code = exitFail
	}
	printProcessor(w)
	printProcessLimits(w)
	w.Flush()
	return code
}

// fabrics are the wires that the emulated device can be attached to.
var fabrics = []struct {
	name, reach string
	open        func() (fabric.Port, error)
}{
	{"inproc", "ranks of one process", func() (fabric.Port, error) { return inproc.New().Open(inproc.Options{}) }},
	{"shm", "processes of one machine", func() (fabric.Port, error) { return shm.Open(shm.Options{}) }},
}

// printFabrics attaches the emulated device to each fabric in turn and shows
// its limits there. It returns whether a fabric does not work.
func printFabrics(w io.Writer) (failed bool) {
	for i, f := range fabrics {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "Fabric %s\n", f.name)
		fmt.Fprintf(w, "  connects\t%s\n", f.reach)
		if err := printFabric(w, f.open); err != nil {
			fmt.Fprintf(w, "  does not work\t%v\n", err)
			failed = true
		}
	}
	return failed
}

func printFabric(w io.Writer, open func() (fabric.Port, error)) error {
	port, err := open()
	if err != nil {
		return err
	}
	ctx, err := verbs.Open(port)
	if err != nil {
		port.Close()
		return err
	}
	defer ctx.Close()
	a, l := ctx.FabricAttr(), ctx.Limits()
	fmt.Fprintf(w, "  largest packet\t%s, cheapest up to %s\n", size(a.MTU), size(a.Inline))
	fmt.Fprintf(w, "  largest message\t%s, inline up to %s\n", size(l.MaxMsg), size(l.MaxInline))
	fmt.Fprintf(w, "  queue pairs\t%d, each with up to %d work requests of %d pieces\n", l.MaxQP, l.MaxWR, l.MaxSGE)
	fmt.Fprintf(w, "  reads and atomics in flight\t%d\n", l.MaxRdAtomic)
	fmt.Fprintf(w, "  completions in a queue\t%d\n", l.MaxCQE)
	fmt.Fprintf(w, "  memory regions\t%d\n", l.MaxMR)
	return nil
}

// printProcessor shows what computes.
func printProcessor(w io.Writer) {
	fmt.Fprintf(w, "\nProcessor\n")
	fmt.Fprintf(w, "  architecture\t%s\n", runtime.GOARCH)
	fmt.Fprintf(w, "  usable CPUs\t%d\n", runtime.NumCPU())
	fmt.Fprintf(w, "  features\t%s\n", listOf(features()))
}

// features are the instruction sets that reductions and kernels can use.
func features() (names []string) {
	for _, f := range []struct {
		name string
		has  bool
	}{
		{"avx2", cpu.X86.HasAVX2}, {"fma", cpu.X86.HasFMA}, {"avx512f", cpu.X86.HasAVX512F}, {"avx512dq", cpu.X86.HasAVX512DQ},
		{"avx512vl", cpu.X86.HasAVX512VL}, {"avx512bw", cpu.X86.HasAVX512BW}, {"asimd", cpu.ARM64.HasASIMD}, {"sve", cpu.ARM64.HasSVE},
	} {
		if f.has {
			names = append(names, f.name)
		}
	}
	return names
}

// printProcessLimits shows what bounds the ranks of a job.
func printProcessLimits(w io.Writer) {
	fmt.Fprintf(w, "\nLimits\n")
	for _, l := range []struct {
		name     string
		resource int
		format   func(uint64) string
	}{
		{"open files", unix.RLIMIT_NOFILE, count},
		{"processes of the user", unix.RLIMIT_NPROC, count},
		{"locked memory", unix.RLIMIT_MEMLOCK, func(n uint64) string { return size(int(n)) }},
	} {
		var r unix.Rlimit
		if err := unix.Getrlimit(l.resource, &r); err != nil {
			fmt.Fprintf(w, "  %s\tunknown: %v\n", l.name, err)
			continue
		}
		text := "unlimited"
		if r.Cur != unix.RLIM_INFINITY {
			text = l.format(r.Cur)
		}
		fmt.Fprintf(w, "  %s\t%s\n", l.name, text)
	}
}

func count(n uint64) string { return fmt.Sprint(n) }

// size writes a number of bytes with the largest unit that divides it.
func size(n int) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for n >= 1024 && n%1024 == 0 && i < len(units)-1 {
		n /= 1024
		i++
	}
	return fmt.Sprintf("%d %s", n, units[i])
}

// listOf joins names, or says that there are none.
func listOf(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, " ")
}
