package pmi

import (
	"context"
	"encoding/base64"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// farewell is how long a client tries to send its abort.
const farewell = time.Second

// Client is a rank's connection to its launcher. Its methods may be called
// from several goroutines; requests wait for each other. A request that its
// context ends leaves the connection out of step, so it also ends the client.
type Client struct {
	Rank, Size int    // of this process, 0 <= Rank < Size
	Name       string // of the key-value space

	maxKey, maxValue int // limits of this launcher

	conn    net.Conn
	turn    chan struct{} // holds one token: the right to make a request
	asked   atomic.Bool   // a request waits for its reply
	replies chan Message  // from the reading goroutine, for the one request
	done    chan struct{} // closed when the connection is over

	once sync.Once // guards the end of the connection
	err  error     // why it ended; read only after done is closed
}

// newClient says hello over conn, which it owns from now on. A non-empty id is
// the identity for a launcher that listens on TCP and tells rank and size.
func newClient(ctx context.Context, conn net.Conn, rank, size int, id string) (*Client, error) {
	c := &Client{
		Rank: rank, Size: size,
		conn:    conn,
		turn:    make(chan struct{}, 1),
		replies: make(chan Message, 1),
		done:    make(chan struct{}),
	}
	r := newLineReader(conn)
	if id != "" {
		if err := c.introduce(ctx, r, id); err != nil {
			conn.Close()
			return nil, err
		}
	}
	go c.read(r)
	if err := c.hello(ctx); err != nil {
		c.end(err)
		return nil, err
	}
	return c, nil
}

// Put publishes a value under a key. Others may rely on it after the next
// Barrier. An unsuitable key or value is an *Error with ErrLimit; bytes are
// for PutBytes.
func (c *Client) Put(ctx context.Context, key, value string) error {
	if err := checkToken("put", "key", key, c.maxKey, true); err != nil {
		return err
	}
	if err := checkToken("put", "value", value, c.maxValue, false); err != nil {
		return err
	}
	m, err := c.ask(ctx, "put", "put_result", Field{"kvsname", c.Name}, Field{"key", key}, Field{"value", value})
	if err != nil {
		return err
	}
	return accepted(m)
}

// Get returns the value that some rank has put under a key. If there is none
// the error is an *Error with ErrNotFound.
func (c *Client) Get(ctx context.Context, key string) (string, error) {
	if err := checkToken("get", "key", key, c.maxKey, true); err != nil {
		return "", err
	}
	m, err := c.ask(ctx, "get", "get_result", Field{"kvsname", c.Name}, Field{"key", key})
	if err != nil {
		return "", err
	}
	rc, err := m.Int("rc")
	if err != nil {
		return "", err
	}
	if rc != 0 {
		return "", &Error{Op: "get", What: key, Err: ErrNotFound}
	}
	value, ok := m.Get("value")
	if !ok {
		return "", protocolError("get", key, m.String(), "value=…")
	}
	return value, nil
}

// PutBytes is Put for any bytes, which travel as base64url; at least one, and
// under the usual limit at most 767 of them fit.
func (c *Client) PutBytes(ctx context.Context, key string, value []byte) error {
	return c.Put(ctx, key, base64.RawURLEncoding.EncodeToString(value))
}

// GetBytes returns what PutBytes has put.
func (c *Client) GetBytes(ctx context.Context, key string) ([]byte, error) {
	s, err := c.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, protocolError("get", key, s, "base64url")
	}
	return b, nil
}

// Barrier returns when all ranks have called it.
func (c *Client) Barrier(ctx context.Context) error {
	_, err := c.ask(ctx, "barrier_in", "barrier_out")
	return err
}

// AppNum returns the number of the program within its job, counted from 0.
func (c *Client) AppNum(ctx context.Context) (int, error) {
	m, err := c.ask(ctx, "get_appnum", "appnum")
	if err != nil {
		return 0, err
	}
	return m.Int("appnum")
}

// UniverseSize returns how many processes the launcher could run, or -1 if it
// does not know.
func (c *Client) UniverseSize(ctx context.Context) (int, error) {
	m, err := c.ask(ctx, "get_universe_size", "universe_size")
	if err != nil {
		return 0, err
	}
	return m.Int("size")
}

// Nodes returns for each rank the number of the machine that it runs on, as
// the launcher says. Without a statement the error is ErrNotFound.
func (c *Client) Nodes(ctx context.Context) ([]int, error) {
	s, err := c.Get(ctx, mappingKey)
	if err != nil {
		return nil, err
	}
	return ParseMapping(s, c.Size)
}

// Finalize tells the launcher that this rank has done its part and ends the
// connection, so Done closes. A rank that exits without makes its job fail.
func (c *Client) Finalize(ctx context.Context) error {
	if _, err := c.ask(ctx, "finalize", "finalize_ack"); err != nil {
		return err
	}
	c.end(ErrFinalized)
	return nil
}

// Abort asks the launcher to end the job with this exit code and ends the
// connection. The caller should exit then. It does not wait for requests of
// other goroutines, nor for an answer.
func (c *Client) Abort(code int) error {
	select {
	case <-c.done:
		return &Error{Op: "abort", Err: c.err}
	default:
	}
	c.conn.SetWriteDeadline(time.Now().Add(farewell))
	_, err := c.conn.Write([]byte("cmd=abort exitcode=" + strconv.Itoa(code) + "\n"))
	c.end(&AbortError{Rank: c.Rank, Code: code})
	if err != nil {
		return &Error{Op: "abort", Want: err.Error(), Err: ErrGone}
	}
	return nil
}

// Done returns a channel that closes when the connection is over: the launcher
// has gone or has ended the job, or this rank has finalized or aborted.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err says why Done is closed: ErrGone, ErrFinalized, ErrProtocol, an
// *AbortError, or the error of the context that ended a request. It is nil
// while the connection stands.
func (c *Client) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// accepted turns a reply with a code other than 0 into an error.
func accepted(m Message) error {
	rc, err := m.Int("rc")
	if err != nil {
		return err
	}
	if rc != 0 {
		msg, _ := m.Get("msg")
		return &Error{Op: m.Cmd, What: "rc", Got: strconv.Itoa(rc) + " " + msg, Want: "0", Err: ErrRefused}
	}
	return nil
}
