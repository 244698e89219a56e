package bench

import (
	"errors"
	"slices"
)

// ErrWrong is wrapped by errors about a benchmark whose messages or sums came out wrong: its times mean nothing.
var ErrWrong = errors.New("wrong result")

// median sorts the samples and returns the middle one, the upper of the two when their number is even.
func median(samples []float64) float64 {
	slices.Sort(samples)
	return samples[len(samples)/2]
}

// A Summary is what the turns of one runner measured of one case, in the benchmark's unit.
type Summary struct {
	Median, Min, Max float64
}

// Summarize returns the summary of the samples, of which there must be at least one; the median of an even number is the mean of
// the middle two. It leaves them in place.
func Summarize(samples []float64) Summary {
	sorted := slices.Sorted(slices.Values(samples))
	n := len(sorted)
	return Summary{Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Min: sorted[0], Max: sorted[n-1]}
}

// Ratio returns ours over the best of the peers, inverted for rates: below one, ours is ahead. There must be a peer, and all
// values must be positive.
func Ratio(better Better, ours float64, peers ...float64) float64 {
	if better == Higher {
		return slices.Max(peers) / ours
	}
	return ours / slices.Min(peers)
}
