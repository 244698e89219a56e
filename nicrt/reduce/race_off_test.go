//go:build !race

package reduce

// stride is that of the tests of alignments: all of them.
const stride = 1
