package fabrictest

import "testing"

// An env is what a test gets: two nodes, perhaps in two processes.
type env struct {
	*testing.T
	a, b  *node
	apart bool // b is in another process
	make  func(name string, o Options) *node
}

type test struct {
	name string
	run  func(*env)
}

var suite = []test{
	{"Attr", testAttr},
	{"Order", testOrder},
	{"Lengths", testLengths},
	{"TooLong", testTooLong},
	{"Backpressure", testBackpressure},
	{"BulkBackpressure", testBulkBackpressure},
	{"Flood", testFlood},
	{"Refuse", testRefuse},
	{"Independent", testIndependent},
	{"Budget", testBudget},
	{"Acked", testAcked},
	{"Knock", testKnock},
	{"KnockAccept", testKnockAccept},
	{"Early", testEarly},
	{"EarlyClose", testEarlyClose},
	{"Many", testMany},
	{"ManyRefuse", testManyRefuse},
	{"Model", testModel},

	{"Errors", testErrors},
	{"BadAddress", testBadAddress},
	{"Exhaustion", testExhaustion},
	{"InUse", testInUse},
	{"DownOnConnClose", testDownOnConnClose},
	{"DownOnPortClose", testDownOnPortClose},
	{"DownHalfConnected", testDownHalfConnected},
	{"DownAfterRefused", testDownAfterRefused},
	{"DoubleClose", testDoubleClose},
	{"AfterClose", testAfterClose},
	{"Reuse", testReuse},
	{"ReuseLate", testReuseLate},
	{"Loopback", testLoopback},
	{"Grant", testGrant},

	{"Regions", testRegions},
	{"RegionErrors", testRegionErrors},
	{"Direct", testDirect},
	{"DirectBounds", testDirectBounds},
	{"Move", testMove},
	{"Atomics", testAtomics},
	{"AtomicsConcurrent", testAtomicsConcurrent},
	{"WithdrawWaits", testWithdrawWaits},
	{"Memory", testMemory},

	{"SleepTimeout", testSleepTimeout},
	{"RingBeforeSleep", testRingBeforeSleep},
	{"RingWakesAll", testRingWakesAll},
	{"NoLostWakeUp", testNoLostWakeUp},
	{"CreditWakes", testCreditWakes},
	{"CloseWakes", testCloseWakes},
	{"CloseBesidePoll", testCloseBesidePoll},
	{"CloseBesideHolder", testCloseBesideHolder},
}

// Run runs the suite with all ports in this process.
func Run(t *testing.T, open Open) {
	t.Run("NoAllocation", func(t *testing.T) { testNoAllocation(t, open) })
	for _, test := range suite {
		t.Run(test.name, func(t *testing.T) {
			e := &env{T: t, make: func(name string, o Options) *node {
				return newNode(t, name, (&agent{open: open}).do, o)
			}}
			e.run(test)
		})
	}
}

// RunProcesses runs the suite with the second port in a child process. The test
// binary's TestMain must call Main.
func RunProcesses(t *testing.T, open Open) {
	ch := StartChild(t)
	for _, test := range suite {
		t.Run(test.name, func(t *testing.T) {
			e := &env{T: t, apart: true, make: func(name string, o Options) *node {
				if name == "b" {
					return newNode(t, name, ch.do, o)
				}
				return newNode(t, name, (&agent{open: open}).do, o)
			}}
			e.run(test)
		})
	}
	for _, test := range kills {
		t.Run(test.name, func(t *testing.T) { test.run(t, open) })
	}
}

func (e *env) run(test test) {
	e.a = e.make("a", Options{})
	e.b = e.make("b", Options{Reserved: 8})
	test.run(e)
}

// join opens an endpoint on each side, a's with cookie 1 and b's with cookie 2, and
// connects both.
func (e *env) join() (epA, epB int) {
	e.Helper()
	return e.joinAs(1, 2)
}

// joinDirect is join for tests of what b lets a reach directly. It skips those where that is nothing.
func (e *env) joinDirect() (epA, epB int) {
	e.Helper()
	epA, epB = e.join()
	if !e.a.must(command{Do: "direct", EP: epA}).OK {
		e.Skip("the fabric has no direct access")
	}
	return epA, epB
}

func (e *env) joinAs(cookieA, cookieB uint32) (epA, epB int) {
	e.Helper()
	epA = e.a.open(anyEP, cookieA)
	epB = e.b.open(anyEP, cookieB)
	e.a.connect(epA, e.b, epB)
	e.b.connect(epB, e.a, epA)
	return epA, epB
}
