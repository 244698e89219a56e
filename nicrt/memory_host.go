package nicrt

import "fmt"

// HostMemory is registered host memory that a program may reach by DMA, with
// [Task.WriteHost] and [Task.ReadHost] and nothing else. A NIC makes it from a
// memory region; a program holds it in its handlers' closures. Every access is
// checked for range and rights when it runs, so that a region that its owner
// has taken back is out of reach at once.
type HostMemory interface {
	// hostSpan returns the n bytes at off for reading or for writing, or a
	// *DMAError. They may be used until the caller gives up the NIC.
	hostSpan(off uint64, n int, write bool) ([]byte, error)
}

// A DMAError reports a DMA that host memory does not allow.
type DMAError struct {
	Off    uint64 // first byte of the access
	Len    int    // bytes of the access
	Size   int    // bytes of the region
	Write  bool   // towards the host
	Reason string // what was wrong
}

func (e *DMAError) Error() string {
	kind := "read"
	if e.Write {
		kind = "write"
	}
	return fmt.Sprintf("nicrt: DMA %s of %d bytes at offset %d of a host region of %d bytes: %s",
		kind, e.Len, e.Off, e.Size, e.Reason)
}

// hostWindow is HostMemory over bytes of this process.
type hostWindow struct {
	bytes     []byte
	canRead   bool
	canWrite  bool
	withdrawn bool // its owner has taken it back
}

var _ HostMemory = (*hostWindow)(nil)

func (w *hostWindow) hostSpan(off uint64, n int, write bool) ([]byte, error) {
	if reason := w.refusal(off, n, write); reason != "" {
		return nil, &DMAError{Off: off, Len: n, Size: len(w.bytes), Write: write, Reason: reason}
	}
	return w.bytes[off:][:n:n], nil
}

// refusal says why an access is not allowed, or nothing.
func (w *hostWindow) refusal(off uint64, n int, write bool) string {
	switch size := uint64(len(w.bytes)); {
	case w.withdrawn:
		return "the region is no longer registered"
	case n < 0 || off > size || uint64(n) > size-off:
		return "outside the region"
	case write && !w.canWrite:
		return "no right to write"
	case !write && !w.canRead:
		return "no right to read"
	}
	return ""
}
