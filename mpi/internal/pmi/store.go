package pmi

import "sync"

// maxStored bounds the bytes that a job can keep in its launcher.
const maxStored = 64 << 20

// store is the key-value space of a job. Its methods may be called from
// several goroutines.
type store struct {
	mu     sync.Mutex
	values map[string]string // guarded by mu
	bytes  int               // of all keys and values, guarded by mu
}

// put sets a value, or returns false if the space is full.
func (s *store) put(key, value string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	grow := len(key) + len(value)
	if old, ok := s.values[key]; ok {
		grow = len(value) - len(old)
	}
	if s.bytes+grow > maxStored {
		return false
	}
	if s.values == nil {
		s.values = make(map[string]string)
	}
	s.values[key] = value
	s.bytes += grow
	return true
}

// get returns a value and whether it is there.
func (s *store) get(key string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok := s.values[key]
	return value, ok
}
