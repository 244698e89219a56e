package cm_test

import (
	"context"
	"fmt"
	"log"

	"outboard/verbs"
	"outboard/verbs/cm"
)

func try[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// params make a queue pair on a device.
func params(dev *verbs.Context) cm.Params {
	cq := try(dev.CreateCQ(16, nil))
	return cm.Params{PD: try(dev.AllocPD()),
		Init: verbs.QPInit{SendCQ: cq, RecvCQ: cq, Cap: verbs.QPCap{SendWR: 4, RecvWR: 4, SendSGE: 1, RecvSGE: 1}}}
}

func Example() {
	ctx := context.Background()
	server, client := try(verbs.Devices()[0].Open()), try(verbs.Devices()[0].Open())
	defer server.Close()
	defer client.Close()

	l := try(cm.Listen(server, ":0"))
	defer l.Close()
	accepted := make(chan *cm.Conn)
	go func() {
		request := try(l.Accept(ctx))
		p := params(server)
		p.PrivateData = []byte("welcome")
		accepted <- try(request.Accept(ctx, p))
	}()

	conn := try(cm.Dial(ctx, client, l.Addr(), params(client)))
	fmt.Printf("%s\n", conn.PrivateData()[:7])
	attr, _ := conn.QP().Query()
	fmt.Println(attr.State)

	peer := <-accepted
	if err := conn.Close(); err != nil {
		log.Fatal(err)
	}
	<-peer.Done()
	attr, _ = peer.QP().Query()
	fmt.Println(attr.State, peer.Err())
	if err := peer.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// welcome
	// RTS
	// ERR <nil>
}
