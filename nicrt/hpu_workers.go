package nicrt

import (
	"sync"
	"sync/atomic"
	"time"
)

// hpuWorkers runs handlers on goroutines, one for each HPU in use. It is the
// driver of a machine for programs that are not trusted: what handlers do
// comes back as mail, which poll brings into the machine under its caller's
// serialisation, and poll also finds the handlers that overran.
type hpuWorkers struct {
	machine *machine
	wake    func() // tells the caller that there is mail; from any goroutine
	epoch   time.Time
	lanes   []*hpuLane // by HPU; nil: never used
	running int        // handlers that have not returned as far as poll knows, those cut off included
	taken   []hpuMail  // the mail that poll works on

	mu     sync.Mutex
	mail   []hpuMail // guarded by mu, as is closed
	closed bool
}

// hpuMail says that a handler posted the command in a slot, or returned.
type hpuMail struct {
	lane *hpuLane
	slot int // or handlerReturned
	took time.Duration
}

const handlerReturned = -1

// An hpuLane is a goroutine with the Task that it serves, as its commandPort.
type hpuLane struct {
	workers *hpuWorkers
	task    *Task
	work    chan struct{} // one handler to run; closed when the lane is not needed any more
	free    chan int      // slots of the task not under way
	gone    chan struct{} // closed when the task is revoked
	// Time that the handler spends waiting for the NIC is not charged to it:
	// blocked is the sum, since is when it began to wait, or 0. In
	// nanoseconds, by the workers' clock.
	blocked, since atomic.Int64
	// running, started and deadline belong to the machine's caller.
	running  bool
	started  time.Duration
	deadline time.Duration // the earliest time at which the budget can be used up
}

var (
	_ taskRunner  = (*hpuWorkers)(nil)
	_ commandPort = (*hpuLane)(nil)
)

// newHPUWorkers makes m run its handlers on goroutines. They start when they
// are needed. wake is called whenever poll has something to do, and must not
// wait.
func newHPUWorkers(m *machine, wake func()) *hpuWorkers {
	w := &hpuWorkers{machine: m, wake: wake, epoch: time.Now(), lanes: make([]*hpuLane, len(m.hpus))}
	m.runner = w
	return w
}

func (w *hpuWorkers) now() time.Duration { return time.Since(w.epoch) }

// run hands t to its lane.
func (w *hpuWorkers) run(t *Task) {
	l := w.lanes[t.hpu]
	if l == nil || l.task != t {
		if l != nil {
			close(l.work)
		}
		l = w.newLane(t)
		w.lanes[t.hpu] = l
	}
	l.blocked.Store(0)
	l.running, l.started = true, w.now()
	l.deadline = l.started + t.in.budget
	w.running++
	l.work <- struct{}{}
}

func (w *hpuWorkers) newLane(t *Task) *hpuLane {
	l := &hpuLane{workers: w, task: t, work: make(chan struct{}, 1),
		free: make(chan int, CommandsInFlight), gone: make(chan struct{})}
	for i := range CommandsInFlight {
		l.free <- i
	}
	t.port = l
	go l.serve()
	return l
}

// serve runs handlers until the lane is closed. A handler that ends the
// goroutine is made good by a new one.
func (l *hpuLane) serve() {
	alive := false
	defer func() {
		if !alive {
			go l.serve()
		}
	}()
	for range l.work {
		l.serveOne()
	}
	alive = true
}

// serveOne runs one handler and mails its end, whatever that is.
func (l *hpuLane) serveOne() {
	start := l.workers.now()
	defer func() {
		l.waiting(l.gather)
		took := l.workers.now() - start - time.Duration(l.blocked.Load())
		l.workers.send(hpuMail{l, handlerReturned, took})
	}()
	l.task.execute()
}

// gather waits until no command is under way; false: the task was revoked.
func (l *hpuLane) gather() bool {
	for n := range CommandsInFlight {
		select {
		case <-l.free:
		case <-l.gone:
			return false
		}
		if n == CommandsInFlight-1 {
			for i := range CommandsInFlight {
				l.free <- i
			}
		}
	}
	return true
}

// waiting runs f and counts its time as blocked.
func (l *hpuLane) waiting(f func() bool) bool {
	start := l.workers.now()
	l.since.Store(int64(start))
	ok := f()
	l.blocked.Add(int64(l.workers.now() - start))
	l.since.Store(0)
	return ok
}

// charged returns the time that the running handler has used.
func (l *hpuLane) charged(now time.Duration) time.Duration {
	since := time.Duration(l.since.Load())
	used := now - l.started - time.Duration(l.blocked.Load())
	if since > 0 {
		used -= now - since
	}
	return used
}

func (l *hpuLane) take(*Task) (slot int) {
	select {
	case slot = <-l.free:
		return slot
	default:
	}
	if !l.waiting(func() bool {
		select {
		case slot = <-l.free:
			return true
		case <-l.gone:
			return false
		}
	}) {
		panic(errRevoked)
	}
	return slot
}

func (l *hpuLane) wait(*Task) {
	if !l.waiting(l.gather) {
		panic(errRevoked)
	}
}

func (l *hpuLane) post(_ *Task, slot int) { l.workers.send(hpuMail{lane: l, slot: slot}) }

func (l *hpuLane) settled(_ *Task, slot int) { l.free <- slot }

func (l *hpuLane) revoked(*Task) { close(l.gone) }

// send puts mail where poll finds it.
func (w *hpuWorkers) send(mail hpuMail) {
	w.mu.Lock()
	w.mail = append(w.mail, mail)
	ring := len(w.mail) == 1 && !w.closed
	w.mu.Unlock()
	if ring {
		w.wake()
	}
}

// poll brings what the handlers did into the machine and cuts off those that
// overran. It returns the number of steps made. The caller serialises it with
// all other calls of the machine.
func (w *hpuWorkers) poll() int {
	w.mu.Lock()
	w.taken, w.mail = w.mail, w.taken[:0]
	w.mu.Unlock()
	for _, mail := range w.taken {
		t := mail.lane.task
		if mail.slot != handlerReturned {
			w.machine.performPosted(t, mail.slot)
			continue
		}
		w.running--
		mail.lane.running = false
		w.machine.done(t, mail.took)
	}
	n := len(w.taken)
	clear(w.taken)
	return n + w.cutOff()
}

// cutOff ends the handlers that have used up their budget.
func (w *hpuWorkers) cutOff() (n int) {
	now := w.now()
	for _, l := range w.lanes {
		if l == nil || !l.running || now < l.deadline {
			continue
		}
		used, budget := l.charged(now), l.task.in.budget
		if used < budget {
			l.deadline = now + budget - used
			continue
		}
		l.running = false
		w.machine.overrun(l.task, used)
		n++
	}
	return n
}

// untilDeadline returns how long the caller may sleep before poll has a
// deadline to look at; false: there is none.
func (w *hpuWorkers) untilDeadline() (time.Duration, bool) {
	var first *hpuLane
	for _, l := range w.lanes {
		if l != nil && l.running && (first == nil || l.deadline < first.deadline) {
			first = l
		}
	}
	if first == nil {
		return 0, false
	}
	return max(0, first.deadline-w.now()), true
}

// close ends the goroutines without waiting: each ends when its handler
// returns. wake is not called any more. The machine's shutdown calls it, when
// no program is left to start a handler.
func (w *hpuWorkers) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	for i, l := range w.lanes {
		if l != nil {
			close(l.work)
			w.lanes[i] = nil
		}
	}
}
