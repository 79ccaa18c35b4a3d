// Package webhook tells other servers of runs that ended: one signed POST for each
// run that names a webhook, repeated until it is taken or given up.
//
// Invariants:
//   - what is to be told stands in the database from the transaction that ended the
//     run; here is only who sends it, so nothing is lost with a process;
//   - a delivery is attempted by one process at a time, and at least once: its id
//     lets receivers tell what they have seen;
//   - no redirect is followed, and no host reached but through the client given,
//     which refuses the network it stands in;
//   - at most so many attempts at once, each with a deadline.
//
// The composition root imports it and decides what a body says.
package webhook

import (
	"net/url"

	"github.com/heddle/heddle/internal/fault"
)

// Judge says no to addresses that must not be reached.
type Judge interface {
	Check(u *url.URL) error
}

// Check refuses the address of a webhook: an invalid fault that names the field.
// What its host's name leads to is judged when it is reached.
func Check(judge Judge, field, address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return fault.Invalid(field, "must be an address such as https://example.org/hooks")
	}
	if err := judge.Check(u); err != nil {
		return fault.Invalid(field, "can’t be reached from here: "+fault.Public(err)).WithCause(err)
	}
	return nil
}
