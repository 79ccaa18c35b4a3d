package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

const sqlSetOrg = `select set_config('heddle.org', $1, true)`

// sqlProbe lets the statements that follow it in a transaction look up each row by
// its key, however few rows the planner thinks that tables have, and with one plan for
// all arguments: it goes before those that join a few given rows with tables that
// grow. Making a plan anew takes them longer than to be carried out.
const sqlProbe = `select set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
	set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), set_config('enable_memoize', 'off', true),
	set_config('plan_cache_mode', 'force_generic_plan', true)`

// scoped runs fn in one transaction as heddle_app with the scope's
// organisation set. It is for methods that need more than one statement.
func (db *DB) scoped(ctx context.Context, scope auth.Scope, fn func(tx pgx.Tx) error) error {
	if err := checkScope(scope); err != nil {
		return err
	}
	// The organisation is a canonical UUID (checked above), so it may stand in
	// the text of the statement that also begins the transaction: one round
	// trip instead of two.
	begin := "begin; select set_config('heddle.org', '" + string(scope.Org) + "', true)"
	return pgx.BeginTxFunc(ctx, db.app, pgx.TxOptions{BeginQuery: begin}, func(tx pgx.Tx) error { return recording(ctx, tx, fn) })
}

// recorded runs fn in one transaction of the system role, for what is recorded
// before there is a scope or in several organisations.
func (db *DB) recorded(ctx context.Context, fn func(tx pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, db.system, func(tx pgx.Tx) error { return recording(ctx, tx, fn) })
}

// Many runs one statement under the scope and collects its rows by column
// name. Setting and query travel in one batch, which PostgreSQL runs as one
// implicit transaction: a single round trip, and the setting is gone afterwards.
func many[T any](ctx context.Context, db *DB, scope auth.Scope, doing, sql string, args ...any) ([]T, error) {
	if err := checkScope(scope); err != nil {
		return nil, err
	}
	var batch pgx.Batch
	batch.Queue(sqlSetOrg, string(scope.Org))
	batch.Queue(sql, args...)
	results := db.app.SendBatch(ctx, &batch)
	_, err := results.Exec()
	var out []T
	if err == nil {
		rows, _ := results.Query() // its error comes back from CollectRows
		out, err = pgx.CollectRows(rows, pgx.RowToStructByName[T])
	}
	if closeErr := results.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, translate(err))
	}
	return out, nil
}

// one is many for exactly one row; no row is NotFound(what).
func one[T any](ctx context.Context, db *DB, scope auth.Scope, what, doing, sql string, args ...any) (T, error) {
	var zero T
	rows, err := many[T](ctx, db, scope, doing, sql, args...)
	if err != nil {
		return zero, err
	}
	if len(rows) == 0 {
		return zero, fault.NotFound(what)
	}
	return rows[0], nil
}

// exec runs one statement under the scope and returns how many rows it changed.
func (db *DB) exec(ctx context.Context, scope auth.Scope, doing, sql string, args ...any) (int64, error) {
	if err := checkScope(scope); err != nil {
		return 0, err
	}
	var batch pgx.Batch
	batch.Queue(sqlSetOrg, string(scope.Org))
	batch.Queue(sql, args...)
	results := db.app.SendBatch(ctx, &batch)
	_, err := results.Exec()
	var tag pgconn.CommandTag
	if err == nil {
		tag, err = results.Exec()
	}
	if closeErr := results.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", doing, translate(err))
	}
	return tag.RowsAffected(), nil
}

// collect queues a statement whose rows are in into once the batch is closed.
func collect[T any](b *pgx.Batch, into *[]T, sql string, args named) {
	b.Queue(sql, args).Query(func(rows pgx.Rows) error {
		var err error
		*into, err = pgx.CollectRows(rows, pgx.RowToStructByName[T])
		return err
	})
}

func checkScope(scope auth.Scope) error {
	if err := scope.Check(); err != nil {
		return err
	}
	if !id.Valid(string(scope.Org)) {
		return fmt.Errorf("checking the scope: %w", fault.Unauthenticated("Sign in first."))
	}
	return nil
}

// SQLSTATE codes, https://www.postgresql.org/docs/15/errcodes-appendix.html.
const (
	codeUniqueViolation       = "23505"
	codeForeignKeyViolation   = "23503"
	codeCheckViolation        = "23514"
	codeInsufficientPrivilege = "42501"
	codeInvalidText           = "22P02"
	codeUntranslatable        = "22P05"
	codeNotInRepertoire       = "22021"
	codeInvalidParameter      = "22023"
	codeLimitExceeded         = "54000" // a tsvector above 1 MB, of more different words than texts within our bounds have
	codeDuplicateObject       = "42710"
	codeConcurrentUpdate      = "XX000" // "tuple concurrently updated" of a catalogue has no code of its own
)

// routineRowCheck is the place in PostgreSQL that refuses a row by a policy.
const routineRowCheck = "ExecWithCheckOptions"

// translate turns what PostgreSQL says about the input into a fault. A row that
// breaks row-level security was aimed at another organisation: not found.
func translate(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return fault.NotFound("It was").WithCause(err)
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	switch pg.Code {
	case codeInsufficientPrivilege:
		// A missing grant has the same code, and is a bug of ours.
		if pg.Routine != routineRowCheck {
			return err
		}
		return fault.NotFound("Item").WithCause(err)
	case codeInvalidText:
		return fault.NotFound("Item").WithCause(err)
	case codeUntranslatable, codeNotInRepertoire:
		return fault.New(fault.KindInvalid, "Text must be valid UTF-8 without NUL characters.").WithCause(err)
	case codeLimitExceeded:
		return fault.New(fault.KindInvalid, "The text is too long to be searched.").WithCause(err)
	case codeCheckViolation:
		return fault.New(fault.KindInvalid, "A value is outside its range ("+pg.ConstraintName+").").WithCause(err)
	default:
		return err
	}
}

// violates reports whether err is a unique or foreign-key violation of the
// named constraint.
func violates(err error, code, constraint string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == code && pg.ConstraintName == constraint
}
