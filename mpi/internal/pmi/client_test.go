package pmi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const (
	greeting = `
		> cmd=init pmi_version=1 pmi_subversion=1
		< cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0
		> cmd=get_maxes
		< cmd=maxes kvsname_max=256 keylen_max=64 vallen_max=1024
		> cmd=get_my_kvsname
		< cmd=my_kvsname kvsname=kvs_1
`
	slurmGreeting = `
		> cmd=init pmi_version=1 pmi_subversion=1
		< cmd=response_to_init rc=0 pmi_version=1 pmi_subversion=1
		> cmd=get_maxes
		< cmd=maxes rc=0 vallen_max=1024 keylen_max=64 kvsname_max=256
		> cmd=get_my_kvsname
		< cmd=my_kvsname rc=0 kvsname=kvs_1
`
)

// converse connects a client to a transcript that starts with a greeting.
func converse(t *testing.T, transcript string) *Client {
	t.Helper()
	c, err := newClient(testContext(t), scripted(t, transcript), 0, 2, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.end(ErrGone) })
	return c
}

func TestClientTranscripts(t *testing.T) {
	tests := []struct {
		name, transcript string
		do               func(ctx context.Context, c *Client) (any, error)
		want             any
		err              error // nil, or what the error is
	}{
		{"put", greeting + "> cmd=put kvsname=kvs_1 key=a value=b\n< cmd=put_result rc=0 msg=success",
			func(ctx context.Context, c *Client) (any, error) { return nil, c.Put(ctx, "a", "b") }, nil, nil},
		{"put refused", greeting + "> cmd=put kvsname=kvs_1 key=a value=b\n< cmd=put_result rc=-1 msg=duplicate_key",
			func(ctx context.Context, c *Client) (any, error) { return nil, c.Put(ctx, "a", "b") }, nil, ErrRefused},
		{"get from Hydra", greeting + "> cmd=get kvsname=kvs_1 key=a\n< cmd=get_result rc=0 msg=success value=b",
			func(ctx context.Context, c *Client) (any, error) { return c.Get(ctx, "a") }, "b", nil},
		{"get from Slurm", slurmGreeting + "> cmd=get kvsname=kvs_1 key=a\n< cmd=get_result value=b rc=0",
			func(ctx context.Context, c *Client) (any, error) { return c.Get(ctx, "a") }, "b", nil},
		{"missing in Hydra", greeting + "> cmd=get kvsname=kvs_1 key=a\n< cmd=get_result rc=-1 msg=key_a_not_found value=unknown",
			func(ctx context.Context, c *Client) (any, error) { return c.Get(ctx, "a") }, "", ErrNotFound},
		{"missing in Slurm", slurmGreeting + "> cmd=get kvsname=kvs_1 key=a\n< cmd=get_result rc=1",
			func(ctx context.Context, c *Client) (any, error) { return c.Get(ctx, "a") }, "", ErrNotFound},
		{"result without a value", greeting + "> cmd=get kvsname=kvs_1 key=a\n< cmd=get_result rc=0",
			func(ctx context.Context, c *Client) (any, error) { return c.Get(ctx, "a") }, "", ErrProtocol},
		{"result without a code", greeting + "> cmd=get kvsname=kvs_1 key=a\n< cmd=get_result value=b",
			func(ctx context.Context, c *Client) (any, error) { return c.Get(ctx, "a") }, "", ErrProtocol},
		{"bytes that are no base64", greeting + "> cmd=get kvsname=kvs_1 key=a\n< cmd=get_result rc=0 value=%%",
			func(ctx context.Context, c *Client) (any, error) { return c.GetBytes(ctx, "a") }, []byte(nil), ErrProtocol},
		{"universe size", greeting + "> cmd=get_universe_size\n< cmd=universe_size size=-1",
			func(ctx context.Context, c *Client) (any, error) { return c.UniverseSize(ctx) }, -1, nil},
		{"application number", greeting + "> cmd=get_appnum\n< cmd=appnum appnum=3",
			func(ctx context.Context, c *Client) (any, error) { return c.AppNum(ctx) }, 3, nil},
		{"nodes", greeting + "> cmd=get kvsname=kvs_1 key=PMI_process_mapping\n< cmd=get_result rc=0 value=(vector,(0,2,1))",
			func(ctx context.Context, c *Client) (any, error) { return c.Nodes(ctx) }, []int{0, 1}, nil},
		{"another reply", greeting + "> cmd=barrier_in\n< cmd=put_result rc=0",
			func(ctx context.Context, c *Client) (any, error) { return nil, c.Barrier(ctx) }, nil, ErrProtocol},
		{"garbage", greeting + "> cmd=barrier_in\n< what?",
			func(ctx context.Context, c *Client) (any, error) { return nil, c.Barrier(ctx) }, nil, ErrProtocol},
		{"endless line", greeting + "> cmd=barrier_in\n< cmd=barrier_out x=" + strings.Repeat("y", MaxLine),
			func(ctx context.Context, c *Client) (any, error) { return nil, c.Barrier(ctx) }, nil, ErrProtocol},
		{"launcher dies in a barrier", greeting + "> cmd=barrier_in",
			func(ctx context.Context, c *Client) (any, error) { return nil, c.Barrier(ctx) }, nil, ErrGone},
		{"abort in a barrier", greeting + "> cmd=barrier_in\n< cmd=abort rank=1 exitcode=7",
			func(ctx context.Context, c *Client) (any, error) { return nil, c.Barrier(ctx) }, nil, ErrAborted},
		{"finalize", greeting + "> cmd=finalize\n< cmd=finalize_ack",
			func(ctx context.Context, c *Client) (any, error) { return nil, c.Finalize(ctx) }, nil, nil},
		{"finalize twice", greeting + "> cmd=finalize\n< cmd=finalize_ack",
			func(ctx context.Context, c *Client) (any, error) {
				return nil, errors.Join(c.Finalize(ctx), c.Finalize(ctx))
			}, nil, ErrFinalized},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := converse(t, test.transcript)
			got, err := test.do(testContext(t), c)
			if !errors.Is(err, test.err) || test.err == nil && err != nil {
				t.Fatalf("error %v, want %v", err, test.err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestClientHello(t *testing.T) {
	tests := []struct {
		name, transcript string
		err              error
	}{
		{"other version", "> cmd=init pmi_version=1 pmi_subversion=1\n< cmd=response_to_init pmi_version=2 rc=-1", ErrRefused},
		{"no code", "> cmd=init pmi_version=1 pmi_subversion=1\n< cmd=response_to_init", ErrProtocol},
		{"no limits", "> cmd=init pmi_version=1 pmi_subversion=1\n< cmd=response_to_init rc=0\n> cmd=get_maxes\n< cmd=maxes", ErrProtocol},
		{"no name", "> cmd=init pmi_version=1 pmi_subversion=1\n< cmd=response_to_init rc=0\n> cmd=get_maxes\n" +
			"< cmd=maxes kvsname_max=256 keylen_max=64 vallen_max=1024\n> cmd=get_my_kvsname\n< cmd=my_kvsname", ErrProtocol},
		{"nobody", "", ErrGone},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := newClient(testContext(t), scripted(t, test.transcript), 0, 2, "")
			if !errors.Is(err, test.err) {
				t.Errorf("error %v, want %v", err, test.err)
			}
		})
	}
}

func TestClientOverTCP(t *testing.T) {
	const introduction = "> cmd=initack pmiid=5\n< cmd=initack\n< cmd=set size=9\n< cmd=set rank=5\n< cmd=set debug=0"
	c, err := newClient(testContext(t), scripted(t, introduction+greeting), 0, 0, "5")
	if err != nil {
		t.Fatal(err)
	}
	defer c.end(ErrGone)
	if c.Rank != 5 || c.Size != 9 {
		t.Errorf("rank %d of %d, want 5 of 9", c.Rank, c.Size)
	}
	for name, transcript := range map[string]string{
		"rank beyond size": "> cmd=initack pmiid=5\n< cmd=initack\n< cmd=set size=2\n< cmd=set rank=2\n< cmd=set debug=0",
		"no rank":          "> cmd=initack pmiid=5\n< cmd=initack\n< cmd=set size=2\n< cmd=set debug=0\n< cmd=set debug=0",
		"no number":        "> cmd=initack pmiid=5\n< cmd=initack\n< cmd=set size=two",
		"no setting":       "> cmd=initack pmiid=5\n< cmd=initack\n< cmd=response_to_init rc=0",
		"other answer":     "> cmd=initack pmiid=5\n< cmd=set size=2",
		"garbage":          "> cmd=initack pmiid=5\n< hello",
	} {
		if _, err := newClient(testContext(t), scripted(t, transcript), 0, 0, "5"); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v, want ErrProtocol", name, err)
		}
	}
	if _, err := newClient(testContext(t), scripted(t, "> cmd=initack pmiid=5"), 0, 0, "5"); !errors.Is(err, ErrGone) {
		t.Errorf("nobody: %v, want ErrGone", err)
	}
}

func TestClientLimits(t *testing.T) {
	c := converse(t, greeting)
	ctx := testContext(t)
	for _, key := range []string{"", "a b", "a=b", "a\nb", strings.Repeat("k", MaxKey)} {
		if err := c.Put(ctx, key, "v"); !errors.Is(err, ErrLimit) {
			t.Errorf("Put(%q): %v, want ErrLimit", key, err)
		}
		if _, err := c.Get(ctx, key); !errors.Is(err, ErrLimit) {
			t.Errorf("Get(%q): %v, want ErrLimit", key, err)
		}
	}
	for _, value := range []string{"", "a b", "a\nb", "a\x00", strings.Repeat("v", MaxValue)} {
		if err := c.Put(ctx, "k", value); !errors.Is(err, ErrLimit) {
			t.Errorf("value %.20q: %v, want ErrLimit", value, err)
		}
	}
	if err := c.PutBytes(ctx, "k", make([]byte, 768)); !errors.Is(err, ErrLimit) {
		t.Errorf("768 bytes: %v, want ErrLimit", err)
	}
}

// Between requests the client still notices that the launcher has gone, has
// ended the job or talks nonsense.
func TestClientDone(t *testing.T) {
	for name, test := range map[string]struct {
		last string
		want error
	}{
		"launcher dies": {"", ErrGone},
		"abort":         {"< cmd=abort rank=3 exitcode=7", ErrAborted},
		"unasked reply": {"< cmd=barrier_out", ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			c := converse(t, greeting+test.last)
			select {
			case <-c.Done():
			case <-time.After(patience):
				t.Fatal("Done is not closed")
			}
			if err := c.Err(); !errors.Is(err, test.want) {
				t.Errorf("Err() = %v, want %v", err, test.want)
			}
			var abort *AbortError
			if errors.As(c.Err(), &abort) && *abort != (AbortError{Rank: 3, Code: 7}) {
				t.Errorf("%+v, want rank 3 and code 7", *abort)
			}
			if err := c.Barrier(testContext(t)); !errors.Is(err, test.want) {
				t.Errorf("Barrier: %v, want %v", err, test.want)
			}
		})
	}
}

func TestClientContext(t *testing.T) {
	j := newJob(t, 2)
	c := j.client(t, 0)
	if err := c.Err(); err != nil {
		t.Fatalf("a new client: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := c.Barrier(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Barrier: %v, want a passed deadline", err)
	}
	if err := c.Put(testContext(t), "a", "b"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Put after an abandoned request: %v", err)
	}
	expired, cancel := context.WithCancel(context.Background())
	cancel()
	if err := j.client(t, 1).Put(expired, "a", "b"); !errors.Is(err, context.Canceled) {
		t.Errorf("Put with an ended context: %v", err)
	}
}

func TestDial(t *testing.T) {
	pipe, other, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	defer other.Close()
	good := map[string]string{"PMI_RANK": "1", "PMI_SIZE": "2"}
	tests := []struct {
		name string
		env  map[string]string // on top of good
		what string            // the variable that is to blame
		err  error
	}{
		{"descriptor is no number", map[string]string{"PMI_FD": "x"}, "PMI_FD", ErrEnv},
		{"standard output", map[string]string{"PMI_FD": "1"}, "PMI_FD", ErrEnv},
		{"closed descriptor", map[string]string{"PMI_FD": "987654"}, "PMI_FD", ErrEnv},
		{"a pipe", map[string]string{"PMI_FD": strconv.Itoa(int(pipe.Fd()))}, "PMI_FD", ErrEnv},
		{"no size", map[string]string{"PMI_FD": "7", "PMI_SIZE": ""}, "PMI_SIZE", ErrEnv},
		{"size 0", map[string]string{"PMI_FD": "7", "PMI_SIZE": "0"}, "PMI_SIZE", ErrEnv},
		{"rank beyond size", map[string]string{"PMI_FD": "7", "PMI_RANK": "2"}, "PMI_RANK", ErrEnv},
		{"negative rank", map[string]string{"PMI_FD": "7", "PMI_RANK": "-1"}, "PMI_RANK", ErrEnv},
		{"port without an identity", map[string]string{"PMI_PORT": "localhost:1"}, "PMI_ID", ErrEnv},
		{"port without a host", map[string]string{"PMI_PORT": "9", "PMI_ID": "0"}, "PMI_PORT", ErrEnv},
		{"nobody listens", map[string]string{"PMI_PORT": "127.0.0.1:1", "PMI_ID": "0"}, "PMI_PORT", ErrGone},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, found, err := Dial(testContext(t), lookupIn(good, test.env))
			var e *Error
			if !found || c != nil || !errors.Is(err, test.err) || !errors.As(err, &e) || e.What != test.what {
				t.Errorf("Dial = %v, %v, %v; want %v about %s", c, found, err, test.err, test.what)
			}
		})
	}
	if _, err := pipe.Stat(); err != nil {
		t.Errorf("a descriptor of somebody else was closed: %v", err)
	}
	if c, found, err := Dial(testContext(t), lookupIn(good)); c != nil || found || err != nil {
		t.Errorf("without a launcher: %v, %v, %v", c, found, err)
	}
}

func lookupIn(envs ...map[string]string) func(string) (string, bool) {
	return func(name string) (value string, ok bool) {
		for _, env := range envs {
			if v, set := env[name]; set {
				value, ok = v, true
			}
		}
		return value, ok
	}
}

// A client found in the environment talks to a server over an inherited
// descriptor, and leaves none to its own children.
func TestDialServer(t *testing.T) {
	j := newJob(t, 1)
	fd, err := unix.Dup(int(j.files[0].Fd()))
	if err != nil {
		t.Fatal(err)
	}
	j.files[0].Close()
	ctx := testContext(t)
	c, found, err := Dial(ctx, lookupIn(map[string]string{"PMI_FD": fmt.Sprint(fd), "PMI_RANK": "0", "PMI_SIZE": "1"}))
	if err != nil || !found {
		t.Fatalf("Dial: %v, %v", found, err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
		t.Error("the inherited descriptor is still open")
	}
	blob := []byte{0, 1, 255, '\n', ' '}
	if err := c.PutBytes(ctx, "blob", blob); err != nil {
		t.Fatal(err)
	}
	if got, err := c.GetBytes(ctx, "blob"); err != nil || !bytes.Equal(got, blob) {
		t.Errorf("GetBytes = %v, %v; want %v", got, err, blob)
	}
	if err := c.Finalize(ctx); err != nil {
		t.Error(err)
	}
}
