// Package mpi is MPI for Go: ranks that send each other slices of numbers and
// combine them, in the terms of the MPI 4.1 standard, with the network interface
// doing what it can.
//
// A rank is a process that `outboard run`, or MPICH's mpiexec, has launched,
// and that calls [Main] or [Init]; or a goroutine of [Run]. What it has is a
// [Comm], the world. Everything that depends on an element type is a function with
// the communicator first ([Send], [Allreduce]); everything else is a method
// ([Comm.Barrier], [Comm.Split]).
//
// # How a value flows
//
// A call checks its arguments, takes the lock of the rank's NIC and gives it the work: a send or a receive
// to the match unit (tagmatch/unit), a collective as a compiled schedule to the
// executor (nicrt). A short message has left when the call returns. A goroutine that must wait
// runs the NIC meanwhile; so the message that it waits for is
// taken from the wire by the goroutine that wants it. While all goroutines of a rank compute, the
// NIC's own goroutine serves its peers.
//
// # Errors
//
// Every error is an [*Error]: operation, communicator, rank, peer, tag, count and a cause, which
// errors.Is compares with the variables of this package. Nothing aborts by itself. An error that is found before
// anything was sent (a rank out of range, counts that do not fit) leaves the communicator as it was. When
// a process fails, or a collective fails on one rank, the communicator fails on all: no
// rank waits for what cannot come.
//
// # Goroutines and contexts
//
// All calls may be made by any goroutine, as with MPI_THREAD_MULTIPLE. MPI has no way to abandon an
// operation; [Comm.With] and [Request.Wait] say what the end of a context leaves behind.
//
// # Buffers
//
// A buffer belongs to a blocking call until it returns and to a [Request] until Wait or
// Test has reported its end. Send and receive buffers of one call must not overlap; for
// MPI_IN_PLACE pass the same slice for both, in Reduce and Allreduce.
package mpi
