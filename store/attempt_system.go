package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
)

// Attempts keeps sign-ins that were begun. It is a type of its own because
// its methods are named by the sign-in flow.
type Attempts struct{ db *DB }

// Attempts gives the store of begun sign-ins.
func (db *DB) Attempts() Attempts { return Attempts{db} }

// sqlAttemptPut also removes a few attempts that nobody finished, so that the
// table stays as small as the sign-ins of ten minutes.
const sqlAttemptPut = `with old as (
	delete from login_attempts where state_hash in (
		select state_hash from login_attempts where expires_at < now() - interval '1 hour'
		order by expires_at limit 20 for update skip locked)
)
insert into login_attempts (state_hash, cookie_hash, provider, verifier, nonce, return_to, invitation, expires_at)
values (@state, @cookie, @provider, @verifier, @nonce, @return_to, @invitation, @expires)`

// Put stores an attempt.
func (s Attempts) Put(ctx context.Context, a auth.Attempt) error {
	var invitation []byte
	if a.Invitation != nil {
		invitation = a.Invitation[:]
	}
	_, err := s.db.system.Exec(ctx, sqlAttemptPut, named{
		"state": a.State[:], "cookie": a.Cookie[:], "provider": a.Provider, "verifier": a.Verifier,
		"nonce": a.Nonce, "return_to": a.ReturnTo, "invitation": invitation, "expires": a.ExpiresAt})
	if err != nil {
		return fmt.Errorf("putting a sign-in attempt: %w", err)
	}
	return nil
}

type attemptRow struct {
	StateHash  []byte
	CookieHash []byte
	Provider   string
	Verifier   string
	Nonce      string
	ReturnTo   string
	Invitation []byte
	ExpiresAt  time.Time
}

const sqlAttemptTake = `delete from login_attempts where state_hash = @state
returning state_hash, cookie_hash, provider, verifier, nonce, return_to, invitation, expires_at`

// Take removes an attempt and gives it to the one caller that removed it;
// NotFound for all others.
func (s Attempts) Take(ctx context.Context, state auth.Digest) (auth.Attempt, error) {
	rows, _ := s.db.system.Query(ctx, sqlAttemptTake, named{"state": state[:]}) // its error comes back from CollectRows
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[attemptRow])
	if err != nil {
		return auth.Attempt{}, fmt.Errorf("taking a sign-in attempt: %w", err)
	}
	if len(found) == 0 {
		return auth.Attempt{}, fault.NotFound("Sign-in attempt")
	}
	r := found[0]
	a := auth.Attempt{Provider: r.Provider, Verifier: r.Verifier, Nonce: r.Nonce, ReturnTo: r.ReturnTo,
		ExpiresAt: r.ExpiresAt.UTC()}
	copy(a.State[:], r.StateHash)
	copy(a.Cookie[:], r.CookieHash)
	if r.Invitation != nil {
		a.Invitation = new(auth.Digest)
		copy(a.Invitation[:], r.Invitation)
	}
	return a, nil
}
