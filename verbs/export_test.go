package verbs

import "time"

// Manual stops the goroutine that runs the NIC: it runs only when the test runs it from then on, and by this clock.
func (c *Context) Manual(clock func() time.Time) {
	c.stopProgress()
	c.thread.stop = make(chan struct{}) // for Close
	liveContexts.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock = clock
}
