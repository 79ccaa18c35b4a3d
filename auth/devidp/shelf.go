package devidp

import (
	"sync"
	"time"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/clock"
)

// maxShelf bounds a shelf; the oldest thing makes room for a new one.
const maxShelf = 1024

// shelf keeps things under random names for a while.
type shelf[T any] struct {
	clock clock.Clock
	life  time.Duration

	mu     sync.Mutex
	things map[auth.Digest]shelved[T]
	order  []auth.Digest
}

type shelved[T any] struct {
	thing T
	until time.Time
}

func newShelf[T any](clk clock.Clock, life time.Duration) *shelf[T] {
	return &shelf[T]{clock: clk, life: life, things: make(map[auth.Digest]shelved[T])}
}

// put keeps thing and gives its name.
func (s *shelf[T]) put(thing T) string {
	name := auth.NewToken()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.order) == maxShelf {
		delete(s.things, s.order[0])
		s.order = s.order[1:]
	}
	s.order = append(s.order, name.Digest())
	s.things[name.Digest()] = shelved[T]{thing, s.clock.Now().Add(s.life)}
	return name.Reveal()
}

// take removes and gives what is kept under name.
func (s *shelf[T]) take(name string) (T, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := auth.Token(name).Digest()
	e, ok := s.things[d]
	delete(s.things, d)
	return e.thing, ok && s.clock.Now().Before(e.until)
}

// peek gives what is kept under name and leaves it there.
func (s *shelf[T]) peek(name string) (T, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.things[auth.Token(name).Digest()]
	return e.thing, ok && s.clock.Now().Before(e.until)
}
