package pmi

import (
	"bufio"
	"context"
	"strconv"
	"time"
)

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
