package nicrt

import (
	"fmt"

	"outboard/verbs"
)

// Expose lets the peers read b, until Conceal. The caller holds the lock.
func (n *NIC) Expose(b []byte) (addr uint64, key uint32, err error) {
	mr, err := n.eng.RegMR(n.pd, b, verbs.RemoteRead)
	if err != nil {
		return 0, 0, waitError(err)
	}
	i := int(mr.RKey() >> 8)
	for i >= len(n.exposed) {
		n.exposed = append(n.exposed, nil)
	}
	n.exposed[i] = mr
	return mr.Addr(), mr.RKey(), nil
}

// Conceal ends Expose; when it returns nobody reads any more. The caller holds the lock.
func (n *NIC) Conceal(key uint32) {
	if i := int(key >> 8); i < len(n.exposed) && n.exposed[i] != nil && n.exposed[i].RKey() == key {
		n.eng.DeregMR(n.exposed[i])
		n.exposed[i] = nil
	}
}

// Rights say what programs on a NIC may do with registered host memory.
type Rights uint8

const (
	// HostRead allows [Task.ReadHost].
	HostRead Rights = 1 << iota
	// HostWrite allows [Task.WriteHost] and [Task.Steer].
	HostWrite
)

// A HostRegion is host memory that its owner has registered with a NIC. It is a [HostMemory].
type HostRegion struct {
	nic    *NIC
	mr     *verbs.MR
	size   int
	window hostWindow
}

var _ HostMemory = (*HostRegion)(nil)

// Register lets programs on the NIC reach b by DMA, as far as rights allow, through the region that it
// returns: a program's handlers are given it as a Go variable. It is pinned until Deregister. The host may use b meanwhile, but what both touch
// at the same time is undefined until something orders them: an event, a counter or a message. Peers cannot
// reach it. The caller does not hold the lock.
//
// The error is an *ArgumentError, ErrClosed, or the device's if it can register no more.
func (n *NIC) Register(b []byte, rights Rights) (*HostRegion, error) {
	n.Lock()
	defer n.Unlock()
	switch {
	case n.closed:
		return nil, ErrClosed
	case rights == 0 || rights&^(HostRead|HostWrite) != 0:
		return nil, &ArgumentError{Call: "Register", Name: "rights", Value: fmt.Sprintf("%#x", uint8(rights)), Want: "HostRead, HostWrite or both"}
	}
	access := verbs.Access(0)
	if rights&HostWrite != 0 {
		access = verbs.LocalWrite
	}
	mr, err := n.eng.RegMR(n.pd, b, access)
	if err != nil {
		return nil, err
	}
	return &HostRegion{nic: n, mr: mr, size: len(b), window: hostWindow{bytes: b[:len(b):len(b)],
		canRead: rights&HostRead != 0, canWrite: rights&HostWrite != 0}}, nil
}

// Len is the length of the region in bytes.
func (r *HostRegion) Len() int { return r.size }

// Deregister takes the memory back: when it returns no program touches it, and one that tries
// is stopped with a *DMAError. The error is ErrClosed, or an *ArgumentError the second time.
func (r *HostRegion) Deregister() error {
	n := r.nic
	n.Lock()
	defer n.Unlock()
	switch {
	case n.closed:
		return ErrClosed
	case r.window.withdrawn:
		return &ArgumentError{Call: "Deregister", Name: "region", Value: "deregistered", Want: "a registered one"}
	}
	r.window.withdrawn = true
	r.window.bytes = nil
	return n.eng.DeregMR(r.mr)
}

func (r *HostRegion) hostSpan(off uint64, n int, write bool) ([]byte, error) {
	if r == nil {
		return nil, &DMAError{Off: off, Len: n, Write: write, Reason: "no region"}
	}
	return r.window.hostSpan(off, n, write)
}
