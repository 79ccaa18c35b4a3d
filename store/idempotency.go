package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// The codes of the faults of [Idempotency.Begin].
const (
	CodeIdempotencyInFlight = "idempotency_in_flight"
	CodeIdempotencyMismatch = "idempotency_mismatch"
)

// Answer is what is kept of a response. It is an alias, so that the handlers,
// which must not import the store, can declare the same type.
type Answer = struct {
	Status  int
	Headers map[string]string
	// Body is nil when it was too large to keep or a stream: the request was
	// carried out, but its answer can't be repeated.
	Body []byte
}

// Idempotency remembers which requests of a person were carried out, by the
// key their client chose, for 24 hours.
type Idempotency struct{ db *DB }

// Idempotency gives the memory of requests.
func (db *DB) Idempotency() Idempotency { return Idempotency{db} }

// sqlIdempotencyBegin takes a key that is new, older than 24 hours, or in
// flight for more than 5 minutes: whoever had it then is taken for dead. It also
// removes a few old ones, so that the table stays as small as a day's requests.
const sqlIdempotencyBegin = `with old as (
	delete from idempotency_keys where (org_id, user_id, key) in (
		select o.org_id, o.user_id, o.key from idempotency_keys o
		where o.org_id = @org and o.created_at < now() - interval '24 hours' and (o.user_id <> @user or o.key <> @key)
		order by o.created_at limit 20 for update skip locked)
)
insert into idempotency_keys as k (org_id, user_id, key, request_hash, claim)
values (@org, @user, @key, @hash, @claim)
on conflict (org_id, user_id, key) do update set request_hash = excluded.request_hash, claim = excluded.claim,
	status = null, headers = null, body = null, created_at = now()
where k.created_at < now() - interval '24 hours'
	or k.status is null and k.created_at < now() - interval '5 minutes'
returning k.claim::text`

const sqlIdempotencyRead = `select request_hash = @hash as same, status, headers, body from idempotency_keys
	where org_id = @org and user_id = @user and key = @key`

type idempotencyRow struct {
	Same    bool
	Status  *int
	Headers map[string]string
	Body    []byte
}

// Begin claims a key for a request of which hash is a digest. A claim that is
// not empty means that the caller must carry the request out and then Finish or
// Abandon the claim; otherwise answer is the first request's. Faults: conflict
// while the first one is at work, invalid when the key was used for another
// request.
func (s Idempotency) Begin(ctx context.Context, scope auth.Scope, key string, hash []byte) (claim string, answer *Answer, err error) {
	args := idempotencyArgs(scope, key, id.New())
	args["hash"] = hash
	err = s.db.scoped(ctx, scope, func(tx pgx.Tx) error {
		// The row may vanish between the two statements when it is abandoned;
		// then the key is free.
		for {
			err := tx.QueryRow(ctx, sqlIdempotencyBegin, args).Scan(&claim)
			if !errors.Is(err, pgx.ErrNoRows) {
				return err
			}
			row, err := pgxOne[idempotencyRow](ctx, tx, sqlIdempotencyRead, args)
			if errors.Is(err, pgx.ErrNoRows) {
				continue
			}
			if err != nil {
				return err
			}
			answer, err = row.answer()
			return err
		}
	})
	if err != nil {
		return "", nil, fmt.Errorf("beginning a request: %w", translate(err))
	}
	return claim, answer, nil
}

func (r idempotencyRow) answer() (*Answer, error) {
	switch {
	case !r.Same:
		return nil, fault.Invalid("Idempotency-Key", "was used for a different request; choose a new one").
			WithCode(CodeIdempotencyMismatch)
	case r.Status == nil:
		return nil, fault.Conflict("The first request with this Idempotency-Key is still at work. Try again in a moment.").
			WithCode(CodeIdempotencyInFlight)
	}
	return &Answer{Status: *r.Status, Headers: r.Headers, Body: r.Body}, nil
}

const sqlIdempotencyFinish = `update idempotency_keys set status = @status, headers = @headers, body = @body
	where org_id = @org and user_id = @user and key = @key and claim = @claim and status is null`

// Finish keeps the answer of a claim. Conflict when the claim was taken for
// abandoned and the key has passed to another request.
func (s Idempotency) Finish(ctx context.Context, scope auth.Scope, key, claim string, answer Answer) error {
	args := idempotencyArgs(scope, key, claim)
	args["status"], args["headers"], args["body"] = answer.Status, orEmptyMap(answer.Headers), answer.Body
	n, err := s.db.exec(ctx, scope, "keeping an answer", sqlIdempotencyFinish, args)
	if err == nil && n == 0 {
		return fault.Conflict("This request no longer holds its Idempotency-Key.")
	}
	return err
}

const sqlIdempotencyAbandon = `delete from idempotency_keys
	where org_id = @org and user_id = @user and key = @key and claim = @claim and status is null`

// Abandon frees the key of a claim, so that the request may be sent again. A
// claim that no longer holds its key is left alone.
func (s Idempotency) Abandon(ctx context.Context, scope auth.Scope, key, claim string) error {
	_, err := s.db.exec(ctx, scope, "freeing an idempotency key", sqlIdempotencyAbandon, idempotencyArgs(scope, key, claim))
	return err
}

func idempotencyArgs(scope auth.Scope, key, claim string) named {
	return named{"org": string(scope.Org), "user": string(scope.User), "key": key, "claim": claim}
}
