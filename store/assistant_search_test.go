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

// named makes an assistant with metadata.
func (b *bundle) named(t *testing.T, graph, name, metadata string) agents.Assistant {
	t.Helper()
	made, err := b.db.CreateAssistant(t.Context(), b.ada, agents.Assistant{Graph: graph, Name: name, Metadata: json.RawMessage(metadata)}, "")
	require.NoError(t, err)
	return made
}

func namesOf(found []agents.Assistant) []string {
	out := []string{}
	for _, a := range found {
		out = append(out, a.Name)
	}
	return out
}

func TestAssistantsAreFoundByWhatTheyAre(t *testing.T) {
	b := setup(t)
	ctx := t.Context()
	alpha := b.named(t, "chat", "alpha", `{"team":{"name":"desk","floor":1},"tier":"gold"}`)
	b.named(t, "deep", "Beta 100%", `{"team":{"name":"desk","floor":2}}`)
	gamma := b.named(t, "chat", "gamma", `{"team":{"name":"lab"}}`)
	gone := b.named(t, "chat", "gone", `{}`)
	require.NoError(t, b.db.ArchiveAssistant(ctx, b.ada, gone.ID, true))

	for name, ask := range map[string]struct {
		q     agents.AssistantSearch
		want  []string
		total int
	}{
		"all, the newest first": {agents.AssistantSearch{}, []string{"gamma", "Beta 100%", "alpha", "Guide"}, 4},
		"the oldest first":      {agents.AssistantSearch{Ascending: true}, []string{"Guide", "alpha", "Beta 100%", "gamma"}, 4},
		"by name":               {agents.AssistantSearch{Sort: agents.ByName, Ascending: true}, []string{"alpha", "Beta 100%", "gamma", "Guide"}, 4},
		"by name, from the end": {agents.AssistantSearch{Sort: agents.ByName, Limit: 2}, []string{"Guide", "gamma"}, 4},
		"by graph, then by id": {agents.AssistantSearch{Sort: agents.ByGraph, AssistantFilter: agents.AssistantFilter{Metadata: json.RawMessage(`{"team":{}}`)}},
			[]string{"Beta 100%", "gamma", "alpha"}, 3},
		"by id":                 {agents.AssistantSearch{Sort: agents.ByAssistant, Ascending: true, Offset: 1}, []string{"alpha", "Beta 100%", "gamma"}, 4},
		"a piece":               {agents.AssistantSearch{Limit: 2, Offset: 1}, []string{"Beta 100%", "alpha"}, 4},
		"behind the end":        {agents.AssistantSearch{Offset: 9}, []string{}, 4},
		"of a graph":            {agents.AssistantSearch{AssistantFilter: agents.AssistantFilter{Graph: "deep"}}, []string{"Beta 100%"}, 1},
		"of an unknown graph":   {agents.AssistantSearch{AssistantFilter: agents.AssistantFilter{Graph: "none"}}, []string{}, 0},
		"by a part of the name": {agents.AssistantSearch{AssistantFilter: agents.AssistantFilter{Name: "MM"}}, []string{"gamma"}, 1},
		"a pattern is a text":   {agents.AssistantSearch{AssistantFilter: agents.AssistantFilter{Name: "0%"}}, []string{"Beta 100%"}, 1},
		"by nested metadata": {agents.AssistantSearch{AssistantFilter: agents.AssistantFilter{Metadata: json.RawMessage(`{"team":{"name":"desk"}}`)}},
			[]string{"Beta 100%", "alpha"}, 2},
		"every key has to fit": {agents.AssistantSearch{AssistantFilter: agents.AssistantFilter{Metadata: json.RawMessage(`{"team":{"name":"desk"},"tier":"gold"}`)}},
			[]string{"alpha"}, 1},
	} {
		found, total, err := b.db.SearchAssistants(ctx, b.mia, ask.q)
		require.NoError(t, err, name)
		require.Equal(t, ask.want, namesOf(found), name)
		require.Equal(t, ask.total, total, name)
		n, err := b.db.CountAssistants(ctx, b.mia, ask.q.AssistantFilter)
		require.NoError(t, err)
		require.Equal(t, ask.total, n, name)
	}
	b.save(t, alpha, "Newer.")
	found, _, err := b.db.SearchAssistants(ctx, b.mia, agents.AssistantSearch{Sort: agents.ByUpdated, Limit: 2})
	require.NoError(t, err)
	require.Equal(t, []string{"alpha", "gamma"}, namesOf(found), "a save makes it the newest")
	require.Equal(t, gamma.ID, found[1].ID)
}

func TestAChangeIsMadeOfTheVersionInUse(t *testing.T) {
	b := setup(t)
	ctx := t.Context()
	made, err := b.db.CreateAssistant(ctx, b.ada, agents.Assistant{Graph: "chat", Name: "Desk", Metadata: json.RawMessage(`{"n":0}`),
		Context: map[string]json.RawMessage{"locale": json.RawMessage(`"de"`)},
		Config:  agents.AssistantConfig{Prompt: "One.", Tags: []string{"a"}, Carried: map[string]json.RawMessage{"run_name": json.RawMessage(`"x"`)}}}, "")
	require.NoError(t, err)
	require.Equal(t, 0.7, *made.Config.Temperature, "a reading has the defaults")
	require.Nil(t, made.Chosen.Temperature, "and what was chosen")

	const changers = 8
	errs := make([]error, changers)
	var all sync.WaitGroup
	for i := range changers {
		all.Go(func() {
			_, errs[i] = b.db.ChangeAssistant(ctx, b.ada, agents.AssistantChange{Assistant: made.ID, Comment: "one more",
				Make: func(a agents.Assistant) (agents.Assistant, error) {
					var m struct{ N int }
					err := json.Unmarshal(a.Metadata, &m)
					a.Config, a.Graph = a.Chosen, "deep"
					a.Metadata = fmt.Appendf(nil, `{"n":%d}`, m.N+1)
					return a, err
				}})
		})
	}
	all.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	found, err := b.db.Assistant(ctx, b.mia, string(made.ID))
	require.NoError(t, err)
	require.Equal(t, changers+1, found.Version)
	require.JSONEq(t, `{"n":8}`, string(found.Metadata), "no change was lost")
	require.Equal(t, "chat", found.Graph, "the graph stays")
	require.Equal(t, made.Chosen, found.Chosen, "and what was not chosen is still not")
	require.Equal(t, made.Context, found.Context)

	versions, total, err := b.db.AssistantVersions(ctx, b.mia, made.ID, nil, 3, 1)
	require.NoError(t, err)
	require.Equal(t, changers+1, total)
	require.Len(t, versions, 3)
	require.Equal(t, changers, versions[0].Version)
	one, total, err := b.db.AssistantVersions(ctx, b.mia, made.ID, json.RawMessage(`{"n":2}`), 10, 0)
	require.NoError(t, err)
	require.Equal(t, 1, total)
	require.Equal(t, 3, one[0].Version)

	back, err := b.db.ActivateAssistant(ctx, b.ada, made.ID, 1, changers+1)
	require.NoError(t, err)
	require.JSONEq(t, `{"n":0}`, string(back.Metadata), "an earlier version comes back whole")
	require.Equal(t, made.Chosen, back.Chosen)
	form, err := b.db.SaveAssistant(ctx, b.ada, agents.Assistant{ID: made.ID, Name: "Renamed"}, back.Version, "by a form")
	require.NoError(t, err)
	require.Equal(t, back.Context, form.Context, "what no form shows stays")
	require.JSONEq(t, string(back.Metadata), string(form.Metadata))
}

func TestAChangeThatBreaksARuleChangesNothing(t *testing.T) {
	b := setup(t)
	ctx := t.Context()
	a := b.guide(t)
	change := func(scope auth.Scope, assistant agents.AssistantID, edit func(*agents.Assistant) error) error {
		_, err := b.db.ChangeAssistant(ctx, scope, agents.AssistantChange{Assistant: assistant, Comment: "x",
			Make: func(a agents.Assistant) (agents.Assistant, error) { err := edit(&a); return a, err }})
		return err
	}
	fine := func(*agents.Assistant) error { return nil }
	big := func(a *agents.Assistant) error {
		a.Metadata = fmt.Appendf(nil, `{"x":"%065536d"}`, 1)
		return nil
	}
	require.Contains(t, fault.FieldsOf(change(b.ada, a.ID, big)), "metadata")
	require.Contains(t, fault.FieldsOf(change(b.ada, a.ID, func(a *agents.Assistant) error { a.Name = ""; return nil })), "name")
	require.Contains(t, fault.FieldsOf(change(b.ada, a.ID, func(a *agents.Assistant) error { a.Config.Tags = make([]string, 51); return nil })), "tags")
	require.ErrorContains(t, change(b.ada, a.ID, func(*agents.Assistant) error { return fmt.Errorf("no") }), "no")
	requireKind(t, fault.KindForbidden, change(b.mia, a.ID, fine))
	requireKind(t, fault.KindNotFound, change(b.ada, agents.AssistantID(id.New()), fine))
	requireKind(t, fault.KindNotFound, change(b.ada, "no-id", fine))
	require.NoError(t, b.db.ArchiveAssistant(ctx, b.ada, a.ID, true))
	requireKind(t, fault.KindNotFound, change(b.ada, a.ID, fine))
	_, total, err := b.db.AssistantVersions(ctx, b.ada, a.ID, nil, 0, 0)
	require.NoError(t, err)
	require.Equal(t, 1, total)
}

func TestAnArchivedAssistantComesBackWithANewVersion(t *testing.T) {
	b := setup(t)
	ctx := t.Context()
	a := b.guide(t)
	require.NoError(t, b.db.ArchiveAssistant(ctx, b.ada, a.ID, true))
	back, err := b.db.ChangeAssistant(ctx, b.ada, agents.AssistantChange{Assistant: a.ID, Comment: "again", Revive: true,
		Make: func(agents.Assistant) (agents.Assistant, error) { return agents.Assistant{Name: "Second life"}, nil }})
	require.NoError(t, err)
	require.Equal(t, 2, back.Version)
	require.False(t, back.Archived())
	require.Equal(t, "chat", back.Graph)
	require.Equal(t, []string{"assistant.created", "assistant.archived", "assistant.restored", "assistant.saved"},
		collect[string](t, b.inOrg(t, b.ada), `select action from audit_log where object_id = $1 order by seq`, string(a.ID)))
}

func TestOnlyOnesOwnThreadsWithAnAssistantAreListed(t *testing.T) {
	b := setup(t)
	ctx := t.Context()
	a := b.guide(t)
	var own []agents.ThreadID
	for _, scope := range []auth.Scope{b.mia, b.mia, b.max} {
		thread := b.thread(t, scope, agents.VisibilityOrganisation)
		submission := b.submission(thread.ID)
		submission.Assistant = a
		submitted, err := b.db.Submit(ctx, scope, submission)
		require.NoError(t, err)
		if scope.User == b.mia.User {
			own = append(own, submitted.Run.Thread)
		}
	}
	b.thread(t, b.mia, agents.VisibilityPrivate)
	found, err := b.db.OwnThreadsWith(ctx, b.mia, a.ID, 100)
	require.NoError(t, err)
	require.ElementsMatch(t, own, found)
	found, err = b.db.OwnThreadsWith(ctx, b.mia, a.ID, 1)
	require.NoError(t, err)
	require.Len(t, found, 1)
}
