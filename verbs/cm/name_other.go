//go:build !linux

package cm

import (
	"context"
	"errors"
	"fmt"
)

// A name would hold a port of the machine: that takes abstract Unix sockets.
type name struct{}

var errNoNames = fmt.Errorf("%w: names that hold on the whole machine: %w, use NIC/port", ErrUnreachable, errors.ErrUnsupported)

func hold(uint16, string) (*name, error) { return nil, errNoNames }

func (*name) release() {}

func ask(context.Context, uint16) (nic string, pid int, err error) { return "", 0, errNoNames }
