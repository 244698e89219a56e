package faulty_test

import (
	"fmt"
	"log"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/faulty"
	"outboard/verbs/fabric/inproc"
)

// A printer is a Receiver that prints the payloads that come.
type printer struct{}

func (printer) Packet(_ uint32, _ *fabric.Header, payload []byte) bool {
	fmt.Println(string(payload))
	return true
}
func (printer) Knock(int)          {}
func (printer) Down(uint32, error) {}

// A wire that loses every third packet and changes the order of two.
func Example() {
	wires := inproc.New()
	near, err := wires.Open(inproc.Options{})
	if err != nil {
		log.Fatal(err)
	}
	far, err := wires.Open(inproc.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer far.Close()
	port, err := faulty.Wrap(near, faulty.Options{
		Inject: faulty.Any(faulty.Every(3, faulty.Drop), faulty.OnIndex(3, faulty.Reorder)),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer port.Close()

	if _, err := far.Open(1, 0); err != nil {
		log.Fatal(err)
	}
	conn, err := port.Open(1, 0)
	if err != nil {
		log.Fatal(err)
	}
	if err := conn.Connect(far.Addr(), 1); err != nil {
		log.Fatal(err)
	}
	for _, word := range []string{"one", "two", "three", "four", "five", "six"} {
		conn.Send(&fabric.Header{}, []byte(word), nil)
	}
	far.Poll(printer{}, 16)

	port.Cut()
	conn.Send(&fabric.Header{}, []byte("seven"), nil)
	far.Poll(printer{}, 16)
	stats := port.Stats()
	fmt.Println(stats.Dropped, "dropped,", stats.Reordered, "reordered,", stats.Cut, "cut")

	// Output:
	// one
	// two
	// five
	// four
	// 2 dropped, 1 reordered, 1 cut
}

// What a failing test has printed becomes the faults of the next run.
func ExampleParse() {
	inj, err := faulty.Parse("ForEndpoint(3, Any(OnIndex(10, Cut(5ms)), Rate(7, 0.01, Delay(1ms))))")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(inj.Judge(faulty.Packet{Endpoint: 3, Index: 10}))
	fmt.Println(inj.Judge(faulty.Packet{Endpoint: 4, Index: 10}))

	_, err = faulty.Parse("Rate(7, 1.5, Drop)")
	fmt.Println(err)

	// Output:
	// Cut(5ms)
	// None
	// faulty: injector "Rate(7, 1.5, Drop)", at byte 8: want a probability from 0 to 1
}
