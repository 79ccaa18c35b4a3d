package store_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// guide is an assistant that ada makes.
func (b *bundle) guide(t *testing.T) agents.Assistant {
	t.Helper()
	made, err := b.db.CreateAssistant(t.Context(), b.ada, agents.Assistant{Graph: "chat", Name: "Desk",
		Config: agents.AssistantConfig{Prompt: "One."}, Metadata: json.RawMessage(`{"team":"desk"}`)}, "")
	require.NoError(t, err)
	return made
}

func (b *bundle) save(t *testing.T, a agents.Assistant, prompt string) agents.Assistant {
	t.Helper()
	base := a.Version
	a.Config.Prompt = prompt
	saved, err := b.db.SaveAssistant(t.Context(), b.ada, a, base, "now "+prompt)
	require.NoError(t, err)
	return saved
}

func TestEverySaveIsAVersionOfItsOwn(t *testing.T) {
	b := setup(t)
	ctx := t.Context()
	first := b.guide(t)
	second := b.save(t, first, "Two.")
	require.Equal(t, 2, second.Version)
	third := b.save(t, second, "Three.")
	again, err := b.db.ActivateAssistant(ctx, b.ada, first.ID, 1, 3)
	require.NoError(t, err)
	require.Equal(t, 4, again.Version)
	require.Equal(t, "One.", again.Config.Prompt)
	require.JSONEq(t, `{"team":"desk"}`, string(again.Metadata))

	active, err := b.db.Assistant(ctx, b.mia, string(first.ID))
	require.NoError(t, err)
	require.Equal(t, again, active)
	for version, prompt := range map[int]string{1: "One.", 2: "Two.", 3: "Three."} {
		kept, err := b.db.AssistantVersion(ctx, b.mia, first.ID, version)
		require.NoError(t, err)
		require.Equal(t, prompt, kept.Config.Prompt)
	}
	saves, err := b.db.AssistantSaves(ctx, b.ada, third.ID)
	require.NoError(t, err)
	require.Len(t, saves, 4)
	var said []string
	for _, s := range saves {
		require.Equal(t, b.ada.User, s.By)
		require.Equal(t, s.Version == 4, s.Active)
		said = append(said, s.Comment)
	}
	require.Equal(t, []string{"Version 1 again", "now Three.", "now Two.", "First version"}, said)

	conn := b.inOrg(t, b.ada)
	_, err = conn.Exec(ctx, `update assistant_versions set name = 'forged'`)
	require.ErrorContains(t, err, "permission denied")
	require.Equal(t, []string{"assistant.created", "assistant.saved", "assistant.saved", "assistant.activated"},
		collect[string](t, conn, `select action from audit_log where object_id = $1 order by seq`, string(first.ID)))
	require.JSONEq(t, `{"version":1,"prompt":"One."}`, scan[string](t, conn, `select before::text from audit_log where action = 'assistant.saved' order by seq limit 1`))
	require.JSONEq(t, `{"version":2,"prompt":"Two."}`, scan[string](t, conn, `select after::text from audit_log where action = 'assistant.saved' order by seq limit 1`))
}

func TestOfTwoWhoSaveAtOnceExactlyOneDoes(t *testing.T) {
	b := setup(t)
	first := b.guide(t)
	const savers = 8
	errs := make([]error, savers)
	var all sync.WaitGroup
	for i := range savers {
		all.Go(func() {
			a := first
			a.Config.Prompt = fmt.Sprint("Of saver ", i)
			_, errs[i] = b.db.SaveAssistant(t.Context(), b.ada, a, 1, "mine")
		})
	}
	all.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		require.Equal(t, agents.CodeAssistantChanged, fault.Code(err), "%v", err)
	}
	require.Equal(t, 1, won)
	saves, err := b.db.AssistantSaves(t.Context(), b.ada, first.ID)
	require.NoError(t, err)
	require.Len(t, saves, 2)
}

func TestWhatBreaksARuleIsNotSaved(t *testing.T) {
	b := setup(t)
	ctx := t.Context()
	a := b.guide(t)
	_, err := b.db.SaveAssistant(ctx, b.ada, a, 1, " ")
	require.Contains(t, fault.FieldsOf(err), "comment")
	hot := a
	temperature := 2.01
	hot.Config.Temperature = &temperature
	_, err = b.db.SaveAssistant(ctx, b.ada, hot, 1, "hotter")
	require.Contains(t, fault.FieldsOf(err), "temperature")
	_, err = b.db.CreateAssistant(ctx, b.ada, agents.Assistant{Graph: "chat"}, "")
	require.Contains(t, fault.FieldsOf(err), "name")
	_, err = b.db.CreateAssistant(ctx, b.ada, a, "")
	requireKind(t, fault.KindConflict, err)
	_, err = b.db.ActivateAssistant(ctx, b.ada, a.ID, 1, 1)
	requireKind(t, fault.KindConflict, err)
	_, err = b.db.ActivateAssistant(ctx, b.ada, a.ID, 9, 1)
	requireKind(t, fault.KindNotFound, err)
	for _, id := range []agents.AssistantID{"", "no-id", agents.AssistantID(id.New())} {
		_, err = b.db.AssistantSaves(ctx, b.ada, id)
		requireKind(t, fault.KindNotFound, err)
		requireKind(t, fault.KindNotFound, b.db.ArchiveAssistant(ctx, b.ada, id, true))
	}
	saves, err := b.db.AssistantSaves(ctx, b.ada, a.ID)
	require.NoError(t, err)
	require.Len(t, saves, 1)
}

func TestOnlyThoseWhoManageAssistantsChangeThem(t *testing.T) {
	b := setup(t)
	ctx := t.Context()
	a := b.guide(t)
	key := b.ada
	key.Key, key.KeyScopes = auth.KeyID(id.New()), []auth.KeyScope{auth.ScopeRun}
	for _, scope := range []auth.Scope{b.mia, key} {
		_, err := b.db.AssistantLines(ctx, scope, agents.AssistantQuery{})
		requireKind(t, fault.KindForbidden, err)
		_, err = b.db.AssistantSaves(ctx, scope, a.ID)
		requireKind(t, fault.KindForbidden, err)
		_, err = b.db.CreateAssistant(ctx, scope, agents.Assistant{Graph: "chat", Name: "x"}, "")
		requireKind(t, fault.KindForbidden, err)
		_, err = b.db.SaveAssistant(ctx, scope, a, 1, "x")
		requireKind(t, fault.KindForbidden, err)
		_, err = b.db.ActivateAssistant(ctx, scope, a.ID, 1, 1)
		requireKind(t, fault.KindForbidden, err)
		requireKind(t, fault.KindForbidden, b.db.ArchiveAssistant(ctx, scope, a.ID, true))
	}
}

// on submits a run of an assistant in its active version.
func (b *bundle) on(t *testing.T, scope auth.Scope, thread agents.ThreadID, assistant agents.AssistantID) (agents.Run, error) {
	t.Helper()
	s := b.submission(thread)
	var err error
	s.Assistant, err = b.db.Assistant(t.Context(), scope, string(assistant))
	require.NoError(t, err)
	out, err := b.db.Submit(t.Context(), scope, s)
	return out.Run, err
}

func TestAThreadKeepsItsVersionUntilItIsMoved(t *testing.T) {
	b := setup(t)
	ctx := t.Context()
	a := b.guide(t)
	thread := b.thread(t, b.mia, agents.VisibilityPrivate)
	run, err := b.on(t, b.mia, thread.ID, a.ID)
	require.NoError(t, err)
	require.Equal(t, 1, run.AssistantVersion)
	a = b.save(t, a, "Two.")

	run, err = b.on(t, b.mia, thread.ID, a.ID)
	require.NoError(t, err)
	require.Equal(t, 1, run.AssistantVersion, "the thread keeps its version")
	fresh := b.thread(t, b.mia, agents.VisibilityPrivate)
	run, err = b.on(t, b.mia, fresh.ID, a.ID)
	require.NoError(t, err)
	require.Equal(t, 2, run.AssistantVersion, "a new thread takes the active one")

	s := b.submission(thread.ID)
	s.Assistant = a
	var kept agents.Assistant
	s.Pinned = func(p agents.Assistant) { kept = p }
	_, err = b.db.Submit(ctx, b.mia, s)
	require.NoError(t, err)
	require.Equal(t, "One.", kept.Config.Prompt)

	done, err := b.db.MoveThread(ctx, b.mia, thread.ID, 2, moved)
	require.NoError(t, err)
	require.NotZero(t, done.Position.Seq)
	rows, head, err := b.db.Log(ctx, b.mia, thread.ID, done.Position.Seq-1, 0)
	require.NoError(t, err)
	require.Len(t, rows, 1)
	require.Equal(t, done.Position, head)
	run, err = b.on(t, b.mia, thread.ID, a.ID)
	require.NoError(t, err)
	require.Equal(t, 2, run.AssistantVersion)
	again, err := b.db.MoveThread(ctx, b.mia, thread.ID, 2, moved)
	require.NoError(t, err)
	require.Zero(t, again.Position, "the version it has already changes nothing")
	_, err = b.db.MoveThread(ctx, b.mia, thread.ID, 3, moved)
	require.Contains(t, fault.FieldsOf(err), "version")
	_, err = b.db.MoveThread(ctx, b.ada, thread.ID, 1, moved)
	requireKind(t, fault.KindNotFound, err)
	_, err = b.db.MoveThread(ctx, b.mia, b.thread(t, b.mia, agents.VisibilityPrivate).ID, 1, moved)
	requireKind(t, fault.KindConflict, err)
	require.Equal(t, []string{`{"assistant_id":"` + string(a.ID) + `","version":1}`}, collect[string](t, b.inOrg(t, b.mia),
		`select before::text from audit_log where action = 'thread.assistant_moved'`))

	other, err := b.on(t, b.mia, thread.ID, b.assistant.ID)
	require.NoError(t, err)
	require.Equal(t, b.assistant.ID, other.Assistant, "another assistant may take over")
}

func TestAnArchivedAssistantGoesOnInItsThreadsOnly(t *testing.T) {
	b := setup(t)
	ctx := t.Context()
	a := b.guide(t)
	thread, fresh := b.thread(t, b.mia, agents.VisibilityPrivate), b.thread(t, b.mia, agents.VisibilityPrivate)
	_, err := b.on(t, b.mia, thread.ID, a.ID)
	require.NoError(t, err)
	names := func(q agents.AssistantQuery) map[string]int {
		lines, err := b.db.AssistantLines(ctx, b.ada, q)
		require.NoError(t, err)
		out := map[string]int{}
		for _, l := range lines {
			out[l.Name] = l.Threads
		}
		return out
	}
	require.Equal(t, map[string]int{"Desk": 1, "Guide": 0}, names(agents.AssistantQuery{}))
	require.NoError(t, b.db.ArchiveAssistant(ctx, b.ada, a.ID, true))
	require.NoError(t, b.db.ArchiveAssistant(ctx, b.ada, a.ID, true))
	require.Equal(t, map[string]int{"Guide": 0}, names(agents.AssistantQuery{}))
	require.Equal(t, map[string]int{"Desk": 1}, names(agents.AssistantQuery{Archived: true, Text: "DES"}))
	require.Empty(t, names(agents.AssistantQuery{Archived: true, Text: "%"}))

	offered, err := b.db.Assistants(ctx, b.mia)
	require.NoError(t, err)
	require.Len(t, offered, 1)
	_, err = b.on(t, b.mia, thread.ID, a.ID)
	require.NoError(t, err, "its thread goes on")
	_, err = b.on(t, b.mia, fresh.ID, a.ID)
	requireKind(t, fault.KindNotFound, err)
	called, err := b.db.AssistantNames(ctx, b.mia)
	require.NoError(t, err)
	require.Equal(t, "Desk", called[a.ID])

	require.NoError(t, b.db.ArchiveAssistant(ctx, b.ada, a.ID, false))
	_, err = b.on(t, b.mia, fresh.ID, a.ID)
	require.NoError(t, err)
	require.Equal(t, []string{"assistant.created", "assistant.archived", "assistant.restored"},
		collect[string](t, b.inOrg(t, b.ada), `select action from audit_log order by seq`))
}
