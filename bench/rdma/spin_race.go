//go:build race

package rdma

// load returns the byte now. To look at memory while a NIC writes it is a race by Go's rules, as it would be on
// hardware: the detector must not see it, and the compiler must not keep the value.
//
//go:norace
//go:noinline
func (w *watch) load() byte { return *w.b }
