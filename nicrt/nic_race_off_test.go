//go:build !race

package nicrt

const raceDetector = false
