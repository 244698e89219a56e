// Package pmi speaks PMI-1, the protocol by which the processes of a parallel
// job learn their ranks and exchange addresses through their launcher.
//
// PMI-1 is lines of text over one stream for each process, "cmd=put key=a
// value=b", each request answered by one line. MPICH's Hydra, Slurm's pmi2
// plugin and this module's own launcher serve it, so a program that uses this
// package runs under all three.
//
// A [Client] belongs to a rank. [FromEnv] finds the launcher in the
// environment and says hello; then a typical rank does
//
//	c.PutBytes(ctx, "addr-3", addr)    // publish
//	c.Barrier(ctx)                     // everybody has published
//	c.GetBytes(ctx, "addr-0")          // read
//	c.Finalize(ctx)
//
// and watches [Client.Done], which closes when the launcher has gone or has
// ended the job. One goroutine of the client reads the stream all the time, so
// that this is noticed also between requests.
//
// A [Server] belongs to a launcher: one [Server.Serve] for each rank. It keeps
// the keys and values, counts the barrier, and tells the launcher about a rank
// that aborts and about a barrier that can never complete.
//
// What arrives from the other end is not trusted: lines, keys, values and the
// number of stored bytes have limits, and what cannot be understood is a typed
// [Error]. [ParseMessage] and [ParseMapping] accept any input.
//
// Source: MPICH, src/pmi (the PMI-1.1 wire protocol); the differences between
// Hydra and Slurm in the replies to a missing key.
package pmi
