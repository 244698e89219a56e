package mpi

import (
	"outboard/verbs/fabric"
	"outboard/verbs/fabric/shm"
)

// RunShm is Run with ranks that talk over shared memory.
func RunShm(n int, f func(world *Comm) error) error {
	return runOn(n, func() (fabric.Port, error) { return shm.Open(shm.Options{Reserved: n}) }, f)
}

// RunBounce is RunShm where the kernel refuses cross-memory attach.
func RunBounce(n int, f func(world *Comm) error) error {
	return runOn(n, func() (fabric.Port, error) { return shm.Open(shm.Options{Reserved: n, NoCMA: true}) }, f)
}

// LimitComms bounds the ids of communicators; all ranks must.
func LimitComms(world *Comm, limit uint32) { world.p.ids.limit = limit }
