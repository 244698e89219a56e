package nicrt

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/inproc"
	"outboard/verbs/fabric/shm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testFabric is a wire that the tests of the NIC run over. open gives a function that opens ports that
// reach each other.
type testFabric struct {
	name   string
	shared bool // what orders accesses lies in shared memory: see raceDetector
	open   func() func(reserved int) (fabric.Port, error)
}

var testFabrics = []testFabric{
	{"inproc", false, func() func(int) (fabric.Port, error) {
		sw := inproc.New()
		return func(reserved int) (fabric.Port, error) { return sw.Open(inproc.Options{Reserved: reserved}) }
	}},
	{"shm", true, func() func(int) (fabric.Port, error) {
		return func(reserved int) (fabric.Port, error) { return shm.Open(shm.Options{Reserved: reserved}) }
	}},
}

// overFabrics runs a test over each wire.
func overFabrics(t *testing.T, test func(t *testing.T, f testFabric)) {
	for _, f := range testFabrics {
		t.Run(f.name, func(t *testing.T) { test(t, f) })
	}
}

// openMesh opens n NICs that know each other and closes them at the test's end.
func openMesh(t testing.TB, f testFabric, n int) []*NIC {
	t.Helper()
	open := f.open()
	nics := make([]*NIC, n)
	for i := range nics {
		port, err := open(n)
		if err != nil {
			t.Fatal(err)
		}
		if nics[i], err = Open(Config{Port: port, Self: i, Peers: n}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nics[i].Close() })
	}
	for i := range nics {
		for j := range nics {
			nics[i].SetPeer(j, nics[j].Addr())
		}
	}
	return nics
}

// locked calls f with the NIC's lock held.
func locked(n *NIC, f func()) {
	n.Lock()
	defer n.Unlock()
	f()
}

// under gives what f gives with the NIC's lock held.
func under[T any](n *NIC, f func() T) T {
	n.Lock()
	defer n.Unlock()
	return f()
}

// mustPost posts a message and gives its completion.
func mustPost(t testing.TB, n *NIC, peer int, h Header, payload []byte) *Completion {
	t.Helper()
	done := new(Completion)
	n.Lock()
	defer n.Unlock()
	if err := n.Post(peer, &h, payload, done); err != nil {
		t.Fatal(err)
	}
	return done
}

// ends waits for a completion on this goroutine.
func ends(t testing.TB, n *NIC, done *Completion) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testPatience)
	defer cancel()
	if err := n.WaitRun(ctx, done); err != nil {
		t.Fatalf("waiting for NIC %d: %v", n.Self(), err)
	}
	return done.Err()
}

// event waits for a program's next event on this goroutine.
func event(t testing.TB, n *NIC, in *Installed) Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testPatience)
	defer cancel()
	e, err := n.NextEvent(ctx, in)
	if err != nil {
		t.Fatalf("waiting for an event of %q: %v", in.Name(), err)
	}
	return e
}

// randomBytes gives n bytes that depend on seed.
func randomBytes(n int, seed uint64) []byte {
	rng, b := rand.New(rand.NewPCG(seed, 7)), make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func install(t testing.TB, n *NIC, id uint8, p Program) *Installed {
	t.Helper()
	in, err := n.Install(id, p)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// testPatience is how long a test waits for what must come.
const testPatience = 20 * time.Second

// runUntil polls NICs on this goroutine until f, called with no lock held, is true.
func runUntil(t testing.TB, nics []*NIC, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(testPatience); !f(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		for _, n := range nics {
			n.Lock()
			n.Poll()
			n.Unlock()
		}
	}
}

// exchangeSum is the part of one of two members that give each other 8 bytes and add.
func exchangeSum(self int) *Schedule {
	in, out := Span{Input, 0, 8}, Span{Output, 0, 8}
	return &Schedule{Name: "exchange", Peers: 2, Self: self, Input: 8, Output: 8, Elem: 8, Ops: []SchedOp{
		{Kind: Send, Peer: 1 - self, Src: in},
		{Kind: RecvReduce, Peer: 1 - self, Src: in, Dst: out},
	}}
}

// addInts adds little-endian 64-bit integers.
func addInts(dst, src []byte) {
	for i := 0; i+8 <= len(dst); i += 8 {
		binary.LittleEndian.PutUint64(dst[i:], binary.LittleEndian.Uint64(dst[i:])+binary.LittleEndian.Uint64(src[i:]))
	}
}

func TestOpenErrors(t *testing.T) {
	port := func() fabric.Port {
		p, err := inproc.New().Open(inproc.Options{Reserved: 2})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		return p
	}
	for _, c := range []struct {
		name   string
		config Config
		want   string
	}{
		{"no port", Config{Peers: 2}, "port is nil"},
		{"no peers", Config{Port: port()}, "peers is 0, want at least 1"},
		{"self before the first", Config{Port: port(), Peers: 2, Self: -1}, "self is -1, want 0 to 1"},
		{"self behind the last", Config{Port: port(), Peers: 2, Self: 2}, "self is 2, want 0 to 1"},
		{"negative memory", Config{Port: port(), Peers: 2, Memory: -1}, "memory is -1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Open(c.config)
			wantArgument(t, err, c.want)
		})
	}
}

// wantArgument checks that an error is an *ArgumentError with a certain text.
func wantArgument(t *testing.T, err error, text string) {
	t.Helper()
	if e := new(ArgumentError); !errors.As(err, &e) || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want an *ArgumentError with %q", err, text)
	}
}

func TestArguments(t *testing.T) {
	n := openMesh(t, testFabrics[0], 2)[0]
	pending := &Completion{pending: true}
	var taken bool
	send := func(peer, length int) func() error {
		return func() error { taken = n.Send(peer, &Header{}, make([]byte, length)); return nil }
	}
	read := func(peer int) func() error {
		return func() error {
			done, err := n.Read(peer, nil, 0, 0, nil, 0)
			if !done {
				t.Error("a read that cannot be is not done")
			}
			return err
		}
	}
	for _, c := range []struct {
		name string
		call func() error
		want string // empty: no error
	}{
		{"post to nobody", func() error { return n.Post(2, &Header{}, nil, new(Completion)) }, "Post: peer is 2, want 0 to 1"},
		{"post to minus one", func() error { return n.Post(-1, &Header{}, nil, new(Completion)) }, "Post: peer is -1"},
		{"post without completion", func() error { return n.Post(1, &Header{}, nil, nil) }, "done is nil"},
		{"post with a completion in use", func() error { return n.Post(1, &Header{}, nil, pending) }, "done is pending"},
		{"send to nobody", send(2, 0), ""},
		{"send to minus one", send(-1, 0), ""},
		{"send too much", send(1, n.EagerMax()+1), ""},
		{"error of nobody", func() error { return n.PeerErr(2) }, "PeerErr: peer is 2"},
		{"read from nobody", read(2), "Read: peer is 2"},
		{"read from minus one", read(-1), "Read: peer is -1"},
		{"group with nobody", func() error { _, err := n.Group(1, []int{0, 2}, 0); return err }, "Group: peer is 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n.Lock()
			defer n.Unlock()
			err := c.call()
			if c.want != "" {
				wantArgument(t, err, c.want)
			} else if err != nil || taken {
				t.Errorf("error %v, taken %v", err, taken)
			}
		})
	}
	wantArgument(t, n.SetPeer(2, ""), "SetPeer: peer is 2")
	wantArgument(t, n.SetPeer(-1, ""), "SetPeer: peer is -1")
	for _, r := range []Rights{0, 4, 0xff} {
		_, err := n.Register(make([]byte, 8), r)
		wantArgument(t, err, "want HostRead, HostWrite or both")
	}
	if err := n.Post(1, &Header{}, nil, pending); !errors.Is(err, ErrBusy) {
		t.Errorf("post with a completion in use: %v, want %v", err, ErrBusy)
	}
}

func TestClosedNIC(t *testing.T) {
	n := openMesh(t, testFabrics[0], 1)[0]
	region, err := n.Register(make([]byte, 8), HostRead)
	if err != nil {
		t.Fatal(err)
	}
	var g *Group
	var c Counter
	locked(n, func() {
		g, err = n.Group(1, []int{0}, 0)
		c, _ = n.AllocCounter()
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	second := func(_ any, err error) error { return err }
	plan, err := Compile(&Schedule{Name: "nothing", Peers: 1})
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"Close":        n.Close(),
		"Install":      second(n.Install(3, Program{Name: "late"})),
		"Register":     second(n.Register(nil, HostRead)),
		"Deregister":   region.Deregister(),
		"Post":         n.Post(0, &Header{}, nil, new(Completion)),
		"Read":         second(n.Read(0, nil, 0, 0, nil, 0)),
		"Group":        second(n.Group(2, []int{0}, 0)),
		"Start":        g.Start(plan, nil, nil, nil, new(Completion)),
		"Repeat":       g.Repeat(plan, nil, nil, nil, 2, new(Completion)),
		"AllocCounter": second(n.AllocCounter()),
		"FreeCounter":  n.FreeCounter(c),
		"ReadCounter":  second(n.ReadCounter(c)),
		"SetCounter":   n.SetCounter(c, CounterValue{}),
		"Increment":    n.Increment(c, CounterValue{}),
		"Arm":          n.Arm(Triggered{Counter: c, Kind: TriggerIncrement, Target: c}),
		"Cancel":       second(n.CancelTriggered(c)),
		"AwaitCounter": n.AwaitCounter(c, 1, new(Completion)),
		"WaitRun":      n.WaitRun(nil, new(Completion)),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v, want %v", name, err, ErrClosed)
		}
	}
	if n.Send(0, &Header{}, nil) {
		t.Error("Send took a message")
	}
	if _, _, err := n.Expose(make([]byte, 8)); !errors.Is(err, ErrClosed) {
		t.Errorf("Expose: %v, want %v", err, ErrClosed)
	}
}
