package store_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/tool/builtin"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/store"
)

// scopedMethods lists the exported methods whose second argument, after the
// context, is a scope.
func scopedMethods(t *testing.T) map[string]reflect.Method {
	t.Helper()
	out := map[string]reflect.Method{}
	for _, typ := range []reflect.Type{reflect.TypeFor[*store.DB](), reflect.TypeFor[store.Idempotency](), reflect.TypeFor[store.Attempts](),
		reflect.TypeFor[store.Memory[builtin.Item]](), reflect.TypeFor[store.Searcher[builtin.Hit]]()} {
		name, _, _ := strings.Cut(strings.TrimPrefix(typ.String(), "*"), "[")
		for i := range typ.NumMethod() {
			method := typ.Method(i)
			for at := 1; at < method.Type.NumIn(); at++ {
				if method.Type.In(at) != reflect.TypeFor[auth.Scope]() {
					continue
				}
				require.Equal(t, 2, at, "%s: the scope comes first after ctx", method.Name)
				out[strings.TrimPrefix(name, "store.")+"."+method.Name] = method
			}
		}
	}
	return out
}

func TestNobodyReachesAnotherOrganisationThroughAnyMethod(t *testing.T) {
	methods := scopedMethods(t)
	require.Equal(t, slices.Sorted(maps.Keys(methods)), slices.Sorted(maps.Keys(trespasses)),
		"each method with a scope needs a row in trespasses")
	e := furnish(t)
	ours := func() map[string][]string {
		all := e.picture(t)
		maps.DeleteFunc(all, func(key string, _ []string) bool { return !strings.HasPrefix(key, string(e.mia.Org)) })
		return all
	}
	before := ours()
	for _, table := range []string{"api_keys", "assistants", "audit_heads", "audit_log", "checkpoints", "documents", "events", "idempotency_keys", "invitations", "lines",
		"memberships", "messages", "runs", "sessions", "store_items", "thread_heads", "threads", "webhook_deliveries", "webhook_secrets"} {
		require.NotEmpty(t, before[string(e.mia.Org)+" "+table], table)
	}
	for _, name := range slices.Sorted(maps.Keys(trespasses)) {
		row := trespasses[name]
		for _, scope := range []auth.Scope{e.gia, e.gus} {
			scope.Session = e.session.ID // a stolen id of a session is not its cookie
			err := row.call(t.Context(), e, scope)
			if row.want == "" {
				require.NoError(t, err, name)
			} else {
				require.Error(t, err, name)
				require.Equal(t, row.want, fault.KindOf(err), "%s: %v", name, err)
			}
			require.Empty(t, cmp.Diff(before, ours()), name)
		}
	}
}

// managed are the methods of those who manage assistants.
var managed = []string{"DB.AssistantLines", "DB.AssistantSaves", "DB.CreateAssistant", "DB.SaveAssistant", "DB.ActivateAssistant", "DB.ArchiveAssistant"}

// TestMethodsRefuseAScopeThatNamesNobody calls each method with a scope that
// lacks a part.
func TestMethodsRefuseAScopeThatNamesNobody(t *testing.T) {
	e := furnish(t)
	before := e.picture(t)
	for name, row := range trespasses {
		if name == "DB.CreateInvitation" || name == "DB.PutDocument" || name == "DB.RevokeInvitation" ||
			name == "DB.ClaimDomain" || name == "DB.ProveDomainByDNS" || slices.Contains(managed, name) {
			continue // their rows raise the role; the check is that of DB.RenameThread
		}
		for _, broken := range []auth.Scope{{}, {Org: e.mia.Org, Role: auth.RoleOwner}, {User: e.mia.User, Role: auth.RoleOwner},
			{User: e.mia.User, Org: e.mia.Org}, {User: e.mia.User, Org: e.mia.Org, Role: "root"},
			{User: e.mia.User, Org: "'; drop table runs; --", Role: auth.RoleOwner}} {
			require.Error(t, row.call(t.Context(), e, broken), "%s with %+v", name, broken)
		}
	}
	require.Empty(t, cmp.Diff(before, e.picture(t)))
}

func TestPrivateThreadIsItsOwnersAndAdminsOnlyRead(t *testing.T) {
	e := furnish(t)
	ctx := t.Context()
	reads := func(s auth.Scope, thread agents.Thread, run agents.RunID) map[string]error {
		out := map[string]error{}
		_, out["Thread"] = e.db.Thread(ctx, s, thread.ID)
		_, out["State"] = e.db.State(ctx, s, thread.ID)
		_, out["View"] = e.db.View(ctx, s, thread.ID)
		_, _, out["Log"] = e.db.Log(ctx, s, thread.ID, 0, 0)
		if run != "" {
			_, out["Run"] = e.db.Run(ctx, s, thread.ID, run)
			open, err := e.db.OpenRuns(ctx, s, thread.ID)
			if err == nil && len(open) == 0 {
				err = fault.NotFound("Run")
			}
			out["OpenRuns"] = err
		}
		return out
	}
	for name, err := range reads(e.max, e.private, e.pending.ID) {
		requireKind(t, fault.KindNotFound, err)
		require.NotContains(t, fault.Public(err), string(e.private.ID), name)
	}
	key := e.ada
	key.Key, key.KeyScopes = auth.KeyID(id.New()), []auth.KeyScope{auth.ScopeRun}
	for _, err := range reads(key, e.private, e.pending.ID) {
		requireKind(t, fault.KindNotFound, err) // an admin's key without the scope admin
	}
	for _, s := range []auth.Scope{e.mia, e.ada} {
		for name, err := range reads(s, e.private, e.pending.ID) {
			require.NoError(t, err, name)
		}
	}
	for _, s := range []auth.Scope{e.mia, e.max, e.ada} {
		for name, err := range reads(s, e.shared, "") {
			require.NoError(t, err, name)
		}
	}
	before := e.picture(t)
	for _, s := range []auth.Scope{e.max, e.ada} {
		_, err := e.db.Submit(ctx, s, e.submission(e.private.ID))
		requireKind(t, fault.KindNotFound, err)
		_, err = e.db.CancelRun(ctx, s, e.private.ID, e.pending.ID, "x", cancelled, withdrawn)
		requireKind(t, fault.KindNotFound, err)
		requireKind(t, fault.KindNotFound, rename(ctx, e.db, s, e.private.ID, "x"))
		requireKind(t, fault.KindNotFound, e.db.DeleteThread(ctx, s, e.private.ID))
		requireKind(t, fault.KindNotFound, e.db.DeleteThread(ctx, s, e.shared.ID))
		listed, err := e.db.Threads(ctx, s, agents.ThreadQuery{})
		require.NoError(t, err)
		require.Len(t, listed, 1, "an admin's right to read does not flood the list")
		require.Equal(t, e.shared.ID, listed[0].ID)
		// A run is found under its own thread alone.
		_, err = e.db.Run(ctx, s, e.shared.ID, e.pending.ID)
		requireKind(t, fault.KindNotFound, err)
		_, err = e.db.CancelRun(ctx, s, e.shared.ID, e.pending.ID, "x", cancelled, withdrawn)
		requireKind(t, fault.KindNotFound, err)
	}
	require.Empty(t, cmp.Diff(before, e.picture(t)))
	_, err := e.db.Submit(ctx, e.max, e.submission(e.shared.ID))
	require.NoError(t, err, "a shared thread is everyone's to write to")
	require.NoError(t, rename(ctx, e.db, e.max, e.shared.ID, "Renamed"))
	// Within the organisation, too, keys and assistants keep to their rules.
	requireKind(t, fault.KindNotFound, e.db.RevokeAPIKey(ctx, e.max, e.key.ID, time.Now()))
	require.NoError(t, e.db.RevokeAPIKey(ctx, e.ada, e.key.ID, time.Now()))
	requireKind(t, fault.KindNotFound, e.db.RevokeSession(ctx, e.ada, e.session.ID, time.Now()))
}

func TestRunNeedsAnAssistantOfItsOwnOrganisation(t *testing.T) {
	e := furnish(t)
	thread := e.thread(t, e.gia, agents.VisibilityPrivate)
	before := e.picture(t)
	s := e.submission(thread.ID)
	s.Assistant = e.assistant
	_, err := e.db.Submit(t.Context(), e.gia, s)
	requireKind(t, fault.KindNotFound, err)
	s.Assistant.ID = agents.AssistantID(id.New())
	_, absent := e.db.Submit(t.Context(), e.gia, s)
	require.Equal(t, fault.Public(absent), fault.Public(err), "foreign and absent look the same")
	require.Empty(t, cmp.Diff(before, e.picture(t)))
}

// TestEqualIdsInTwoOrganisationsNeverMeet gives both the same ids of thread,
// run, message and assistant.
func TestEqualIdsInTwoOrganisationsNeverMeet(t *testing.T) {
	b := setup(t)
	ctx := t.Context()
	thread, first, second := agents.ThreadID(id.New()), agents.RunID(id.New()), agents.RunID(id.New())
	worker := agents.WorkerID(id.New())
	scopes := []auth.Scope{b.mia, b.gia}
	for _, s := range scopes {
		made, err := b.db.CreateThread(ctx, s, agents.NewThread{ID: thread, Title: string(s.Org)})
		require.NoError(t, err)
		require.Equal(t, s.Org, made.Org)
		for _, run := range []agents.RunID{first, second} {
			sub := b.submission(thread)
			sub.Run = run
			sub.Queued = func(int, bool) (event.Envelope, error) { return envelope(thread, "of "+string(s.Org)), nil }
			_, err := b.db.Submit(ctx, s, sub)
			require.NoError(t, err)
		}
	}
	claimed, err := b.db.Claim(ctx, worker, 10, time.Minute)
	require.NoError(t, err)
	require.Len(t, claimed, 2, "one run of each thread")
	leases := map[auth.OrgID]agents.Lease{}
	for _, c := range claimed {
		require.Equal(t, first, c.Run.ID)
		leases[c.Run.Org] = agents.Lease{Thread: thread, Run: first, Token: c.Run.Token}
	}
	for _, s := range scopes {
		own, err := b.db.Thread(ctx, s, thread)
		require.NoError(t, err)
		step := text(own.Line, 0, "m0", envelope(thread, "step of "+string(s.Org)))
		step.Messages[0].Text = "text of " + string(s.Org)
		_, _, err = b.db.CommitStep(ctx, s, leases[s.Org], step, nil)
		require.NoError(t, err)
		_, err = b.db.Append(ctx, []agents.Entry{{Org: s.Org, Thread: thread, Run: first, Token: leases[s.Org].Token, Type: event.Custom,
			Body: []byte(`{"delta of":"` + string(s.Org) + `"}`)}})
		require.NoError(t, err)
	}
	// What one does changes nothing for the other.
	other := func() map[string][]string {
		all := b.picture(t)
		maps.DeleteFunc(all, func(key string, _ []string) bool { return !strings.HasPrefix(key, string(b.gia.Org)) })
		return all
	}
	before := other()
	stopped, err := b.db.CancelRun(ctx, b.mia, thread, second, "stopped", cancelled, withdrawn)
	require.NoError(t, err)
	require.True(t, stopped.Ended)
	_, err = b.db.FinishRun(ctx, b.mia, leases[b.mia.Org], agents.Finish{Status: agents.RunSuccess})
	require.NoError(t, err)
	require.NoError(t, rename(ctx, b.db, b.mia, thread, "renamed"))
	require.Empty(t, cmp.Diff(before, other()))

	for i, s := range scopes {
		foreign := string(scopes[1-i].Org)
		view, err := b.db.View(ctx, s, thread)
		require.NoError(t, err)
		state, err := b.db.State(ctx, s, thread)
		require.NoError(t, err)
		require.Len(t, state.Messages, 1)
		require.Equal(t, "text of "+string(s.Org), state.Messages[0].Text)
		rows, head, err := b.db.Log(ctx, s, thread, 0, 0)
		require.NoError(t, err)
		hub, hubHead, err := b.db.LogOf(ctx, s.Org, thread, 0, 0)
		require.NoError(t, err)
		require.Equal(t, rows, hub)
		require.Equal(t, head, hubHead)
		require.Len(t, rows, []int{6, 4}[i])
		run, err := b.db.Run(ctx, s, thread, second)
		require.NoError(t, err)
		require.Equal(t, []agents.RunStatus{agents.RunCancelled, agents.RunPending}[i], run.Status)
		require.Equal(t, s.Org, run.Org)
		open, err := b.db.OpenRuns(ctx, s, thread)
		require.NoError(t, err)
		require.Len(t, open, []int{0, 2}[i])
		everything, err := json.Marshal([]any{view, state, rows, open})
		require.NoError(t, err)
		require.NotContains(t, string(everything), foreign)
	}
	require.NoError(t, b.db.DeleteThread(ctx, b.mia, thread))
	require.Empty(t, cmp.Diff(before, other()))
}

// TestThemeIsOnesOwnAndNeedsAMembership: people stand outside the wall, since
// they may belong to several organisations.
func TestThemeIsOnesOwnAndNeedsAMembership(t *testing.T) {
	b := setup(t)
	system := connect(t, b.url, "heddle_system")
	dark := func() []string {
		return collect[string](t, system, "select id::text from users where theme = 'dark'")
	}
	require.NoError(t, b.db.SetTheme(t.Context(), b.mia, "dark"))
	require.Equal(t, []string{string(b.mia.User)}, dark())
	requireKind(t, fault.KindInvalid, b.db.SetTheme(t.Context(), b.mia, "pink"))
	stray := b.max
	stray.Org = b.gia.Org
	requireKind(t, fault.KindNotFound, b.db.SetTheme(t.Context(), stray, "dark"))
	require.Equal(t, []string{string(b.mia.User)}, dark())
}

// TestHeadsOfLogsAreToldInTheOrderOfTheQuestion, across organisations, as the hub
// asks for them; a thread that is gone has none.
func TestHeadsOfLogsAreToldInTheOrderOfTheQuestion(t *testing.T) {
	b := setup(t)
	none, err := b.db.HeadsOf(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, none)
	var keys []agents.ThreadKey
	var want []agents.Position
	for i := range 6 {
		scope := []auth.Scope{b.mia, b.gia}[i%2]
		thread := b.thread(t, scope, agents.VisibilityPrivate)
		for n := range i {
			require.NoError(t, rename(t.Context(), b.db, scope, thread.ID, fmt.Sprint("title ", n)))
		}
		_, head, err := b.db.Log(t.Context(), scope, thread.ID, 0, 1)
		require.NoError(t, err)
		require.EqualValues(t, i, head.Seq)
		keys, want = append(keys, agents.ThreadKey{Org: scope.Org, Thread: thread.ID}), append(want, head)
	}
	keys = append(keys, agents.ThreadKey{Org: b.gia.Org, Thread: keys[0].Thread}, agents.ThreadKey{Org: b.mia.Org, Thread: agents.ThreadID(id.New())}, keys[3])
	want = append(want, agents.Position{}, agents.Position{}, want[3])
	got, err := b.db.HeadsOf(t.Context(), keys)
	require.NoError(t, err)
	require.Equal(t, want, got)
}
