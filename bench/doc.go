// Package bench measures message passing, and compares what it measures with Open MPI and MPICH.
//
// A [Benchmark] is one experiment: a name, a unit, and a function that all ranks of a communicator run to measure one
// message size. A [Job] is one start of a world of ranks that measures some cases, and a plan is a list of jobs. A
// [Runner] starts a job and returns one value for each case: [Ours] runs it on this library, in this process or as
// processes of their own, and the runners of package peers run the same experiments under other MPI libraries. [Measure]
// has the runners do the plan by turns and collects every value in a [Report], which prints itself as a table, CSV or
// JSON.
//
// # Method
//
// Times on a shared machine move by tens of per cent from minute to minute, so a number alone means little, and two
// numbers mean something only when they were taken in the same way, close together. Hence:
//
//  1. The experiment is the same for everybody. peers/mpibench.c is the twin of this package's benchmarks: the same
//     calls, buffers, warm-up, batches, iterations and statistic. A change to one is a change to both.
//  2. Runners take turns: ours, a peer, another peer, ours again, so that a slow minute hurts all of them. Each turn starts
//     new processes, because the placement of memory and processes is part of what varies. Medians over the turns
//     are compared, and the range is printed beside them. When the ranges overlap, the ratio is noise.
//  3. Processes are pinned to cores when there are cores enough, and by the libraries' own means. When ranks outnumber cores,
//     nothing is pinned, and Open MPI is told to yield, without which it is slower by orders of magnitude.
//  4. Results are checked. A message that arrives damaged, or a wrong sum, fails the run.
//  5. Nothing of Go is switched off: garbage collection and preemption run as they do for users.
//
// The experiments, in which n is the size in bytes:
//
//   - pingpong: half of a round trip between ranks 0 and 1, in microseconds. The median over batches of round trips (100
//     batches of 200 up to 8 KiB, 100 of 50 up to 64 KiB, 60 of 10 up to 1 MiB, then 30 of 4), after a fifth as many
//     to warm up.
//   - bandwidth: rank 0 has 64 messages under way to rank 1, which acknowledges each window with 4 bytes; in MB/s, of
//     10⁶ bytes. The median over batches of windows (40 batches of 20 up to 8 KiB, 40 of 8 up to 64 KiB, 20 of 2 up to
//     1 MiB, then 10 of 1), after a fifth as many to warm up.
//   - allreduce: the time of one sum of n/8 doubles over all ranks, called back to back, in microseconds. The number of calls
//     is what fits in 0.3 s, between 7 and 100,000; after as many calls to warm up, a loop of half as many is timed
//     five times, each time behind a barrier. The slowest rank's time counts, and the median of the five.
//
// Before a comparison is believed: leave the machine alone, see that the load average is near zero, and run it twice.
package bench
