package main

import (
	"outboard/bench"
	"outboard/mpi"
)

// benchWorkerFlag makes `outboard bench` one rank of a job that another `outboard bench` launched. It is no flag for people.
const benchWorkerFlag = "--worker"

// benchWorker measures the cases that the arguments name, as one rank of the launched world.
func benchWorker(std stdio, args []string) int {
	cases, err := bench.ParseArguments(args)
	if err != nil {
		return complain(std, "bench: %v", err)
	}
	mpi.Main(func(world *mpi.Comm) error { return bench.Work(world, cases, std.out) })
	return exitOK
}
