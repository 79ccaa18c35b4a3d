package store_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// labelled makes a thread with metadata and as many steps of its own.
func (b *bundle) labelled(t testing.TB, scope auth.Scope, v agents.Visibility, metadata string, steps int) agents.Thread {
	t.Helper()
	thread, err := b.db.CreateThread(t.Context(), scope, agents.NewThread{Visibility: v, Metadata: json.RawMessage(metadata)})
	require.NoError(t, err)
	if steps == 0 {
		return thread
	}
	lease, err := b.db.Acquire(t.Context(), scope, thread.ID)
	require.NoError(t, err)
	for i := range steps {
		step := text(thread.Line, i, agents.MessageID(fmt.Sprintf("m%d", i)), envelope(thread.ID, "stepped"))
		step.Deltas = map[string][]agents.Delta{"count": {{Op: agents.DeltaAdd, Value: json.RawMessage("1")}}}
		_, _, err := b.db.CommitStep(t.Context(), scope, lease, step, nil)
		require.NoError(t, err)
	}
	return thread
}

// search gives the ids of what is found, and the number of all.
func (b *bundle) search(t testing.TB, scope auth.Scope, q agents.ThreadSearch) ([]agents.ThreadID, int) {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	found, total, err := b.db.SearchThreads(t.Context(), scope, q)
	require.NoError(t, err)
	n, err := b.db.CountThreads(t.Context(), scope, q)
	require.NoError(t, err)
	require.Equal(t, total, n, "a count counts what a search finds")
	ids := make([]agents.ThreadID, len(found))
	for i, f := range found {
		ids[i] = f.ID
	}
	return ids, total
}

func TestThreadsAreFoundByWhatTheySay(t *testing.T) {
	b := setup(t)
	red := b.labelled(t, b.mia, "", `{"color":"red","of":{"team":"a","n":1},"tags":["x","y"]}`, 0)
	blue := b.labelled(t, b.mia, "", `{"color":"blue","of":{"team":"a","n":2}}`, 3)
	long := b.labelled(t, b.mia, "", `{"color":"red"}`, 130)
	shared := b.labelled(t, b.max, agents.VisibilityOrganisation, `{"color":"red"}`, 3)
	hidden := b.labelled(t, b.max, "", `{"color":"red"}`, 1)
	for name, c := range map[string]struct {
		q    agents.ThreadSearch
		want []agents.ThreadID
	}{
		"all, the newest first":      {agents.ThreadSearch{}, []agents.ThreadID{shared.ID, long.ID, blue.ID, red.ID}},
		"by a key":                   {agents.ThreadSearch{Metadata: json.RawMessage(`{"color":"red"}`)}, []agents.ThreadID{shared.ID, long.ID, red.ID}},
		"by a key within":            {agents.ThreadSearch{Metadata: json.RawMessage(`{"of":{"team":"a"}}`)}, []agents.ThreadID{blue.ID, red.ID}},
		"by several":                 {agents.ThreadSearch{Metadata: json.RawMessage(`{"color":"red","of":{"n":1}}`)}, []agents.ThreadID{red.ID}},
		"by an element":              {agents.ThreadSearch{Metadata: json.RawMessage(`{"tags":["y"]}`)}, []agents.ThreadID{red.ID}},
		"by what nothing says":       {agents.ThreadSearch{Metadata: json.RawMessage(`{"color":"green"}`)}, []agents.ThreadID{}},
		"by status":                  {agents.ThreadSearch{Status: agents.ThreadIdle}, []agents.ThreadID{shared.ID, long.ID, blue.ID, red.ID}},
		"by another status":          {agents.ThreadSearch{Status: agents.ThreadError}, []agents.ThreadID{}},
		"by ids":                     {agents.ThreadSearch{IDs: []agents.ThreadID{red.ID, hidden.ID, "x", agents.ThreadID(id.New())}}, []agents.ThreadID{red.ID}},
		"by no ids":                  {agents.ThreadSearch{IDs: []agents.ThreadID{}}, []agents.ThreadID{}},
		"by ids and metadata":        {agents.ThreadSearch{IDs: []agents.ThreadID{red.ID, blue.ID}, Metadata: json.RawMessage(`{"color":"red"}`)}, []agents.ThreadID{red.ID}},
		"by values":                  {agents.ThreadSearch{Values: map[string]json.RawMessage{"count": json.RawMessage("3")}}, []agents.ThreadID{shared.ID, blue.ID}},
		"by values of a long thread": {agents.ThreadSearch{Values: map[string]json.RawMessage{"count": json.RawMessage("130")}}, []agents.ThreadID{long.ID}},
		"by values and metadata":     {agents.ThreadSearch{Values: map[string]json.RawMessage{"count": json.RawMessage("3")}, Metadata: json.RawMessage(`{"color":"blue"}`)}, []agents.ThreadID{blue.ID}},
		"the oldest first":           {agents.ThreadSearch{Sort: agents.ThreadsByCreated, Ascending: true}, []agents.ThreadID{red.ID, blue.ID, long.ID, shared.ID}},
		"by id":                      {agents.ThreadSearch{Sort: agents.ThreadsByID}, []agents.ThreadID{shared.ID, long.ID, blue.ID, red.ID}},
		"by id and status":           {agents.ThreadSearch{Sort: agents.ThreadsByStatus, Ascending: true}, []agents.ThreadID{red.ID, blue.ID, long.ID, shared.ID}},
	} {
		ids, total := b.search(t, b.mia, c.q)
		require.Equal(t, c.want, ids, name)
		require.Equal(t, len(c.want), total, name)
	}
	// What somebody works on is found by that, and is the newest then.
	b.submit(t, b.mia, red.ID)
	ids, _ := b.search(t, b.mia, agents.ThreadSearch{Status: agents.ThreadBusy})
	require.Equal(t, []agents.ThreadID{red.ID}, ids)
	ids, _ = b.search(t, b.mia, agents.ThreadSearch{Sort: agents.ThreadsByStatus, Ascending: true, Limit: 1})
	require.Equal(t, []agents.ThreadID{red.ID}, ids, "busy comes before idle")
	ids, total := b.search(t, b.mia, agents.ThreadSearch{Limit: 1, Offset: 1})
	require.Equal(t, []agents.ThreadID{shared.ID}, ids)
	require.Equal(t, 4, total, "all that match, whichever piece is asked for")
	ids, total = b.search(t, b.mia, agents.ThreadSearch{Limit: 1, Offset: 9})
	require.Empty(t, ids)
	require.Equal(t, 4, total)
	ids, total = b.search(t, b.mia, agents.ThreadSearch{Values: map[string]json.RawMessage{"count": json.RawMessage("3")}, Limit: 1, Offset: 1})
	require.Equal(t, []agents.ThreadID{blue.ID}, ids)
	require.Equal(t, 2, total)

	// The right to read any thread doesn't list everybody's.
	ids, _ = b.search(t, b.ada, agents.ThreadSearch{})
	require.Equal(t, []agents.ThreadID{shared.ID}, ids)
	ids, _ = b.search(t, b.ada, agents.ThreadSearch{IDs: []agents.ThreadID{hidden.ID}})
	require.Equal(t, []agents.ThreadID{hidden.ID}, ids, "who names one may read it")
	for field, q := range map[string]agents.ThreadSearch{
		"status": {Status: "asleep", Limit: 1}, "sort_by": {Sort: "title", Limit: 1}, "limit": {}, "offset": {Limit: 1, Offset: -1},
		"values": {Limit: 1, Values: map[string]json.RawMessage{"_secret": json.RawMessage("1")}},
	} {
		_, _, err := b.db.SearchThreads(t.Context(), b.mia, q)
		requireKind(t, fault.KindInvalid, err)
		require.Contains(t, fault.FieldsOf(err), field)
	}
}

// TestStatesOfAListAreThoseOfTheThreads compares the states that come with a list
// with each read by itself: short and long threads, forks of forks and new ones.
func TestStatesOfAListAreThoseOfTheThreads(t *testing.T) {
	b := setup(t)
	var all []agents.ThreadID
	for _, steps := range []int{0, 1, 2, 49, 50, 51, 101, 1001} {
		thread := b.labelled(t, b.mia, "", `{}`, steps)
		all = append(all, thread.ID)
		line := thread.Line
		for _, at := range []int{steps / 2, steps/2 + 1} {
			if steps < 40 {
				break
			}
			lease, err := b.db.Acquire(t.Context(), b.mia, thread.ID)
			require.NoError(t, err)
			if line, err = b.db.Fork(t.Context(), b.mia, lease, agents.CheckpointID(line, at)); err != nil {
				require.NoError(t, err)
			}
			for n := range 2 {
				_, _, err = b.db.CommitStep(t.Context(), b.mia, lease, text(line, at+1+n, agents.MessageID(id.New()), envelope(thread.ID, "stepped")), nil)
				require.NoError(t, err)
			}
		}
	}
	for _, parts := range []agents.StateParts{agents.WholeState, agents.Outline, agents.NoState} {
		found, total, err := b.db.SearchThreads(t.Context(), b.mia, agents.ThreadSearch{Limit: 100, States: parts, Sort: agents.ThreadsByCreated, Ascending: true})
		require.NoError(t, err)
		require.Equal(t, len(all), total)
		for i, f := range found {
			require.Equal(t, all[i], f.ID)
			want, err := b.db.State(t.Context(), b.mia, f.ID)
			require.NoError(t, err)
			bare, err := b.db.Outline(t.Context(), b.mia, f.ID)
			require.NoError(t, err)
			require.Empty(t, bare.Messages)
			switch parts {
			case agents.WholeState:
				require.Equal(t, want, f.State)
			case agents.Outline:
				require.Equal(t, bare, f.State)
				want.Messages = nil
				require.Equal(t, want, f.State)
			default:
				require.Equal(t, agents.State{}, f.State)
			}
		}
	}
}

func TestHistoryByMetadataGivesTheStatesOfTheWholeHistory(t *testing.T) {
	b := setup(t)
	thread, lease := b.program(t, b.mia)
	for i := range 60 {
		step := text(thread.Line, i, agents.MessageID(fmt.Sprintf("m%d", i)), envelope(thread.ID, "stepped"))
		if i%7 == 0 {
			step.Source, step.Metadata = agents.SourceUpdate, json.RawMessage(`{"as_node":"seven"}`)
		}
		_, _, err := b.db.CommitStep(t.Context(), b.mia, lease, step, nil)
		require.NoError(t, err)
	}
	whole := b.states(t, thread.ID)
	for name, c := range map[string]struct {
		metadata string
		is       func(agents.State) bool
	}{
		"by source": {`{"source":"update"}`, func(s agents.State) bool { return s.Step%7 == 0 }},
		"by step":   {`{"step":12}`, func(s agents.State) bool { return s.Step == 12 }},
		"by what is kept with it": {`{"as_node":"seven","thread_id":"` + string(thread.ID) + `"}`,
			func(s agents.State) bool { return s.Step%7 == 0 }},
		"by nothing there is": {`{"as_node":"eight"}`, func(agents.State) bool { return false }},
	} {
		got, err := b.db.History(t.Context(), b.mia, thread.ID, agents.HistoryQuery{Limit: 100, Metadata: json.RawMessage(c.metadata)})
		require.NoError(t, err)
		var want []agents.State
		for _, s := range whole {
			if c.is(s) {
				want = append(want, s)
			}
		}
		require.Len(t, got, len(want), name)
		for i := range want {
			require.Equal(t, seenOf(t, want[i]), seenOf(t, got[i]), name)
		}
	}
	one, err := b.db.History(t.Context(), b.mia, thread.ID, agents.HistoryQuery{Limit: 5, Only: agents.CheckpointID(thread.Line, 30), Followed: true})
	require.NoError(t, err)
	require.Len(t, one, 1)
	require.Equal(t, 30, one[0].Step)
	require.Equal(t, 31, one[0].Followed.Step, "though it is not listed")
	require.Equal(t, agents.MessageID("m31"), one[0].Followed.Messages[0].ID)
	bare, err := b.db.History(t.Context(), b.mia, thread.ID, agents.HistoryQuery{Limit: 3, Bare: true, Followed: true})
	require.NoError(t, err)
	require.Nil(t, bare[0].Followed, "nothing followed the newest")
	for _, s := range bare[1:] {
		require.Empty(t, s.Messages)
		require.Equal(t, agents.MessageID(fmt.Sprintf("m%d", s.Step+1)), s.Followed.Messages[0].ID)
	}
}

func TestReviewersFindWhatWaitsForThem(t *testing.T) {
	b := setup(t)
	ray := b.person(t, "acme", "ray", auth.RoleReviewer)
	review := b.ask(t, b.mia)
	waits := review.Thread
	own := b.labelled(t, ray, "", `{}`, 1).ID
	interrupted := agents.ThreadSearch{Status: agents.ThreadInterrupted}
	for name, c := range map[string]struct {
		scope auth.Scope
		q     agents.ThreadSearch
		want  []agents.ThreadID
	}{
		"a reviewer who asks what waits":  {ray, interrupted, []agents.ThreadID{waits}},
		"a reviewer's own list":           {ray, agents.ThreadSearch{}, []agents.ThreadID{own}},
		"who asked":                       {b.mia, interrupted, []agents.ThreadID{waits}},
		"another member":                  {b.max, interrupted, []agents.ThreadID{}},
		"a reviewer of another":           {b.gus, interrupted, []agents.ThreadID{}},
		"a reviewer, of another metadata": {ray, agents.ThreadSearch{Status: agents.ThreadInterrupted, Metadata: json.RawMessage(`{"no":1}`)}, []agents.ThreadID{}},
	} {
		found, _ := b.search(t, c.scope, c.q)
		require.Equal(t, c.want, found, name)
	}
	_, err := b.db.Decide(t.Context(), ray, []agents.Decision{{Review: review.ID, Kind: agents.Approve}}, withdrawn)
	require.NoError(t, err)
	found, _ := b.search(t, ray, interrupted)
	require.Empty(t, found, "it waits no more")
}
