// Package rdma measures the verbs: latency, bandwidth and message rate of SEND, RDMA WRITE, RDMA READ and the atomics
// between two contexts, in the manner of perftest (ib_write_lat, ib_send_bw …).
//
// [Options] say how to measure, and [Options.Benchmarks] are the experiments, as benchmarks of package bench: two ranks of a
// world run them, [bench.Ours] starts the ranks, and bench.Measure collects the values. The world serves only to exchange
// addresses and keys, and to begin and end together; what is measured runs on contexts of its own. [Targets] is a
// plan that compares the verbs with what the machine itself can do, and [Judge] draws the comparison.
//
// # The experiments
//
// Their names are an operation and a metric, such as write_lat or fetch_add_rate. Memory comes from the device
// ([verbs.Context.AllocMem]), or from Go, and then the name ends in "/go".
//
//   - write_lat: a ping-pong. Each side spins on the last byte of its memory, with plain loads, and answers by a write. Half
//     of a round trip, in microseconds.
//   - send_lat: a ping-pong of SENDs into posted receives. Half of a round trip.
//   - read_lat, fetch_add_lat, cmp_swap_lat: from posting one request to its completion.
//   - bw and rate: each queue pair has up to the tx depth of requests outstanding, and every Qth asks for a completion. In MB/s of
//     10⁶ bytes, and in millions of messages a second. Both ways, the two directions are added up.
//
// The limits of the machine, by the same two processes:
//
//   - raw_line_lat: half of the round trip of a cache line: each side spins on a word of its own line in one mapped page.
//   - raw_copy_bw: Go's copy from one buffer into another by one process, which stay in its cache if they fit. It moves pieces of
//     less than 1 MiB, as from there on Go's copy goes round the cache; so it is as fast as C's memcpy.
//   - raw_vm_read_bw, raw_vm_write_bw: process_vm_readv and process_vm_writev alone, on registered Go memory.
//
// As everywhere in package bench, a value is the median over batches, after a fifth as many to warm up. When the last
// batch is over the data is checked: a transfer that damages it fails the run.
package rdma
