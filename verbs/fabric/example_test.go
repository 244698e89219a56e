package fabric_test

import (
	"fmt"
	"log"

	"outboard/verbs/fabric"
	"outboard/verbs/fabric/inproc"
)

// A printer is a Receiver that prints what it is told and accepts all packets.
type printer struct{ name string }

func (p printer) Packet(cookie uint32, h *fabric.Header, payload []byte) bool {
	fmt.Printf("%s: packet %d on Conn %d: %s\n", p.name, h.PSN, cookie, payload)
	return true
}

func (p printer) Knock(ep int) { fmt.Printf("%s: packets wait at endpoint %d\n", p.name, ep) }

func (p printer) Down(cookie uint32, err error) {
	fmt.Printf("%s: Conn %d is down: %v\n", p.name, cookie, err)
}

// Two ports of one process: the client sends before the server has opened its endpoint.
func Example() {
	wires := inproc.New()
	server, err := wires.Open(inproc.Options{Reserved: 1})
	if err != nil {
		log.Fatal(err)
	}
	client, err := wires.Open(inproc.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	// The client opens any endpoint of its own and connects it with the server's endpoint 0.
	conn, err := client.Open(fabric.Any, 7)
	if err != nil {
		log.Fatal(err)
	}
	if err := conn.Connect(server.Addr(), 0); err != nil {
		log.Fatal(err)
	}
	conn.Send(&fabric.Header{PSN: 1}, []byte("good "), []byte("morning"))

	// The server hears of it, opens the endpoint, and polls what waited.
	server.Poll(printer{"server"}, 16)
	if _, err := server.Open(0, 5); err != nil {
		log.Fatal(err)
	}
	server.Poll(printer{"server"}, 16)

	client.Close()
	server.Poll(printer{"server"}, 16)

	// Output:
	// server: packets wait at endpoint 0
	// server: packet 1 on Conn 5: good morning
	// server: Conn 5 is down: fabric: peer closed its port: the endpoint that sent to endpoint 0
}
