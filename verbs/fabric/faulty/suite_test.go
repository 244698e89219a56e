package faulty_test

import (
	"testing"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/fabrictest"
	"outboard/verbs/fabric/faulty"
	"outboard/verbs/fabric/inproc"
	"outboard/verbs/fabric/shm"
)

var wires = inproc.New()

// A calm port has no faults and says what that makes of it: the suite is for good wires.
type calm struct{ *faulty.Port }

func (p calm) Attr() fabric.Attr {
	attr := p.Port.Attr()
	attr.Ordered, attr.Reliable = true, true
	return attr
}

func wrap(p fabric.Port, err error) (fabric.Port, error) {
	if err != nil {
		return nil, err
	}
	f, err := faulty.Wrap(p, faulty.Options{})
	return calm{f}, err
}

func openInproc(o fabrictest.Options) (fabric.Port, error) {
	p, err := wires.Open(inproc.Options{Reserved: o.Reserved, Endpoints: o.Endpoints})
	return wrap(p, err)
}

func openShm(o fabrictest.Options) (fabric.Port, error) {
	p, err := shm.Open(shm.Options{Reserved: o.Reserved, Endpoints: o.Endpoints})
	return wrap(p, err)
}

func TestMain(m *testing.M) { fabrictest.Main(m, openShm) }

func TestInproc(t *testing.T) { fabrictest.Run(t, openInproc) }

func TestShm(t *testing.T) { fabrictest.RunProcesses(t, openShm) }

func Benchmark(b *testing.B) { fabrictest.Benchmark(b, openInproc) }
