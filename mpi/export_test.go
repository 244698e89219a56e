package mpi

import (
	"errors"

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

// Revoke has a peer told that a communicator was revoked, whatever this rank has to do with it.
func Revoke(c *Comm, peer int, id uint32, why string) {
	c.p.nic.Lock()
	defer c.p.nic.Unlock()
	c.p.unit.Revoke(id, []int{peer}, errors.New(why))
}

// ID is the number that a communicator has on the wire.
func ID(c *Comm) uint32 { return c.id }
