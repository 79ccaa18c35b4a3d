package run

import (
	"sync"
	"time"
)

// The least time between a claim that found runs and the next one. A quiet worker
// claims at once; a busy one finds more free slots by waiting than it loses by it:
// a moment, and where more runs wait than there are slots until half of these are
// free, but no longer than fullPause.
const (
	claimPause = time.Millisecond
	fullPause  = 5 * time.Millisecond
)

// endings is how many runs may be ending for each slot: their ends are written
// together, the more at once the less each costs.
const endings = 3

// Slots are how many runs a worker executes at once. A run whose end is on its way to
// the database leaves its slot to the next one before the end is committed: the
// worker claims while it writes. How many may be ending is bounded, so that ends do not
// pile up. Safe for concurrent use.
type Slots struct {
	of   int
	free chan struct{}

	mu                sync.Mutex
	executing, ending int
}

// NewSlots makes slots for so many runs, at least one.
func NewSlots(of int) *Slots { return &Slots{of: max(1, of), free: make(chan struct{}, 1)} }

// Free says how many runs may be claimed now.
func (s *Slots) Free() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(0, min(s.of-s.executing, (1+endings)*s.of-s.executing-s.ending))
}

// Pause says how long not to claim yet. since is the time since a claim that found
// runs, full whether it found as many as it asked for. Where all slots are free there
// is nothing to wait for.
func (s *Slots) Pause(since time.Duration, full bool) time.Duration {
	switch free := s.Free(); {
	case free == s.of:
		return 0
	case full && free < (s.of+1)/2:
		return max(0, fullPause-since)
	default:
		return max(0, claimPause-since)
	}
}

// Freed receives after slots have become free; several may be one.
func (s *Slots) Freed() <-chan struct{} { return s.free }

// Take gives one of the free slots to a run; the caller calls [Slot.Gone] at last.
func (s *Slots) Take() *Slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.executing++
	return &Slot{of: s}
}

// Slot is the place of one run.
type Slot struct {
	of           *Slots
	ending, gone bool // under of.mu
}

// Ending says that the run executes no more and its end is being written. Who has no
// slot may say so, too.
func (s *Slot) Ending() {
	if s == nil {
		return
	}
	s.of.mu.Lock()
	if !s.ending && !s.gone {
		s.ending = true
		s.of.executing--
		s.of.ending++
	}
	s.of.mu.Unlock()
	s.of.poke()
}

// Gone says that the run is over, here at least. Saying it again changes nothing.
func (s *Slot) Gone() {
	s.of.mu.Lock()
	switch {
	case s.gone:
	case s.ending:
		s.of.ending--
	default:
		s.of.executing--
	}
	s.gone = true
	s.of.mu.Unlock()
	s.of.poke()
}

func (s *Slots) poke() {
	select {
	case s.free <- struct{}{}:
	default:
	}
}
