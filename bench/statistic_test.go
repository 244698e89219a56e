package bench

import (
	"math"
	"slices"
	"testing"
)

func TestMedianIsTheUpperMiddle(t *testing.T) {
	for _, test := range []struct {
		name    string
		samples []float64
		want    float64
	}{
		{"one", []float64{3}, 3},
		{"odd", []float64{9, 1, 5}, 5},
		{"even", []float64{4, 1, 3, 2}, 3},
		{"outlier", []float64{1, 1, 1e9, 1, 2}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := median(test.samples); got != test.want {
				t.Errorf("median is %g, want %g", got, test.want)
			}
		})
	}
}

func TestSummarize(t *testing.T) {
	for _, test := range []struct {
		name    string
		samples []float64
		want    Summary
	}{
		{"one", []float64{3}, Summary{3, 3, 3}},
		{"odd", []float64{9, 1, 5}, Summary{5, 1, 9}},
		{"even", []float64{4, 1, 3, 2}, Summary{2.5, 1, 4}},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := slices.Clone(test.samples)
			if got := Summarize(test.samples); got != test.want {
				t.Errorf("summary is %v, want %v", got, test.want)
			}
			if !slices.Equal(before, test.samples) {
				t.Errorf("samples became %v", test.samples)
			}
		})
	}
}

func TestRatioIsBelowOneWhenOursIsAhead(t *testing.T) {
	for _, test := range []struct {
		name   string
		better Better
		ours   float64
		peers  []float64
		want   float64
	}{
		{"faster than both", Lower, 1, []float64{2, 4}, 0.5},
		{"slower than one", Lower, 3, []float64{2, 4}, 1.5},
		{"order of peers is nothing", Lower, 3, []float64{4, 2}, 1.5},
		{"greater rate than both", Higher, 400, []float64{100, 200}, 0.5},
		{"smaller rate than one", Higher, 100, []float64{50, 150}, 1.5},
		{"one peer", Higher, 100, []float64{100}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Ratio(test.better, test.ours, test.peers...); math.Abs(got-test.want) > 1e-12 {
				t.Errorf("ratio is %g, want %g", got, test.want)
			}
		})
	}
}

func TestDecimal(t *testing.T) {
	for _, test := range []struct {
		v      float64
		digits int
		want   string
	}{
		{0.13344, 4, "0.1334"},
		{0.0512345, 4, "0.05123"},
		{0.00098765, 4, "0.0009877"},
		{1, 4, "1.000"},
		{9.99996, 4, "10.000"},
		{88.9134, 4, "88.91"},
		{12740.2545, 4, "12740"},
		{12740.2545, 6, "12740.3"},
		{1e9, 4, "1000000000"},
	} {
		if got := decimal(test.v, test.digits); got != test.want {
			t.Errorf("decimal(%v, %d) is %s, want %s", test.v, test.digits, got, test.want)
		}
	}
}
