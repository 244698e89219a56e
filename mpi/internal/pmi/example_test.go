package pmi_test

import (
	"context"
	"fmt"
	"strconv"
	"syscall"

	"outboard/mpi/internal/pmi"
)

// A launcher serves one rank, which publishes an address and reads it back. In
// earnest the rank is another process and calls FromEnv.
func Example() {
	server, err := pmi.NewServer(pmi.Config{Name: "kvs_0", Ranks: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	conn, file, err := pmi.Pair()
	if err != nil {
		fmt.Println(err)
		return
	}
	fd, err := syscall.Dup(int(file.Fd())) // as a process inherits it
	file.Close()
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error)
	go func() { served <- server.Serve(0, conn) }()

	env := map[string]string{"PMI_RANK": "0", "PMI_SIZE": "1", "PMI_FD": strconv.Itoa(fd)}
	ctx := context.Background()
	c, _, err := pmi.Dial(ctx, func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	if err != nil {
		fmt.Println(err)
		return
	}
	c.PutBytes(ctx, "addr-0", []byte("pid 17, fd 5"))
	c.Barrier(ctx)
	addr, err := c.GetBytes(ctx, "addr-0")
	fmt.Printf("%s, %v\n", addr, err)
	fmt.Println(c.Finalize(ctx), <-served, server.Phase(0) == pmi.Finalized)
	// Output:
	// pid 17, fd 5, <nil>
	// <nil> <nil> true
}
