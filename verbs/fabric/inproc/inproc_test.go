package inproc_test

import (
	"testing"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/fabrictest"
	"outboard/verbs/fabric/inproc"
)

var wires = inproc.New()

func open(o fabrictest.Options) (fabric.Port, error) {
	return wires.Open(inproc.Options{Reserved: o.Reserved, Endpoints: o.Endpoints})
}

func TestMain(m *testing.M) { fabrictest.Main(m, open) }

func TestFabric(t *testing.T) { fabrictest.Run(t, open) }

func Benchmark(b *testing.B) { fabrictest.Benchmark(b, open) }
