//go:build !race

package verbs_test

const underRace = false
