package pmi

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
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

// introduce exchanges the lines that only a TCP launcher wants: initack, and
// then the settings, of which debug is the last.
func (c *Client) introduce(ctx context.Context, r *bufio.Reader, id string) error {
	stop := context.AfterFunc(ctx, func() { c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	fail := func(err error) error { return c.broken(ctx, "initack", err) }
	if _, err := c.conn.Write([]byte("cmd=initack pmiid=" + id + "\n")); err != nil {
		return fail(err)
	}
	if m, err := readMessage(r); err != nil {
		return fail(err)
	} else if m.Cmd != "initack" {
		return protocolError("initack", "reply", m.String(), "cmd=initack")
	}
	c.Rank = -1
	for range 3 {
		m, err := readMessage(r)
		if err != nil {
			return fail(err)
		}
		if err := c.set(m); err != nil {
			return err
		}
	}
	if c.Size < 1 || c.Size > maxRanks || c.Rank < 0 || c.Rank >= c.Size {
		got := "rank " + strconv.Itoa(c.Rank) + " of " + strconv.Itoa(c.Size)
		return protocolError("initack", "", got, "a rank below the size")
	}
	return nil
}

// set takes one of the settings that follow initack.
func (c *Client) set(m Message) (err error) {
	if m.Cmd != "set" || len(m.Fields) != 1 {
		return protocolError("initack", "reply", m.String(), "cmd=set size, rank and debug")
	}
	switch m.Fields[0].Key {
	case "size":
		c.Size, err = m.Int("size")
	case "rank":
		c.Rank, err = m.Int("rank")
	}
	return err
}

// hello agrees on the version and learns the limits and the name of the
// key-value space.
func (c *Client) hello(ctx context.Context) error {
	m, err := c.ask(ctx, "init", "response_to_init", Field{"pmi_version", "1"}, Field{"pmi_subversion", "1"})
	if err != nil {
		return err
	}
	if err := accepted(m); err != nil {
		return err
	}
	if m, err = c.ask(ctx, "get_maxes", "maxes"); err != nil {
		return err
	}
	if c.maxKey, err = m.Int("keylen_max"); err != nil {
		return err
	}
	if c.maxValue, err = m.Int("vallen_max"); err != nil {
		return err
	}
	c.maxKey, c.maxValue = min(c.maxKey, MaxLine/4), min(c.maxValue, MaxLine/2)
	if m, err = c.ask(ctx, "get_my_kvsname", "my_kvsname"); err != nil {
		return err
	}
	c.Name, _ = m.Get("kvsname")
	if err := checkToken("get_my_kvsname", "kvsname", c.Name, MaxName+1, false); err != nil {
		return protocolError("get_my_kvsname", "kvsname", c.Name, "a name")
	}
	return nil
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
	_, err := c.ask(ctx, "finalize", "finalize_ack")
	return err
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

// ask makes a request and returns its reply, whose command must be want.
func (c *Client) ask(ctx context.Context, cmd, want string, fields ...Field) (Message, error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-c.done:
		return Message{}, &Error{Op: cmd, Err: c.err}
	case <-ctx.Done():
		return Message{}, &Error{Op: cmd, Err: ctx.Err()}
	}
	if err := c.Err(); err != nil {
		return Message{}, &Error{Op: cmd, Err: err}
	}
	c.asked.Store(true)
	if err := c.send(ctx, Message{cmd, fields}); err != nil {
		return Message{}, err
	}
	m, err := c.reply(ctx, cmd)
	if err == nil && m.Cmd != want {
		err = protocolError(cmd, "reply", m.String(), "cmd="+want)
		c.end(err)
	}
	return m, err
}

// send writes a request, for no longer than the context lasts.
func (c *Client) send(ctx context.Context, m Message) error {
	stop := context.AfterFunc(ctx, func() { c.conn.SetWriteDeadline(time.Unix(1, 0)) })
	_, err := c.conn.Write([]byte(m.String() + "\n"))
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		err = c.broken(ctx, m.Cmd, err)
		c.end(err)
	}
	return err
}

// reply waits for what the reading goroutine hands over. A reply that came
// just before the end of the connection still counts.
func (c *Client) reply(ctx context.Context, cmd string) (Message, error) {
	select {
	case m := <-c.replies:
		return m, nil
	case <-ctx.Done():
		err := &Error{Op: cmd, Err: ctx.Err()}
		c.end(err)
		return Message{}, err
	case <-c.done:
	}
	select {
	case m := <-c.replies:
		return m, nil
	default:
		return Message{}, &Error{Op: cmd, Err: c.err}
	}
}

// broken says why reading or writing failed: the context, the protocol, or
// else that nobody is there.
func (c *Client) broken(ctx context.Context, cmd string, err error) error {
	switch {
	case ctx.Err() != nil:
		return &Error{Op: cmd, Err: ctx.Err()}
	case errors.Is(err, ErrProtocol):
		return err
	}
	return &Error{Op: cmd, Err: ErrGone}
}

// read receives lines as long as the connection stands. Every line is the
// reply to the one request, except the notice that the job has been aborted.
func (c *Client) read(r *bufio.Reader) {
	for {
		m, err := readMessage(r)
		switch {
		case errors.Is(err, ErrProtocol):
			c.end(err)
			return
		case err != nil:
			c.end(ErrGone)
			return
		case m.Cmd == "abort":
			c.end(abortNotice(m))
			return
		case !c.asked.CompareAndSwap(true, false):
			c.end(protocolError("read", "", m.String(), "nothing without a request"))
			return
		}
		c.replies <- m
		if m.Cmd == "finalize_ack" {
			c.end(ErrFinalized) // before the launcher hangs up, as it now may
			return
		}
	}
}

// abortNotice reads "cmd=abort rank=… exitcode=…".
func abortNotice(m Message) *AbortError {
	e := &AbortError{Rank: -1, Code: 1}
	if code, err := m.Int("exitcode"); err == nil {
		e.Code = code
	}
	if rank, err := m.Int("rank"); err == nil && rank >= 0 {
		e.Rank = rank
	}
	return e
}

// end closes the connection; the first reason counts.
func (c *Client) end(reason error) {
	c.once.Do(func() {
		c.err = reason
		close(c.done)
		c.conn.Close()
	})
}
