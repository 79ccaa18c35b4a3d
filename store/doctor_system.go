package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
)

// sqlOpenWork lists the runs that have not ended, of all organisations.
const sqlOpenWork = `select ` + runColumns + `, o.slug as org_slug from runs r join orgs o on o.id = r.org_id
	where r.status in ('pending', 'running', 'waiting')
		and (r.created_at, r.id) > (@after_time::timestamptz, @after::uuid)
	order by r.created_at, r.id limit @limit`

type openWorkRow struct {
	runRow
	OrgSlug string
}

// OpenWork lists a page of the runs that have not ended, of all organisations, in
// the order of their creation, after the one given (the zero run for the first).
func (db *DB) OpenWork(ctx context.Context, after agents.Run, limit int) ([]agents.OpenWork, error) {
	args := named{"after_time": after.CreatedAt, "after": string(after.ID), "limit": limit}
	if after.ID == "" {
		args["after_time"], args["after"] = time.Unix(0, 0), "00000000-0000-0000-0000-000000000000"
	}
	rows, _ := db.system.Query(ctx, sqlOpenWork, args) // its error comes back from CollectRows
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[openWorkRow])
	if err != nil {
		return nil, fmt.Errorf("listing open runs: %w", err)
	}
	out := make([]agents.OpenWork, len(found))
	for i, r := range found {
		out[i] = agents.OpenWork{Run: r.run(), OrgSlug: r.OrgSlug}
	}
	return out, nil
}

// OpenWorkState reads what a run that has not ended stands on: its assistant's
// version and its thread's state.
func (db *DB) OpenWorkState(ctx context.Context, r agents.Run) (agents.Assistant, agents.State, error) {
	// The organisation's own rights, in the name of whoever asked for the run:
	// doctor reads and shows no content.
	scope := auth.Scope{User: r.User, Org: r.Org, Role: auth.RoleOwner, Command: true}
	a, err := db.AssistantVersion(ctx, scope, r.Assistant, r.AssistantVersion)
	if err != nil {
		return agents.Assistant{}, agents.State{}, err
	}
	s, err := db.State(ctx, scope, r.Thread)
	return a, s, err
}
