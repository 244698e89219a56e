// Package peers measures other MPI libraries with the benchmarks of package bench.
//
// mpibench.c has the same experiments as package bench, written against MPI. install.sh installs Open MPI and MPICH from Debian's
// packages and builds it for both; [Find] builds it too where the libraries are installed already. A [Peer] is a
// bench.Runner: it starts the program under its library's own launcher and checks what the program prints.
//
// [UCX] is another peer, for the verbs: ucx_perftest, which comes with the library, measures one-sided operations.
//
// Each library runs as its users would run it for speed: pinned to cores by its launcher while there are cores enough. When ranks
// outnumber cores, nothing is pinned, and Open MPI is told to yield when idle (mpi_yield_when_idle); MPICH
// yields by itself, and its knob for that (MPIR_CVAR_POLLS_BEFORE_YIELD) makes no difference that could be measured.
// Other settings are the caller's, as launcher arguments.
package peers
