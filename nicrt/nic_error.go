package nicrt

import (
	"errors"
	"fmt"

	"outboard/verbs"
)

// ErrClosed is what errors.Is finds in the errors of what a closed NIC cannot do, or could not finish.
var ErrClosed = errors.New("nicrt: NIC is closed")

// An ArgumentError reports an argument that a call does not take. Nothing has been done.
type ArgumentError struct {
	Call  string // method
	Name  string // of the argument
	Value string // what it was
	Want  string // what was expected
	Err   error  // ErrBusy if the argument is in use, else nil
}

// Error implements error.
func (e *ArgumentError) Error() string {
	s := fmt.Sprintf("nicrt: %s: %s is %s, want %s", e.Call, e.Name, e.Value, e.Want)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives the cause.
func (e *ArgumentError) Unwrap() error { return e.Err }

func argument(call, name string, value int, want string) *ArgumentError {
	return &ArgumentError{Call: call, Name: name, Value: fmt.Sprint(value), Want: want}
}

// wantPeer says which numbers are peers in a mesh of n.
func wantPeer(n int) string { return fmt.Sprintf("0 to %d", n-1) }

// isPeer reports whether the mesh has a member of that number.
func (n *NIC) isPeer(peer int) bool { return uint(peer) < uint(len(n.peers)) }

// peerArgument is the error about a peer that the mesh does not have.
func (n *NIC) peerArgument(call string, peer int) error {
	return argument(call, "peer", peer, wantPeer(len(n.peers)))
}

// waitError makes the end of the device the end of the NIC.
func waitError(err error) error {
	if errors.Is(err, verbs.ErrDestroyed) {
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return err
}
