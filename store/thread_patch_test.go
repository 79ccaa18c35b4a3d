package store_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

func TestAPatchAddsToWhatAClientKeepsWithAThread(t *testing.T) {
	b := setup(t)
	thread := b.labelled(t, b.mia, "", `{"a":1,"deep":{"x":1}}`, 0)
	got, err := b.db.PatchThread(t.Context(), b.mia, thread.ID, agents.ThreadPatch{Metadata: json.RawMessage(`{"b":2,"deep":{"y":2}}`)})
	require.NoError(t, err)
	require.JSONEq(t, `{"a":1,"b":2,"deep":{"y":2}}`, string(got.Metadata), "key by key")
	require.True(t, got.UpdatedAt.After(thread.UpdatedAt))
	require.Nil(t, got.TTL)
	got, err = b.db.PatchThread(t.Context(), b.mia, thread.ID, agents.ThreadPatch{TTL: &agents.TTL{Strategy: agents.KeepLatest, Minutes: 1.5}})
	require.NoError(t, err)
	require.Equal(t, &agents.TTL{Strategy: agents.KeepLatest, Minutes: 1.5}, got.TTL)
	require.JSONEq(t, `{"a":1,"b":2,"deep":{"y":2}}`, string(got.Metadata))
	got, err = b.db.PatchThread(t.Context(), b.mia, thread.ID, agents.ThreadPatch{Metadata: json.RawMessage(`{"a":null}`)})
	require.NoError(t, err)
	require.Equal(t, 1.5, got.TTL.Minutes, "and stays")
	read, err := b.db.Thread(t.Context(), b.mia, thread.ID)
	require.NoError(t, err)
	require.Equal(t, got, read)

	_, err = b.db.PatchThread(t.Context(), b.max, thread.ID, agents.ThreadPatch{Metadata: json.RawMessage(`{}`)})
	requireKind(t, fault.KindNotFound, err)
	_, err = b.db.PatchThread(t.Context(), b.ada, thread.ID, agents.ThreadPatch{Metadata: json.RawMessage(`{}`)})
	requireKind(t, fault.KindNotFound, err)
	_, err = b.db.PatchThread(t.Context(), b.mia, thread.ID, agents.ThreadPatch{TTL: &agents.TTL{Strategy: "burn", Minutes: 1}})
	requireKind(t, fault.KindInvalid, err)
	long, err := json.Marshal(map[string]string{"long": strings.Repeat("x", 300<<10)})
	require.NoError(t, err)
	_, err = b.db.PatchThread(t.Context(), b.mia, thread.ID, agents.ThreadPatch{Metadata: long})
	requireKind(t, fault.KindInvalid, err)
	again, err := b.db.Thread(t.Context(), b.mia, thread.ID)
	require.NoError(t, err)
	require.Equal(t, read, again, "nothing of what was refused is kept")
}

func TestRetiringPassesOverWhatIsInUse(t *testing.T) {
	b := setup(t)
	idle, busy, shared := b.finished(t, b.mia, 130), b.thread(t, b.mia, agents.VisibilityPrivate), b.labelled(t, b.mia, agents.VisibilityOrganisation, `{}`, 2)
	b.submit(t, b.mia, busy.ID)
	asked := b.ask(t, b.mia)
	retire := func(scope auth.Scope, thread agents.ThreadID, how agents.RetentionStrategy) bool {
		t.Helper()
		done, err := b.db.RetireThread(t.Context(), scope, thread, how)
		require.NoError(t, err)
		return done
	}
	for _, how := range []agents.RetentionStrategy{agents.KeepLatest, agents.DeleteThread} {
		require.False(t, retire(b.mia, busy.ID, how), "a run is open")
		require.False(t, retire(b.mia, asked.Thread, how), "somebody is asked")
		require.False(t, retire(b.mia, agents.ThreadID(id.New()), how))
		require.False(t, retire(b.max, idle.ID, how), "mia's")
		require.False(t, retire(b.ada, idle.ID, how), "who may read any thread may not remove it")
	}
	require.False(t, retire(b.max, shared.ID, agents.DeleteThread), "only its owner removes it")
	require.True(t, retire(b.max, shared.ID, agents.KeepLatest))
	before, err := b.db.State(t.Context(), b.mia, idle.ID)
	require.NoError(t, err)
	require.True(t, retire(b.mia, idle.ID, agents.KeepLatest))
	require.Less(t, len(b.states(t, idle.ID)), 51)
	after, err := b.db.State(t.Context(), b.mia, idle.ID)
	require.NoError(t, err)
	require.Equal(t, seenOf(t, before), seenOf(t, after))
	require.True(t, retire(b.mia, idle.ID, agents.DeleteThread))
	_, err = b.db.Thread(t.Context(), b.mia, idle.ID)
	requireKind(t, fault.KindNotFound, err)
	_, err = b.db.RetireThread(t.Context(), b.mia, shared.ID, "burn")
	requireKind(t, fault.KindInvalid, err)
}

func TestAThreadIsNotCopiedWhileARunIsUnderWay(t *testing.T) {
	b := setup(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	lease, _ := b.start(t, b.mia, thread.ID)
	requireKind(t, fault.KindConflict, b.db.CopyThread(t.Context(), b.mia, thread.ID, agents.ThreadID(id.New())))
	_, _, err := b.db.CommitStep(t.Context(), b.mia, lease, text(thread.Line, 0, "m0", envelope(thread.ID, "stepped")),
		&agents.Finish{Status: agents.RunFailed, Error: &agents.RunError{Code: "x", Message: "x"}, Events: []event.Envelope{envelope(thread.ID, "ended")}})
	require.NoError(t, err)
	copied := agents.ThreadID(id.New())
	require.NoError(t, b.db.CopyThread(t.Context(), b.mia, thread.ID, copied))
	of, err := b.db.Thread(t.Context(), b.mia, thread.ID)
	require.NoError(t, err)
	got, err := b.db.Thread(t.Context(), b.mia, copied)
	require.NoError(t, err)
	require.Equal(t, of.Status, got.Status)
	require.Equal(t, agents.ThreadError, got.Status)
}

// old makes a thread as if nobody had written to it for a time.
func (b *bundle) old(t testing.TB, thread agents.ThreadID, age time.Duration) {
	t.Helper()
	conn := connect(t, b.url, "")
	for _, sql := range []string{"update threads set updated_at = updated_at - $2::interval, created_at = created_at - $2::interval where id = $1",
		"update runs set updated_at = updated_at - $2::interval where thread_id = $1", "update events set created_at = created_at - $2::interval where thread_id = $1",
		"update checkpoints c set created_at = c.created_at - $2::interval from lines l where l.id = c.line_id and l.thread_id = $1"} {
		_, err := conn.Exec(t.Context(), sql, string(thread), age)
		require.NoError(t, err)
	}
}

func TestAThreadGoesWhenItHasLivedItsOwnLifetime(t *testing.T) {
	b := setup(t)
	lasting, dying, fresh, shrinking := b.finished(t, b.mia, 3), b.finished(t, b.mia, 3), b.finished(t, b.mia, 3), b.finished(t, b.mia, 130)
	waiting := b.ask(t, b.mia)
	for thread, ttl := range map[agents.ThreadID]agents.TTL{
		dying.ID: {Strategy: agents.DeleteThread, Minutes: 30}, fresh.ID: {Strategy: agents.DeleteThread, Minutes: 90},
		shrinking.ID: {Strategy: agents.KeepLatest, Minutes: 30}, waiting.Thread: {Strategy: agents.DeleteThread, Minutes: 30},
	} {
		_, err := b.db.PatchThread(t.Context(), b.mia, thread, agents.ThreadPatch{TTL: &ttl})
		require.NoError(t, err)
	}
	for _, thread := range []agents.ThreadID{lasting.ID, dying.ID, fresh.ID, shrinking.ID, waiting.Thread} {
		b.old(t, thread, time.Hour)
	}
	cuts := agents.Retention{Keep: 1}.At(time.Now())
	key := func(thread agents.ThreadID) agents.ThreadKey { return agents.ThreadKey{Org: b.mia.Org, Thread: thread} }
	require.Equal(t, map[agents.ThreadKey]bool{key(dying.ID): true, key(fresh.ID): false, key(shrinking.ID): true, key(waiting.Thread): false},
		b.due(t, cuts), "without other lifetimes only threads that have one are looked at")
	for _, thread := range []agents.ThreadID{lasting.ID, fresh.ID, waiting.Thread} {
		require.Zero(t, b.sweepUntil(t, cuts, b.mia, thread))
	}
	require.Equal(t, 1, b.sweepUntil(t, cuts, b.mia, dying.ID).Threads)
	page, err := b.db.AuditLog(t.Context(), b.ada, auth.AuditQuery{})
	require.NoError(t, err)
	require.Equal(t, "thread.deleted", page.Rows[0].Action)
	require.Equal(t, "ttl", page.Rows[0].Rule)

	before, err := b.db.State(t.Context(), b.mia, shrinking.ID)
	require.NoError(t, err)
	require.GreaterOrEqual(t, b.sweepUntil(t, cuts, b.mia, shrinking.ID).Checkpoints, 80)
	after, err := b.db.State(t.Context(), b.mia, shrinking.ID)
	require.NoError(t, err)
	require.Equal(t, seenOf(t, before), seenOf(t, after))
	require.False(t, b.due(t, cuts)[key(shrinking.ID)], "it is not looked at again")
	require.NoError(t, rename(t.Context(), b.db, b.mia, shrinking.ID, "Used again"))
	cuts = agents.Retention{Keep: 1}.At(time.Now().Add(24 * time.Hour))
	require.True(t, b.due(t, cuts)[key(shrinking.ID)], "until somebody writes to it")
	require.True(t, b.due(t, cuts)[key(fresh.ID)])
}

func TestAnUpdateAtAnOldStepBeginsALineOfItsOwn(t *testing.T) {
	b := setup(t)
	thread, lease := b.program(t, b.mia)
	b.history(t, lease, thread.Line, 0, 120, nil, empty)
	before := b.states(t, thread.ID)
	for _, at := range []int{0, 49, 50, 98, 99, 119} {
		line := agents.LineID(id.New())
		from, err := b.db.StateAt(t.Context(), b.mia, thread.ID, agents.CheckpointID(thread.Line, at))
		require.NoError(t, err)
		step := text(line, at+1, agents.MessageID("fork of "+string(line)), envelope(thread.ID, "changed"))
		step.Source = agents.SourceUpdate
		done, err := b.db.UpdateState(t.Context(), b.mia, thread.ID, agents.StateUpdate{Line: thread.Line, At: at, Forks: true, Step: step})
		require.NoError(t, err)
		require.Equal(t, agents.CheckpointID(line, at+1), done.Checkpoint)
		state, err := b.db.State(t.Context(), b.mia, thread.ID)
		require.NoError(t, err)
		require.Equal(t, line, state.Line, "the new line is the active one")
		require.Equal(t, append(from.Refs(), agents.Ref{ID: step.Messages[0].ID}), state.Refs())
		require.Equal(t, from.Values, state.Values)
		require.Equal(t, from.Head.ID, state.Parent.ID)
	}
	after := b.states(t, thread.ID)
	require.Len(t, after, len(before)+6, "the line that was stays")
	was := map[string]string{}
	for _, s := range after {
		was[s.Head.ID] = seenOf(t, s)
	}
	for _, s := range before {
		require.Equal(t, seenOf(t, s), was[s.Head.ID])
	}
	// Whatever was removed meanwhile, or is somebody else's, is not there.
	for scope, want := range map[*auth.Scope]fault.Kind{&b.mia: fault.KindNotFound, &b.max: fault.KindNotFound} {
		_, err := b.db.UpdateState(t.Context(), *scope, thread.ID, agents.StateUpdate{Line: thread.Line, At: 500, Forks: true,
			Step: text(agents.LineID(id.New()), 501, "x", envelope(thread.ID, "changed"))})
		requireKind(t, want, err)
	}
	b.submit(t, b.mia, thread.ID)
	_, err := b.db.UpdateState(t.Context(), b.mia, thread.ID, agents.StateUpdate{Line: thread.Line, At: 5, Forks: true,
		Step: text(agents.LineID(id.New()), 6, "x", envelope(thread.ID, "changed"))})
	requireKind(t, fault.KindConflict, err)
}
