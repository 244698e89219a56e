//go:build !race

package rdma

import "sync/atomic"

// load returns the byte now.
func (w *watch) load() byte { return byte(atomic.LoadUint32(w.word) >> w.shift) }
