package pmi

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"
)

// lastWords is how long a server waits for a rank to take the notice of an
// abort, and for the last requests of a process that has exited.
const lastWords = 100 * time.Millisecond

// Phase says how far a rank has come.
type Phase int

// A rank is Silent until its init and Active until its finalize.
const (
	Silent Phase = iota
	Active
	Finalized
)

// Config describes the job that a Server serves.
type Config struct {
	Name  string // of the key-value space; no spaces, fewer than MaxName bytes
	Ranks int    // from 1
	// OnAbort is called, from the goroutine that serves the rank, when a rank
	// asks for the end of the job. It decides; Server.Abort tells the others.
	OnAbort func(rank, code int)
	// OnStranded is called, once, when ranks wait in a barrier that cannot
	// complete because this rank has finalized, hung up or exited.
	OnStranded func(rank int)
}

// Server is the launcher's end. Its methods may be called from several
// goroutines.
type Server struct {
	cfg   Config
	store store
	ended chan struct{} // closed by Abort

	mu       sync.Mutex
	members  []member      // by rank, guarded by mu
	entered  int           // ranks in the barrier, guarded by mu
	release  chan struct{} // closed when the barrier is complete; replaced under mu
	stranded bool          // OnStranded has been called, guarded by mu
	aborted  bool          // Abort has been called, guarded by mu
}

// member is what the server knows of a rank.
type member struct {
	phase Phase
	left  bool          // it will not enter a barrier any more
	conn  net.Conn      // while it is served
	gone  chan struct{} // closed when its process has exited
}

// NewServer returns a server for a job. The error is an *Error with ErrLimit.
func NewServer(cfg Config) (*Server, error) {
	if err := checkToken("server", "name", cfg.Name, MaxName, false); err != nil {
		return nil, err
	}
	if cfg.Ranks < 1 || cfg.Ranks > maxRanks {
		return nil, &Error{Op: "server", What: "ranks", Got: strconv.Itoa(cfg.Ranks), Want: fmt.Sprintf("1 to %d", maxRanks), Err: ErrLimit}
	}
	s := &Server{
		cfg:     cfg,
		ended:   make(chan struct{}),
		members: make([]member, cfg.Ranks),
		release: make(chan struct{}),
	}
	for i := range s.members {
		s.members[i].gone = make(chan struct{})
	}
	s.store.put(mappingKey, formatMapping(cfg.Ranks))
	return s, nil
}

// Serve answers the requests of one rank until its stream ends, and closes
// conn. The error is nil if the rank or the launcher hung up, and an *Error
// with ErrProtocol if the rank said something that is no message.
func (s *Server) Serve(rank int, conn net.Conn) error {
	defer conn.Close()
	if !s.admit(rank, conn) {
		return nil
	}
	defer s.leave(rank)
	r := newLineReader(conn)
	session := session{server: s, rank: rank}
	for {
		line, err := readLine(r)
		var reply Message
		if err == nil {
			reply, err = session.answer(line)
		}
		if errors.Is(err, ErrProtocol) {
			s.say(rank, Message{"error", []Field{{"rc", "-1"}, {"msg", "malformed_line"}}})
			return err
		}
		if err != nil {
			return ignoreHangup(err)
		}
		if reply.Cmd == "" {
			continue
		}
		if err := s.say(rank, reply); err != nil {
			return ignoreHangup(err)
		}
	}
}

// ignoreHangup drops the errors by which a stream ends in good order or by the
// death of either side.
func ignoreHangup(err error) error {
	var op *net.OpError
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &op) {
		return nil
	}
	return err
}

// say sends a message to a rank.
func (s *Server) say(rank int, m Message) error {
	s.mu.Lock()
	conn := s.members[rank].conn
	s.mu.Unlock()
	_, err := conn.Write([]byte(m.String() + "\n"))
	return err
}

// admit starts to serve a rank, unless the job has ended.
func (s *Server) admit(rank int, conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &s.members[rank]
	m.conn = conn
	select {
	case <-m.gone:
		conn.SetDeadline(time.Now().Add(lastWords))
	default:
	}
	return !s.aborted
}

// leave notes that a rank cannot enter a barrier any more.
func (s *Server) leave(rank int) {
	s.mu.Lock()
	s.members[rank].left = true
	lost := s.findStranded()
	s.mu.Unlock()
	s.reportStranded(lost)
}

// findStranded returns the rank for which others wait in vain, or -1. It
// returns a rank at most once. The caller holds mu.
func (s *Server) findStranded() int {
	if s.entered == 0 || s.stranded || s.aborted {
		return -1
	}
	for rank := range s.members {
		if s.members[rank].left {
			s.stranded = true
			return rank
		}
	}
	return -1
}

// reportStranded tells the launcher about what findStranded found.
func (s *Server) reportStranded(rank int) {
	if rank >= 0 && s.cfg.OnStranded != nil {
		s.cfg.OnStranded(rank)
	}
}

// barrier waits for all ranks. It returns false if the job has ended or this
// rank has exited meanwhile.
func (s *Server) barrier(rank int) bool {
	s.mu.Lock()
	release, gone := s.release, s.members[rank].gone
	s.entered++
	if s.entered == len(s.members) {
		close(release)
		s.entered, s.release = 0, make(chan struct{})
	}
	lost := s.findStranded()
	s.mu.Unlock()
	s.reportStranded(lost)
	select {
	case <-release:
		return true
	case <-s.ended:
	case <-gone:
	}
	return false
}

// advance moves a rank to its next phase.
func (s *Server) advance(rank int, p Phase) {
	s.mu.Lock()
	s.members[rank].phase = p
	s.mu.Unlock()
	if p == Finalized {
		s.leave(rank)
	}
}

// Phase returns how far a rank has come.
func (s *Server) Phase(rank int) Phase {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.members[rank].phase
}

// Exited says that the process of a rank has exited. Its Serve still answers
// what the process has sent, and then returns, soon even if a child of the
// process holds the stream open. To be called once for a rank.
func (s *Server) Exited(rank int) {
	s.mu.Lock()
	m := &s.members[rank]
	close(m.gone)
	if m.conn != nil {
		m.conn.SetDeadline(time.Now().Add(lastWords))
	}
	s.mu.Unlock()
	s.leave(rank)
}

// Abort ends the service: every other rank is told which rank has failed and
// the exit code of the job, and all are hung up on. Further calls do nothing.
func (s *Server) Abort(rank, code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aborted {
		return
	}
	s.aborted = true
	close(s.ended)
	notice := []byte(Message{"abort", []Field{{"rank", strconv.Itoa(rank)}, {"exitcode", strconv.Itoa(code)}}}.String() + "\n")
	deadline := time.Now().Add(lastWords)
	for i := range s.members {
		if conn := s.members[i].conn; conn != nil {
			conn.SetDeadline(deadline)
		}
	}
	for i := range s.members {
		conn := s.members[i].conn
		if conn == nil {
			continue
		}
		if i != rank {
			conn.Write(notice) // a rank that does not listen will see the stream end
		}
		conn.Close()
	}
}
