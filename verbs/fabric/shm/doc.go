// Package shm is the fabric between the processes of one machine: a port is a piece of memory
// without a name (a memfd) that its peers map.
//
// The memory holds, one after the other, a page with what the port is and its port.Control, the table of
// regions, one ring for each endpoint, and the device memory that AllocMem gives out. It is
// sparse: what is not used takes no memory. An address names the process and the file
// descriptor; a peer opens it through /proc, checks seals, shape and a random number, maps it, and
// watches the process with a pidfd. So nothing is left behind when all processes are killed.
//
// A message is stores by the sender and loads by the receiver. The kernel is called only to sleep, to
// wake a sleeper (futex), and to reach memory that does not lie in the segment
// (process_vm_readv and process_vm_writev).
package shm
