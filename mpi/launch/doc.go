// Package launch starts the ranks of a parallel program on this machine and
// sees to it that they end together.
//
// A [Job] says what to run, [Job.Run] runs it:
//
//	job := launch.Job{N: 4, Path: "./solver", Stdout: os.Stdout, Stderr: os.Stderr}
//	code, err := job.Run(ctx)
//
// Each rank is a process with PMI_RANK, PMI_SIZE and PMI_FD in its
// environment, the last being a stream to a PMI-1 server in the caller, so any
// program that speaks PMI-1 can be run, MPICH's too. MPI_LOCALRANKID and
// MPI_LOCALNRANKS are as Hydra sets them. OUTBOARD_JOB is a random name, the
// same for all ranks of a job and different between jobs; OUTBOARD_CPUS is the
// number of CPUs that all ranks together may use, and GOMAXPROCS is set unless
// the user has set it.
//
// # How a job ends
//
// A job succeeds when all ranks exit with 0, each that has used PMI having
// finalized it. It fails with the first rank that exits with another code, is
// killed by a signal, asks for an abort, or leaves others waiting in a barrier
// for ever. The other ranks are then told through PMI which rank has failed.
// They have Job.Grace to report and exit; those that are left get SIGTERM, and
// after half that time again SIGKILL. [RankError] says which rank failed, how,
// and what it printed last.
//
// # Nothing is left behind
//
// All ranks are in one process group, led by a guard: a shell that waits for
// the end of a pipe which only the caller holds open. When the job is over the
// group is killed, and with it children that ranks have left running. If the
// caller is killed, even by SIGKILL, the kernel kills the ranks (the
// parent-death signal) and the guard kills the group. Processes that have left
// the group, and that the failure of a job or of the caller leaves running,
// are found by OUTBOARD_JOB in their environment. A job whose guard is killed
// is ended.
//
// The package needs Linux and /bin/sh.
package launch
