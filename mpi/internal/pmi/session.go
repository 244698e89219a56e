package pmi

import "strconv"

// session is the conversation with one rank: requests in, replies out.
type session struct {
	server *Server
	rank   int
	multi  bool // inside a request of several lines, which are not supported
}

// answer carries out one request and returns the reply; a reply without a
// command means that there is none to send. An error ends the conversation.
func (s *session) answer(line string) (Message, error) {
	if s.multi || len(line) >= 5 && line[:5] == "mcmd=" {
		return s.answerMulti(line), nil
	}
	m, err := ParseMessage(line)
	if err != nil {
		return Message{}, err
	}
	if m.Cmd == "init" {
		return s.init(m), nil
	}
	if m.Cmd == "abort" {
		s.abort(m)
		return Message{}, nil
	}
	verb, ok := verbs[m.Cmd]
	if !ok {
		return refusal("error", "unknown_command"), nil
	}
	if s.server.Phase(s.rank) != Active {
		return refusal(verb.reply, "not_between_init_and_finalize"), nil
	}
	return verb.do(s, m, verb.reply), nil
}

// verb is a request that an active rank may make.
type verb struct {
	reply string // the command of the reply
	do    func(s *session, m Message, reply string) Message
}

// verbs maps the command of a request to what it does.
var verbs = map[string]verb{
	"get_maxes": {"maxes", func(_ *session, _ Message, reply string) Message {
		return Message{reply, []Field{
			{"kvsname_max", strconv.Itoa(MaxName)}, {"keylen_max", strconv.Itoa(MaxKey)}, {"vallen_max", strconv.Itoa(MaxValue)},
		}}
	}},
	"get_appnum": {"appnum", func(_ *session, _ Message, reply string) Message {
		return Message{reply, []Field{{"appnum", "0"}}}
	}},
	"get_universe_size": {"universe_size", func(s *session, _ Message, reply string) Message {
		return Message{reply, []Field{{"size", strconv.Itoa(s.server.cfg.Ranks)}}}
	}},
	"get_my_kvsname": {"my_kvsname", func(s *session, _ Message, reply string) Message {
		return Message{reply, []Field{{"kvsname", s.server.cfg.Name}}}
	}},
	"put":        {"put_result", (*session).put},
	"get":        {"get_result", (*session).get},
	"barrier_in": {"barrier_out", (*session).barrier},
	"finalize":   {"finalize_ack", (*session).finalize},
}

func (s *session) init(m Message) Message {
	const reply = "response_to_init"
	version := []Field{{"pmi_version", "1"}, {"pmi_subversion", "1"}}
	if v, err := m.Int("pmi_version"); err != nil || v != 1 {
		return Message{reply, append(version, Field{"rc", "-1"}, Field{"msg", "version_not_supported"})}
	}
	if s.server.Phase(s.rank) != Silent {
		return Message{reply, append(version, Field{"rc", "-1"}, Field{"msg", "already_initialized"})}
	}
	s.server.advance(s.rank, Active)
	return Message{reply, append(version, Field{"rc", "0"})}
}

func (s *session) put(m Message, reply string) Message {
	if msg := s.foreign(m); msg != "" {
		return refusal(reply, msg)
	}
	key, _ := m.Get("key")
	value, ok := m.Get("value")
	switch {
	case checkToken("put", "key", key, MaxKey, true) != nil:
		return refusal(reply, "invalid_key")
	case !ok || len(value) >= MaxValue:
		return refusal(reply, "invalid_value")
	case !s.server.store.put(key, value):
		return refusal(reply, "no_room")
	}
	return Message{reply, []Field{{"rc", "0"}, {"msg", "success"}}}
}

func (s *session) get(m Message, reply string) Message {
	if msg := s.foreign(m); msg != "" {
		return refusal(reply, msg)
	}
	key, _ := m.Get("key")
	value, ok := s.server.store.get(key)
	if !ok {
		return Message{reply, []Field{{"rc", "-1"}, {"msg", "key_not_found"}, {"value", "unknown"}}}
	}
	return Message{reply, []Field{{"rc", "0"}, {"msg", "success"}, {"value", value}}}
}

// foreign says what is wrong if a request names another job's space.
func (s *session) foreign(m Message) string {
	if name, _ := m.Get("kvsname"); name != s.server.cfg.Name {
		return "unknown_kvsname"
	}
	return ""
}

func (s *session) barrier(_ Message, reply string) Message {
	if !s.server.barrier(s.rank) {
		return Message{}
	}
	return Message{Cmd: reply}
}

func (s *session) finalize(_ Message, reply string) Message {
	s.server.advance(s.rank, Finalized)
	return Message{Cmd: reply}
}

// abort passes the wish to end the job to the launcher.
func (s *session) abort(m Message) {
	code, err := m.Int("exitcode")
	if err != nil {
		code = 1
	}
	if s.server.cfg.OnAbort != nil {
		s.server.cfg.OnAbort(s.rank, code)
	}
}

// answerMulti skips the lines of a request such as spawn, which starts with
// mcmd= and ends with endcmd, and then refuses it.
func (s *session) answerMulti(line string) Message {
	s.multi = line != "endcmd"
	if s.multi {
		return Message{}
	}
	return refusal("spawn_result", "not_supported")
}

func refusal(reply, msg string) Message {
	return Message{reply, []Field{{"rc", "-1"}, {"msg", msg}}}
}
