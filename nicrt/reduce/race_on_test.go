//go:build race

package reduce

// stride thins out the tests of alignments, which the race detector slows
// down a hundredfold. It has no divisor in common with 64 or maxElems+1.
const stride = 67
