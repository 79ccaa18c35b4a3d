package store_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/internal/id"
)

func TestOldTokenChangesNoRowInAnyTable(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, worker := b.start(t, b.mia, thread.ID)
	_, _, err := b.db.CommitStep(t.Context(), b.mia, lease, text(thread.Line, 0, "m0"), nil)
	require.NoError(t, err)

	// The lease expires, is swept and claimed by somebody else.
	_, err = connect(t, b.url, "heddle_system").Exec(t.Context(), "update thread_heads set lease_until = now() - interval '1 second'")
	require.NoError(t, err)
	n, err := b.db.TakeOver(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n.Runs)
	claimed, err := b.db.Claim(t.Context(), agents.WorkerID(id.New()), 1, time.Minute)
	require.NoError(t, err)
	require.Len(t, claimed, 1)
	require.Greater(t, claimed[0].Run.Token, lease.Token)

	before := b.picture(t)
	finish := agents.Finish{Status: agents.RunSuccess, Events: []event.Envelope{envelope(thread.ID, "finished")}}
	step := text(thread.Line, 1, "m1", envelope(thread.ID, "stepped"))
	_, _, err = b.db.CommitStep(t.Context(), b.mia, lease, step, nil)
	require.ErrorIs(t, err, agents.ErrFenced)
	_, _, err = b.db.CommitStep(t.Context(), b.mia, lease, step, &finish)
	require.ErrorIs(t, err, agents.ErrFenced)
	_, err = b.db.FinishRun(t.Context(), b.mia, lease, finish)
	require.ErrorIs(t, err, agents.ErrFenced)
	require.ErrorIs(t, b.db.HandBack(t.Context(), b.mia.Org, lease), agents.ErrFenced)
	held, err := b.db.Renew(t.Context(), worker, []agents.RunID{lease.Run}, time.Minute)
	require.NoError(t, err)
	require.Empty(t, held)
	numbered, err := b.db.Append(t.Context(), []agents.Entry{{Org: b.mia.Org, Thread: thread.ID, Run: lease.Run, Token: lease.Token, Type: event.Custom, Body: []byte(`{}`)}})
	require.NoError(t, err)
	require.Zero(t, numbered[0].Seq)
	require.Empty(t, cmp.Diff(before, b.picture(t)))

	lease.Token = claimed[0].Run.Token
	stepped, finished, err := b.db.CommitStep(t.Context(), b.mia, lease, step, &finish)
	require.NoError(t, err)
	require.Equal(t, stepped.Base+1, finished.Base)
}

// picture is every row of every table that runs change, as text.
func (b *bundle) picture(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	if b.looking == nil {
		b.looking = connect(t, b.url, "heddle_app")
	}
	conn := b.looking
	for _, scope := range []struct{ org string }{{string(b.mia.Org)}, {string(b.gia.Org)}} {
		_, err := conn.Exec(t.Context(), "select set_config('heddle.org', $1, false)", scope.org)
		require.NoError(t, err)
		for _, table := range tenantTables(t, conn) {
			out[scope.org+" "+table] = collect[string](t, conn, "select x::text from "+table+" x order by 1")
		}
	}
	return out
}

func TestStepThatIsNotTheNextIsRefusedWhole(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, _ := b.start(t, b.mia, thread.ID)
	_, _, err := b.db.CommitStep(t.Context(), b.mia, lease, text(thread.Line, 0, "m0"), nil)
	require.NoError(t, err)
	before := b.picture(t)
	finish := agents.Finish{Status: agents.RunSuccess, Events: []event.Envelope{envelope(thread.ID, "finished")}}
	for _, step := range []int{0, 2, 7} {
		for _, end := range []*agents.Finish{nil, &finish} {
			_, _, err := b.db.CommitStep(t.Context(), b.mia, lease, text(thread.Line, step, "mx", envelope(thread.ID, "stepped")), end)
			require.ErrorIs(t, err, agents.ErrFenced)
			require.Empty(t, cmp.Diff(before, b.picture(t)), "step %d, finish %v", step, end != nil)
		}
	}
}

func TestStepOnALineOfAnotherThreadIsRefused(t *testing.T) {
	b := setup(t)
	other := b.thread(t, b.max, agents.VisibilityPrivate)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, _ := b.start(t, b.mia, thread.ID)
	before := b.picture(t)
	_, _, err := b.db.CommitStep(t.Context(), b.mia, lease, text(other.Line, 0, "m0"), nil)
	require.ErrorIs(t, err, agents.ErrFenced)
	require.Empty(t, cmp.Diff(before, b.picture(t)))
}

// TestStepAndFinishAreOneTransaction breaks the finish by an error that
// PostgreSQL refuses: the step before it must be gone too.
func TestStepAndFinishAreOneTransaction(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, _ := b.start(t, b.mia, thread.ID)
	before := b.picture(t)
	broken := agents.Finish{Status: "no such status"}
	_, _, err := b.db.CommitStep(t.Context(), b.mia, lease, text(thread.Line, 0, "m0"), &broken)
	require.Error(t, err)
	require.Empty(t, cmp.Diff(before, b.picture(t)))

	finish := agents.Finish{Status: agents.RunFailed, Error: &agents.RunError{Code: "node_failed", Message: "boom"}, Events: []event.Envelope{envelope(thread.ID, "finished")}}
	stepped, finished, err := b.db.CommitStep(t.Context(), b.mia, lease, text(thread.Line, 0, "m0", envelope(thread.ID, "stepped")), &finish)
	require.NoError(t, err)
	require.Equal(t, stepped.Base+1, finished.Base)
	run, err := b.db.Run(t.Context(), b.mia, thread.ID, lease.Run)
	require.NoError(t, err)
	require.Equal(t, agents.RunFailed, run.Status)
	require.Equal(t, "boom", run.Error.Message)
	view, err := b.db.View(t.Context(), b.mia, thread.ID)
	require.NoError(t, err)
	require.Equal(t, agents.ThreadError, view.Thread.Status)
	require.Len(t, view.State.Messages, 1)
	require.Equal(t, stepped.Base+1, view.Base.Seq)
	require.Len(t, view.Tail, 1)
}

func TestTextsThatPostgresCannotStoreAreInvalidAndChangeNothing(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	before := b.picture(t)
	s := b.submission(thread.ID)
	s.Metadata = json.RawMessage(`{"a":"\u0000"}`)
	_, err := b.db.Submit(t.Context(), b.mia, s)
	requireKind(t, "invalid", err)
	requireKind(t, "invalid", rename(t.Context(), b.db, b.mia, thread.ID, "a\x00b"))
	requireKind(t, "invalid", rename(t.Context(), b.db, b.mia, thread.ID, "a\xffb"))
	require.Empty(t, cmp.Diff(before, b.picture(t)))
}
