package auth

import "time"

// Attempt is a sign-in that was begun. State and cookie are kept as digests;
// nonce and verifier are needed again in clear, and are worth nothing without
// the code that only the callback brings.
type Attempt struct {
	State    Digest
	Cookie   Digest
	Provider string
	Verifier string
	Nonce    string
	ReturnTo string
	// Invitation is the digest of an invitation link's secret, nil without one.
	Invitation *Digest
	ExpiresAt  time.Time
}
