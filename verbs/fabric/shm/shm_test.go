package shm_test

import (
	"testing"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/fabrictest"
	"outboard/verbs/fabric/shm"
)

func open(o fabrictest.Options) (fabric.Port, error) {
	return shm.Open(shm.Options{Reserved: o.Reserved, Endpoints: o.Endpoints})
}

func TestMain(m *testing.M) { fabrictest.Main(m, open) }

func TestFabric(t *testing.T) { fabrictest.Run(t, open) }

func Benchmark(b *testing.B) { fabrictest.Benchmark(b, open) }

func BenchmarkProcesses(b *testing.B) { fabrictest.BenchmarkProcesses(b, open) }
