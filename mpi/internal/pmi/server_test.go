package pmi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Every rank sees what every rank has put before the barrier.
func TestServerExchange(t *testing.T) {
	const ranks, rounds = 9, 5
	j := newJob(t, ranks)
	clients := make([]*Client, ranks)
	for rank := range clients {
		clients[rank] = j.client(t, rank)
	}
	ctx := testContext(t)
	each(t, clients, func(c *Client) error {
		for round := range rounds {
			if err := c.Put(ctx, fmt.Sprintf("r%d-%d", round, c.Rank), fmt.Sprint(c.Rank*round)); err != nil {
				return err
			}
			if err := c.Barrier(ctx); err != nil {
				return err
			}
			for peer := range ranks {
				if v, err := c.Get(ctx, fmt.Sprintf("r%d-%d", round, peer)); err != nil || v != fmt.Sprint(peer*round) {
					return fmt.Errorf("round %d: peer %d has %q, %w", round, peer, v, err)
				}
			}
		}
		nodes, err := c.Nodes(ctx)
		if err != nil {
			return err
		}
		if diff := cmp.Diff(make([]int, ranks), nodes); diff != "" {
			return errors.New(diff)
		}
		if n, err := c.UniverseSize(ctx); n != ranks || err != nil {
			return fmt.Errorf("universe of %d, %w", n, err)
		}
		if n, err := c.AppNum(ctx); n != 0 || err != nil {
			return fmt.Errorf("application %d, %w", n, err)
		}
		return c.Finalize(ctx)
	})
	for rank := range ranks {
		if p := j.Phase(rank); p != Finalized {
			t.Errorf("rank %d is in phase %d", rank, p)
		}
	}
}

// The replies on the wire, line by line.
func TestServerTranscripts(t *testing.T) {
	const hello = "> cmd=init pmi_version=1 pmi_subversion=1\n< cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0\n"
	tests := []struct{ name, transcript string }{
		{"a whole life", hello + `
			> cmd=get_maxes
			< cmd=maxes kvsname_max=256 keylen_max=64 vallen_max=1024
			> cmd=get_appnum
			< cmd=appnum appnum=0
			> cmd=get_universe_size
			< cmd=universe_size size=1
			> cmd=get_my_kvsname
			< cmd=my_kvsname kvsname=kvs_test
			> value=1 key=a kvsname=kvs_test cmd=put
			< cmd=put_result rc=0 msg=success
			> cmd=barrier_in
			< cmd=barrier_out
			> cmd=get kvsname=kvs_test key=a
			< cmd=get_result rc=0 msg=success value=1
			> cmd=get kvsname=kvs_test key=PMI_process_mapping
			< cmd=get_result rc=0 msg=success value=(vector,(0,1,1))
			> cmd=finalize
			< cmd=finalize_ack`},
		{"missing key", hello + "> cmd=get kvsname=kvs_test key=zzz\n< cmd=get_result rc=-1 msg=key_not_found value=unknown"},
		{"no key", hello + "> cmd=get kvsname=kvs_test\n< cmd=get_result rc=-1 msg=key_not_found value=unknown"},
		{"other space", hello + "> cmd=get kvsname=other key=a\n< cmd=get_result rc=-1 msg=unknown_kvsname"},
		{"put elsewhere", hello + "> cmd=put kvsname=other key=a value=b\n< cmd=put_result rc=-1 msg=unknown_kvsname"},
		{"put without a key", hello + "> cmd=put kvsname=kvs_test value=b\n< cmd=put_result rc=-1 msg=invalid_key"},
		{"put without a value", hello + "> cmd=put kvsname=kvs_test key=a\n< cmd=put_result rc=-1 msg=invalid_value"},
		{"long key", hello + "> cmd=put value=b kvsname=kvs_test key=" + strings.Repeat("k", MaxKey) + "\n< cmd=put_result rc=-1 msg=invalid_key"},
		{"long value", hello + "> cmd=put key=a kvsname=kvs_test value=" + strings.Repeat("v", MaxValue) + "\n< cmd=put_result rc=-1 msg=invalid_value"},
		{"unknown command", hello + "> cmd=fly\n< cmd=error rc=-1 msg=unknown_command\n> cmd=get_appnum\n< cmd=appnum appnum=0"},
		{"spawn", hello + "> mcmd=spawn\n> nprocs=1\n> endcmd\n< cmd=spawn_result rc=-1 msg=not_supported\n> cmd=get_appnum\n< cmd=appnum appnum=0"},
		{"before init", "> cmd=barrier_in\n< cmd=barrier_out rc=-1 msg=not_between_init_and_finalize"},
		{"after finalize", hello + "> cmd=finalize\n< cmd=finalize_ack\n> cmd=barrier_in\n< cmd=barrier_out rc=-1 msg=not_between_init_and_finalize"},
		{"init twice", hello + "> cmd=init pmi_version=1\n< cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=-1 msg=already_initialized"},
		{"other version", "> cmd=init pmi_version=2 pmi_subversion=0\n< cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=-1 msg=version_not_supported"},
		{"no version", "> cmd=init\n< cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=-1 msg=version_not_supported"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			conn := newJob(t, 1).conn(t, 0)
			r := newLineReader(conn)
			for line := range strings.Lines(test.transcript) {
				say, said := strings.CutPrefix(strings.TrimSpace(line), "> ")
				want, expected := strings.CutPrefix(strings.TrimSpace(line), "< ")
				switch {
				case said:
					fmt.Fprintln(conn, say)
				case expected:
					if got, err := readLine(r); got != want || err != nil {
						t.Fatalf("got %q, %v; want %q", got, err, want)
					}
				}
			}
		})
	}
}

func TestServerRefusesMalformedLines(t *testing.T) {
	for name, line := range map[string]string{
		"no message":   "hello",
		"empty":        "",
		"endless":      strings.Repeat("x", 2*MaxLine),
		"control byte": "cmd=\x01",
	} {
		t.Run(name, func(t *testing.T) {
			j := newJob(t, 1)
			conn := j.conn(t, 0)
			fmt.Fprintln(conn, line)
			if got, err := readLine(newLineReader(conn)); got != "cmd=error rc=-1 msg=malformed_line" || err != nil {
				t.Errorf("reply %q, %v", got, err)
			}
			err := <-j.served[0]
			if !errors.Is(err, ErrProtocol) {
				t.Errorf("Serve: %v, want ErrProtocol", err)
			}
			j.served[0] <- err
		})
	}
}

func TestServerAbort(t *testing.T) {
	for _, test := range []struct {
		line string
		want int
	}{{"cmd=abort exitcode=7", 7}, {"cmd=abort", 1}, {"cmd=abort exitcode=x", 1}} {
		j := newJob(t, 2)
		watcher, conn := j.client(t, 0), j.conn(t, 1)
		fmt.Fprintln(conn, test.line)
		abort := <-j.aborts
		if abort != (AbortError{Rank: 1, Code: test.want}) {
			t.Errorf("%q: abort %+v", test.line, abort)
		}
		j.Abort(abort.Rank, abort.Code)
		<-watcher.Done()
		var got *AbortError
		if !errors.As(watcher.Err(), &got) || *got != abort {
			t.Errorf("%q: the other rank has %v", test.line, watcher.Err())
		}
	}
}

// A client's Abort does not wait for a request of another goroutine.
func TestClientAbortInBarrier(t *testing.T) {
	j := newJob(t, 2)
	c := j.client(t, 0)
	waiting := make(chan error)
	go func() { waiting <- c.Barrier(testContext(t)) }()
	for entered := 0; entered == 0; time.Sleep(time.Millisecond) {
		j.mu.Lock()
		entered = j.entered
		j.mu.Unlock()
	}
	if err := c.Abort(9); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; !errors.Is(err, ErrAborted) {
		t.Errorf("Barrier: %v, want ErrAborted", err)
	}
	if err := c.Abort(9); !errors.Is(err, ErrAborted) {
		t.Errorf("Abort again: %v, want ErrAborted", err)
	}
}

// Ranks in a barrier do not wait for ever for one that will not come.
func TestServerStranded(t *testing.T) {
	tests := []struct {
		name  string
		leave func(j *job, c *Client) error
	}{
		{"finalized", func(_ *job, c *Client) error { return c.Finalize(context.Background()) }},
		{"hung up", func(_ *job, c *Client) error { c.end(ErrGone); return nil }},
		{"exited", func(j *job, _ *Client) error { j.Exited(1); return nil }},
	}
	for _, test := range tests {
		for _, order := range []string{"before", "after"} {
			t.Run(test.name+" "+order, func(t *testing.T) {
				j := newJob(t, 2)
				c, leaver := j.client(t, 0), j.client(t, 1)
				waiting := make(chan error, 1)
				wait := func() { waiting <- c.Barrier(testContext(t)) }
				if order == "after" {
					go wait()
				}
				if err := test.leave(j, leaver); err != nil {
					t.Fatal(err)
				}
				if order == "before" {
					go wait()
				}
				if rank := <-j.stranded; rank != 1 {
					t.Errorf("rank %d is to blame, want 1", rank)
				}
				j.Abort(1, 1)
				if err := <-waiting; !errors.Is(err, ErrAborted) {
					t.Errorf("Barrier: %v, want ErrAborted", err)
				}
			})
		}
	}
}

// When a process has exited its stream ends soon, though its child holds it
// open, and what it had sent is still heard.
func TestServerExited(t *testing.T) {
	j := newJob(t, 1)
	conn := j.conn(t, 0)
	fmt.Fprintln(conn, "cmd=abort exitcode=3")
	j.Exited(0)
	select {
	case err := <-j.served[0]:
		j.served[0] <- err
	case <-time.After(patience):
		t.Fatal("Serve goes on")
	}
	if abort := <-j.aborts; abort.Code != 3 {
		t.Errorf("abort with %d, want 3", abort.Code)
	}
}

// A rank that does not read cannot hold up the end of the others.
func TestServerAbortDeafRank(t *testing.T) {
	j := newJob(t, 2)
	deaf, other := j.conn(t, 0), j.client(t, 1)
	deaf.SetDeadline(time.Now().Add(200 * time.Millisecond))
	for {
		if _, err := fmt.Fprintln(deaf, "cmd=unknown"); err != nil {
			break // both directions are full
		}
	}
	j.Abort(0, 1)
	select {
	case <-other.Done():
	case <-time.After(patience):
		t.Fatal("the other rank does not learn")
	}
}

func TestNewServerRefuses(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no ranks":       {Name: "k"},
		"too many ranks": {Name: "k", Ranks: maxRanks + 1},
		"no name":        {Ranks: 1},
		"name with gap":  {Name: "a b", Ranks: 1},
	} {
		if _, err := NewServer(cfg); !errors.Is(err, ErrLimit) {
			t.Errorf("%s: %v, want ErrLimit", name, err)
		}
	}
}

// The store agrees with a plain map, and its count of bytes with the contents.
func TestStore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s store
		model := map[string]string{}
		key := rapid.SampledFrom([]string{"a", "b", "cc", "ddd"})
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				k, v := key.Draw(t, "key"), rapid.StringN(0, 20, 40).Draw(t, "value")
				if !s.put(k, v) {
					t.Fatal("no room")
				}
				model[k] = v
			},
			"get": func(t *rapid.T) {
				k := key.Draw(t, "key")
				v, ok := s.get(k)
				if want, there := model[k]; v != want || ok != there {
					t.Fatalf("get(%q) = %q, %v; want %q, %v", k, v, ok, want, there)
				}
			},
			"": func(t *rapid.T) {
				bytes := 0
				for k, v := range model {
					bytes += len(k) + len(v)
				}
				if s.bytes != bytes {
					t.Fatalf("%d bytes counted, %d stored", s.bytes, bytes)
				}
			},
		})
	})
	var s store
	if !s.put("a", strings.Repeat("x", maxStored-1)) || s.put("b", "") || !s.put("a", "y") || !s.put("b", "") {
		t.Error("the limit of the store is not kept")
	}
}
