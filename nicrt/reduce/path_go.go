//go:build !amd64 || noasm

package reduce

// paths lists the ways to compute that this build has, the quickest first.
func paths() []path { return []path{goPath} }
