package store

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/internal/testpg"
	"github.com/heddle/heddle/migrations"
)

// What every run needs must not get slow because tables grew faster than PostgreSQL
// looked at them: these statements are explained on tables of which it knows nothing,
// and may read a few pages for each run, however many there are.

// young is a database with some thousand runs that wait, each on a thread of its own,
// which nobody has analysed.
type young struct {
	*DB
	scope     auth.Scope
	assistant agents.Assistant
}

const sqlYoung = `with made as (
	insert into threads (org_id, id, owner_id, line_id, status)
	select $1::uuid, gen_random_uuid(), $2::uuid, gen_random_uuid(), 'busy' from generate_series(1, 4000) returning org_id, id, line_id
), heads as (
	insert into thread_heads (org_id, thread_id, epoch) select org_id, id, gen_random_uuid() from made
), own as (
	insert into lines (org_id, id, thread_id) select org_id, line_id, id from made
)
insert into runs (org_id, id, thread_id, assistant_id, assistant_version, user_id, input)
select org_id, gen_random_uuid(), id, $3::uuid, 1, $2::uuid, '{}' from made`

func newYoung(t *testing.T) *young {
	t.Helper()
	ctx := t.Context()
	url := testpg.Database(t, testpg.Template{Name: "plans", Prepare: func(ctx context.Context, url string) error {
		_, _, err := Migrate(ctx, url, migrations.FS, nil)
		return err
	}})
	db, err := Open(ctx, Options{URL: url, Bounds: Bounds{QueuedPerOrg: 10_000, QueuedPerPerson: 10_000}})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	y := &young{DB: db, assistant: agents.Assistant{ID: agents.AssistantID(id.New()), Graph: "echo", Name: "Echo"}}
	y.scope, err = db.EnsurePerson(ctx, auth.Person{Identity: auth.Identity{Issuer: "https://idp.test", Subject: "mia"}, Provider: "test",
		Email: "mia@acme.test", Name: "mia", OrgSlug: "acme", OrgName: "acme", Role: auth.RoleMember})
	require.NoError(t, err)
	require.NoError(t, db.EnsureAssistant(ctx, y.scope, y.assistant))
	owner, err := pgx.Connect(ctx, url)
	require.NoError(t, err)
	defer owner.Close(ctx)
	_, err = owner.Exec(ctx, sqlYoung, string(y.scope.Org), string(y.scope.User), string(y.assistant.ID))
	require.NoError(t, err)
	return y
}

// pages executes a statement as the store does and says how many pages it looked at.
func (y *young) pages(t *testing.T, pool *pgxpool.Pool, sql string, args named) int {
	t.Helper()
	var plan []struct {
		Plan struct {
			Hit  int `json:"Shared Hit Blocks"`
			Read int `json:"Shared Read Blocks"`
		}
	}
	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), sqlSetOrg, string(y.scope.Org)); err != nil {
			return err
		}
		if _, err := tx.Exec(t.Context(), sqlProbe); err != nil {
			return err
		}
		var text []byte
		if err := tx.QueryRow(t.Context(), "explain (analyze, buffers, format json) "+sql, args).Scan(&text); err != nil {
			return err
		}
		return json.Unmarshal(text, &plan)
	}))
	require.Len(t, plan, 1)
	return plan[0].Plan.Hit + plan[0].Plan.Read
}

func TestAClaimReadsLittleOfALongLine(t *testing.T) {
	t.Parallel()
	y := newYoung(t)
	args := named{"worker": id.New(), "limit": 8, "lease": time.Minute, "per_org": y.bounds.ExecutingPerOrg, "per_person": y.bounds.ExecutingPerPerson}
	for range 3 {
		require.Less(t, y.pages(t, y.system, sqlClaim, args), 8*150)
	}
	// Whoever has all they may have is passed by without a look at their threads.
	args["per_person"] = 24
	require.Less(t, y.pages(t, y.system, sqlClaim, args), 800)
}

func TestStepsAndPlacingsReadLittleOfLargeTables(t *testing.T) {
	t.Parallel()
	y := newYoung(t)
	claimed, err := y.Claim(t.Context(), agents.WorkerID(id.New()), 8, time.Minute)
	require.NoError(t, err)
	require.Len(t, claimed, 8)
	var entries []*entry
	for _, c := range claimed {
		lease := agents.Lease{Thread: c.Run.Thread, Run: c.Run.ID, Token: c.Run.Token}
		var steps []named
		for n := range 2 {
			args, err := stepArgs(y.scope, lease, agents.Step{Line: c.Head.Line, Step: n, Source: agents.SourceLoop, Messages: []agents.Message{{ID: agents.MessageID(id.New()), Role: agents.RoleUser, Text: "x"}}})
			require.NoError(t, err)
			steps = append(steps, args)
		}
		end, err := y.finishArgs(y.scope, lease, agents.Finish{Status: agents.RunSuccess})
		require.NoError(t, err)
		entries = append(entries, &entry{steps: steps, end: end})
	}
	args := named{"org": string(y.scope.Org)}
	entryArrays(args, entries)
	stepArrays(args, entries)
	messageArrays(args, entries)
	require.Less(t, y.pages(t, y.app, sqlTogether, args), 8*250)

	var placings []*placing
	for _, c := range claimed {
		queued := func(int, bool) (event.Envelope, error) { return event.Envelope{}, nil }
		placings = append(placings, &placing{scope: y.scope, input: "{}", s: agents.Submission{Run: agents.RunID(id.New()), Thread: c.Run.Thread,
			Assistant: agents.Assistant{ID: y.assistant.ID, Graph: "echo", Version: 1}, Strategy: agents.StrategyEnqueue, Queued: queued}})
	}
	// What waits is counted, once for all of them.
	require.Less(t, y.pages(t, y.app, sqlPlaceTogether, y.placeArgs(y.scope.Org, placings)), 8*150+4000)
}
