package launch

import (
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Bind says how ranks are bound to CPUs.
type Bind int

// The choices of binding.
const (
	BindAuto Bind = iota // BindCore if there is a CPU for each rank, else BindNone
	BindCore             // each rank to its share of the CPUs, in turn if there are too few
	BindNone             // leave it to the kernel
)

var bindNames = []string{BindAuto: "auto", BindCore: "core", BindNone: "none"}

// MarshalText returns "auto", "core" or "none".
func (b Bind) MarshalText() ([]byte, error) {
	if b < BindAuto || b > BindNone {
		return nil, &ArgError{Field: "Bind", Got: strconv.Itoa(int(b)), Want: strings.Join(bindNames, ", ")}
	}
	return []byte(bindNames[b]), nil
}

// UnmarshalText reads what MarshalText writes.
func (b *Bind) UnmarshalText(text []byte) error {
	i := slices.Index(bindNames, string(text))
	if i < 0 {
		return &ArgError{Field: "Bind", Got: string(text), Want: strings.Join(bindNames, ", ")}
	}
	*b = Bind(i)
	return nil
}

// share returns the CPUs for each of n ranks, or nil if ranks are not bound.
//
// With CPUs to spare each rank gets an equal block of neighbours, not a single
// one: a Go process has more threads than its goroutine, among them the
// garbage collector and the thread of the NIC, and they had better not
// interrupt it.
func (b Bind) share(n int, cpus []int) [][]int {
	if b == BindNone || b == BindAuto && n > len(cpus) {
		return nil
	}
	each := max(1, len(cpus)/n)
	shares := make([][]int, n)
	for rank := range shares {
		first := rank * each % len(cpus)
		shares[rank] = cpus[first : first+each]
	}
	return shares
}

// procs is the GOMAXPROCS of a rank when n ranks have so many CPUs: its share,
// at least one. A second one on a rank's only CPU would let the NIC run as soon as the kernel sees it wake,
// instead of when Go's scheduler preempts the computation, up to 10 ms
// later; but it costs an Allreduce of 8 B between two ranks a third (0.38 against 0.54 µs).
func procs(n, cpus int) int { return max(1, cpus/n) }

// allowedCPUs returns the CPUs that this process may use, siblings next to
// each other; sys is the file system at /sys.
func allowedCPUs(sys fs.FS) []int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		for cpu := range runtime.NumCPU() { // more CPUs than a CPUSet can hold
			set.Set(cpu)
		}
	}
	var cpus []int
	for cpu := 0; len(cpus) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	sortByCore(cpus, sys)
	return cpus
}

// sortByCore puts CPUs of one socket, and in it the threads of one core, next
// to each other, so that a block of CPUs is whole cores where possible.
func sortByCore(cpus []int, sys fs.FS) {
	place := make(map[int][3]int, len(cpus))
	for _, cpu := range cpus {
		place[cpu] = [3]int{topology(sys, cpu, "physical_package_id"), topology(sys, cpu, "core_id"), cpu}
	}
	slices.SortFunc(cpus, func(a, b int) int {
		pa, pb := place[a], place[b]
		return slices.Compare(pa[:], pb[:])
	})
}

// topology reads one number about a CPU; 0 if the kernel does not tell.
func topology(sys fs.FS, cpu int, name string) int {
	text, err := fs.ReadFile(sys, fmt.Sprintf("devices/system/cpu/cpu%d/topology/%s", cpu, name))
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return n
}

// bindThread binds the calling thread, and the processes that it starts.
func bindThread(cpus []int) error {
	var set unix.CPUSet
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	return unix.SchedSetaffinity(0, &set)
}
