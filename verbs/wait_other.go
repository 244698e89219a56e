//go:build !linux

package verbs

func osYield() {}
