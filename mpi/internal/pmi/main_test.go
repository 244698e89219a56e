package pmi

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv("PMI_TEST_RANK") != "" {
		os.Exit(rankUnderHydra())
	}
	goleak.VerifyTestMain(m)
}

// patience bounds every wait of a test that could hang.
const patience = 10 * time.Second

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// job is a server with a connection for each rank.
type job struct {
	*Server
	files    []*os.File // the ranks' ends
	served   []chan error
	aborts   chan AbortError
	stranded chan int
}

func newJob(t testing.TB, ranks int) *job {
	t.Helper()
	j := &job{aborts: make(chan AbortError, ranks), stranded: make(chan int, ranks)}
	server, err := NewServer(Config{
		Name: "kvs_test", Ranks: ranks,
		OnAbort:    func(rank, code int) { j.aborts <- AbortError{rank, code} },
		OnStranded: func(rank int) { j.stranded <- rank },
	})
	if err != nil {
		t.Fatal(err)
	}
	j.Server = server
	for rank := range ranks {
		conn, file, err := Pair()
		if err != nil {
			t.Fatal(err)
		}
		j.files = append(j.files, file)
		served := make(chan error, 1)
		j.served = append(j.served, served)
		go func() { served <- server.Serve(rank, conn) }()
	}
	t.Cleanup(func() {
		server.Abort(-1, 1)
		for _, served := range j.served {
			<-served
		}
		for _, f := range j.files {
			f.Close()
		}
	})
	return j
}

// conn returns the rank's end as a raw connection.
func (j *job) conn(t testing.TB, rank int) net.Conn {
	t.Helper()
	conn, err := net.FileConn(j.files[rank])
	if err != nil {
		t.Fatal(err)
	}
	j.files[rank].Close()
	conn.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { conn.Close() })
	return conn
}

// client connects as a rank does.
func (j *job) client(t testing.TB, rank int) *Client {
	t.Helper()
	conn, err := net.FileConn(j.files[rank])
	if err != nil {
		t.Fatal(err)
	}
	j.files[rank].Close()
	c, err := newClient(testContext(t), conn, rank, len(j.files), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.end(ErrGone) })
	return c
}

// each runs f for all clients of a job at the same time.
func each(t testing.TB, clients []*Client, f func(c *Client) error) {
	t.Helper()
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() {
			if err := f(c); err != nil {
				t.Errorf("rank %d: %v", c.Rank, err)
			}
		})
	}
	wg.Wait()
}

// scripted is a launcher that expects and sends what a transcript says: lines
// starting with "> " are expected, lines starting with "< " are sent.
func scripted(t testing.TB, transcript string) (client net.Conn) {
	t.Helper()
	conn, file, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	if client, err = net.FileConn(file); err != nil {
		t.Fatal(err)
	}
	file.Close()
	conn.SetDeadline(time.Now().Add(patience))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer conn.Close()
		r := bufio.NewReader(conn)
		for line := range strings.Lines(transcript) {
			want, expected := strings.CutPrefix(strings.TrimSpace(line), "> ")
			say, said := strings.CutPrefix(strings.TrimSpace(line), "< ")
			switch {
			case said:
				fmt.Fprintln(conn, say)
			case expected:
				if got, err := r.ReadString('\n'); err != nil || strings.TrimSuffix(got, "\n") != want {
					t.Errorf("the client said %q (%v), want %q", got, err, want)
					return
				}
			}
		}
	}()
	t.Cleanup(func() { <-ended })
	t.Cleanup(func() { client.Close() })
	return client
}
