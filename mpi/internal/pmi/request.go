package pmi

import (
	"bufio"
	"context"
	"errors"
	"time"
)

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
			c.end(ErrFinalized) // so that the launcher, which may hang up now, is not missed
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
