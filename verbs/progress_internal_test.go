package verbs

import (
	"testing"
	"time"

	"outboard/verbs/fabric/inproc"
)

// selecting is a context with a queue on a completion channel.
func selecting(t *testing.T) (*Context, *CompChannel, *CQ) {
	t.Helper()
	p, err := inproc.New().Open(inproc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	ch, err := c.CreateCompChannel()
	if err != nil {
		t.Fatal(err)
	}
	cq, err := c.CreateCQ(8, ch)
	if err != nil {
		t.Fatal(err)
	}
	return c, ch, cq
}

// standing tells whether the progress goroutine runs the NIC, and how often that has been polled.
func (c *Context) standing() (armed bool, visits uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.thread.armed.Load(), c.visits
}

// takesOver waits until the progress goroutine has taken over.
func takesOver(t *testing.T, c *Context) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Microsecond) {
		if armed, _ := c.standing(); armed {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the progress goroutine does not take over")
		}
	}
}

func notify(t *testing.T, cq *CQ) {
	t.Helper()
	if err := cq.ReqNotify(false); err != nil {
		t.Fatal(err)
	}
}

func look(t *testing.T, cq *CQ) {
	t.Helper()
	if n, err := cq.Poll(make([]WC, 1)); n != 0 || err != nil {
		t.Fatalf("Poll gave %d, %v, want nothing", n, err)
	}
}

func TestHandover(t *testing.T) {
	t.Run("polls after ReqNotify leave the NIC to the progress goroutine", func(t *testing.T) {
		c, ch, cq := selecting(t)
		ch.C()
		takesOver(t, c)
		notify(t, cq)
		for i := range handoverGrace {
			look(t, cq)
			if armed, _ := c.standing(); !armed {
				t.Fatalf("poll %d has ended its turn", i)
			}
		}
	})
	t.Run("a host that goes on polling gets it back", func(t *testing.T) {
		c, ch, cq := selecting(t)
		ch.C()
		takesOver(t, c)
		notify(t, cq)
		for end := time.Now().Add(10 * time.Second); ; {
			look(t, cq)
			if armed, _ := c.standing(); !armed {
				return
			}
			if time.Now().After(end) {
				t.Fatal("the progress goroutine stays")
			}
		}
	})
	t.Run("without C there is none", func(t *testing.T) {
		c, _, cq := selecting(t)
		notify(t, cq)
		if g, n := c.thread.grace.Load(), len(c.thread.over); g != 0 || n != 0 {
			t.Errorf("grace of %d polls and %d kicks, want none", g, n)
		}
	})
	t.Run("a runtime on the NIC gives no grace", func(t *testing.T) {
		c, ch, cq := selecting(t)
		c.Engine().Lock()
		c.Engine().Attach(func() time.Duration { return 0 }, nil)
		c.Engine().Unlock()
		ch.C()
		takesOver(t, c)
		notify(t, cq)
		c.Engine().Lock()
		c.poll()
		armed := c.thread.armed.Load()
		c.Engine().Unlock()
		if armed {
			t.Error("the progress goroutine sleeps on, and knows nothing of the runtime's wake-up time")
		}
	})
	t.Run("it sleeps while nothing happens", func(t *testing.T) {
		c, ch, cq := selecting(t)
		ch.C()
		notify(t, cq)
		takesOver(t, c)
		time.Sleep(5 * time.Millisecond)
		_, before := c.standing()
		time.Sleep(50 * time.Millisecond)
		if _, after := c.standing(); after-before > 10 {
			t.Errorf("%d polls in 50 ms of idleness", after-before)
		}
	})
	t.Run("it ends with the context", func(t *testing.T) {
		for range 50 {
			c, ch, cq := selecting(t)
			ch.C()
			notify(t, cq)
			if err := c.Close(); err != nil { // which waits for the goroutine
				t.Fatal(err)
			}
		}
	})
}
