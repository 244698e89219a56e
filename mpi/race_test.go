//go:build race

package mpi_test

// The race detector does not see what happens in mapped memory: over shared memory it misses the
// synchronization and reports what is in order. Tests between processes have no such trouble.
func init() { worlds = worlds[:1] }
