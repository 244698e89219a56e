// Package mm reads Matrix Market files into compressed sparse rows.
//
// It takes what conjugate gradients can use: square coordinate matrices with the field real, integer or pattern (every
// listed entry is 1) and the symmetry general or symmetric. Each line of the file goes through one of three small
// parsers, for the banner, the size line or an entry; the entries gather as triplets, which are then sorted by row and
// column, mirrored if the file is symmetric, and summed where they coincide:
//
//	banner → size → entries → triplets → Matrix
//
// A file is untrusted: every mistake is an [Error] that names file, line and text, and memory grows with the entries
// that are really there, not with the numbers the size line promises.
//
// The format is Boisvert, Pozo and Remington, "The Matrix Market Exchange Formats: Initial Design", NISTIR 5935, 1996.
package mm
