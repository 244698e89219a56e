//go:build race

package nicrt

// raceDetector is whether the tests run under the race detector. It does not see what
// atomics in shared memory order, so that between two NICs of one process over shm every access to the other's
// memory looks like a race to it.
const raceDetector = true
