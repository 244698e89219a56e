package verbs

import "time"

// Manual stops the goroutine that runs the NIC: it runs only when the test runs it from then on, and by this clock.
func (c *Context) Manual(clock func() time.Time) {
	t := &c.thread
	close(t.stop)
	ended := make(chan struct{})
	go func() {
		t.ended.Wait()
		close(ended)
	}()
	for stopped := false; !stopped; {
		t.dismiss(c.port) // it does not look at stop while it stands in for a host
		select {
		case <-ended:
			stopped = true
		case <-time.After(10 * time.Microsecond):
		}
	}
	t.stop = make(chan struct{}) // for Close
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock = clock
}

// IgnorePhase has a tag-matching shared receive queue match buffers also while software has not handled all that came before.
func IgnorePhase(s *SRQ) { s.tm.noPhase = true }
