package run

import (
	"time"

	"github.com/heddle/heddle/agents"
)

// Claims is the loop in which a worker comes to runs: how many it asks for, and when
// it asks again. It belongs to one goroutine; its slots to all.
type Claims struct {
	*Slots
	// at is when the last claim began, found whether there were runs, full whether
	// there may be more than there were slots for.
	at          time.Time
	found, full bool
}

// NewClaims makes the claims of a worker that executes so many runs at once.
func NewClaims(of int) *Claims { return &Claims{Slots: NewSlots(of)} }

// Wait says how long not to claim yet.
func (c *Claims) Wait() time.Duration {
	if !c.found {
		return 0
	}
	return c.Pause(time.Since(c.at), c.full)
}

// Full reports whether runs may wait for a slot. Else a slot that becomes free is no
// reason to claim: what comes wakes the worker.
func (c *Claims) Full() bool { return c.full }

// Fill claims as many runs as there are slots free. start begins one, and takes its
// slot; those that become free meanwhile are for the next claim.
func (c *Claims) Fill(claim func(free int) ([]agents.Claimed, error), start func(agents.Claimed)) error {
	c.at, c.found, c.full = time.Now(), false, true
	free := c.Free()
	if free == 0 {
		return nil
	}
	claimed, err := claim(free)
	if err != nil {
		return err
	}
	for _, r := range claimed {
		start(r)
	}
	c.found, c.full = len(claimed) > 0, len(claimed) == free
	return nil
}
