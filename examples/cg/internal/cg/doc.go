// Package cg solves a system of linear equations by conjugate gradients, with the matrix spread over the ranks of a
// world by rows.
//
// A [Partition] gives each rank a run of rows. [Distribute] deals out a matrix that rank 0 has, or [Poisson] makes each
// rank's rows in place; [NewMatrix] renumbers their columns and agrees with the neighbours which entries of a vector
// each needs from the other. Then [Solve] iterates:
//
//	halo:  post receives and sends ──────────────┐ in flight
//	       multiply the rows that need no halo   │
//	       wait ◄────────────────────────────────┘
//	       multiply the rows that do
//	sums:  one Allreduce for pᵀAp, one for the new rᵀr and rᵀz
//
// # The same bits on any number of ranks
//
// Floating-point sums depend on their order, and conjugate gradients amplifies the difference. Here no order depends on
// the number of ranks. A row is summed in the order of its columns, because halo entries below the own ones are stored
// before them and those above after. A scalar product is summed within each of at most 256 chunks of rows; ranks
// own whole chunks, so one Allreduce of the vector of chunk sums only ever adds zeros to them; each rank then adds up the
// chunks in order. So iterations, residual and solution agree bit for bit, and the price is an Allreduce of 2 or 4 KiB
// instead of 8 or 16 bytes.
//
// # Errors
//
// What goes wrong on one rank, be it a bad file or a bad row, [Agree] makes known to all, so that none waits for a rank
// that has given up.
//
// The method is Hestenes and Stiefel, "Methods of Conjugate Gradients for Solving Linear Systems", J. Res. NBS 49 (1952).
package cg
