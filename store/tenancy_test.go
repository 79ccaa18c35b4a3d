package store_test

import (
	"context"
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

func requireKind(t *testing.T, kind fault.Kind, err error) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, kind, fault.KindOf(err), "%v", err)
}

// estate is one of everything that acme can own.
type estate struct {
	*bundle
	private, shared agents.Thread
	running         agents.Lease // on private
	pending         agents.Run   // on private
	assistant       agents.Assistant
	key             auth.APIKey
	invitation      auth.Invitation
	session         auth.Session
	claim           string
}

func furnish(t *testing.T) *estate {
	t.Helper()
	e := &estate{bundle: setup(t)}
	ctx := t.Context()
	e.private, e.shared = e.thread(t, e.mia, agents.VisibilityPrivate), e.thread(t, e.mia, agents.VisibilityOrganisation)
	e.running, _ = e.start(t, e.mia, e.private.ID)
	_, _, err := e.db.CommitStep(ctx, e.mia, e.running, text(e.private.Line, 0, "m0", envelope(e.private.ID, "stepped")), nil)
	require.NoError(t, err)
	e.pending = e.submit(t, e.mia, e.private.ID)
	e.assistant = agents.Assistant{ID: agents.AssistantID(id.New()), Graph: "deep", Version: 1, Name: "Ours", IsDefault: true}
	require.NoError(t, e.db.EnsureAssistant(ctx, e.ada, e.assistant))
	e.key = auth.APIKey{ID: auth.KeyID(id.New()), Org: e.mia.Org, User: e.mia.User, Name: "laptop", Prefix: "hdl_ours", Scopes: []auth.KeyScope{auth.ScopeChat}, CreatedAt: time.Now()}
	require.NoError(t, e.db.CreateAPIKey(ctx, e.mia, e.key))
	e.invitation = auth.Invitation{ID: auth.InvitationID(id.New()), Email: "new@acme.test", Role: auth.RoleMember, ExpiresAt: time.Now().Add(time.Hour)}
	require.NoError(t, e.db.CreateInvitation(ctx, e.ada, e.invitation, auth.Digest{1}))
	e.session = e.signIn(t, "acme/mia", 2)
	_, err = e.db.PutItem(ctx, e.mia, store.AreaUser, store.Item{Namespace: []string{"facts"}, Key: "k", Value: json.RawMessage(`"ours"`)})
	require.NoError(t, err)
	require.NoError(t, e.db.PutDocument(ctx, e.ada, store.Document{Slug: "ours", Title: "Secret handshake", Body: "Three taps."}))
	e.claim, _, err = e.db.Idempotency().Begin(ctx, e.mia, "key", []byte("hash"))
	require.NoError(t, err)
	return e
}

func (b *bundle) signIn(t *testing.T, subject string, token byte) auth.Session {
	t.Helper()
	now := time.Now()
	in, err := b.db.SignIn(t.Context(), auth.Entry{
		Profile: auth.Profile{Identity: auth.Identity{Issuer: "https://idp.test", Subject: subject}, Provider: "test"},
		Session: auth.NewSession(auth.SessionID(id.New()), "test", "192.0.2.1", now), Token: auth.Digest{token},
	}, func(f auth.Facts) (auth.Placement, error) {
		return auth.Placement{Kind: auth.PlaceMember, Org: f.Memberships[0].Org.ID, Role: f.Memberships[0].Role}, nil
	})
	require.NoError(t, err)
	return in.Session
}

// trespass is what somebody of another organisation tries with acme's ids.
type trespass struct {
	// want is the kind of the answer; "" when the call rightly works within the
	// caller's own organisation and shows nothing of acme's.
	want fault.Kind
	call func(ctx context.Context, e *estate, s auth.Scope) error
}

// seen turns something that must not be there into an error.
func seen[T any](found []T, err error, ours func(T) bool) error {
	if err != nil {
		return err
	}
	if slices.ContainsFunc(found, ours) {
		return fmt.Errorf("it shows what belongs to the other organisation: %+v", found)
	}
	return nil
}

func anything[T any](T) bool { return true }

// trespasses has a row for every method that takes a scope: a method without
// one fails the test below.
var trespasses = map[string]trespass{
	"DB.APIKeys": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, err := e.db.APIKeys(ctx, s)
		return seen(found, err, func(k auth.APIKey) bool { return k.Org != s.Org })
	}},
	"DB.OwnAPIKeys": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, err := e.db.OwnAPIKeys(ctx, s)
		return seen(found, err, anything)
	}},
	"DB.Names": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		names, err := e.db.Names(ctx, s)
		return seen(slices.Collect(maps.Keys(names)), err, func(u auth.UserID) bool { return u != e.gia.User && u != e.gus.User })
	}},
	"DB.SetTheme": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		return e.db.SetTheme(ctx, s, "dark")
	}},
	"DB.CreateAPIKey": {fault.KindForbidden, func(ctx context.Context, e *estate, s auth.Scope) error {
		k := e.key
		k.ID, k.Prefix = auth.KeyID(id.New()), "hdl_theirs"
		return e.db.CreateAPIKey(ctx, s, k)
	}},
	"DB.RevokeAPIKey": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return e.db.RevokeAPIKey(ctx, s, e.key.ID, time.Now())
	}},
	"DB.Assistants": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, err := e.db.Assistants(ctx, s)
		return seen(found, err, func(a agents.Assistant) bool { return a.Org != s.Org || a.Name == "Ours" })
	}},
	"DB.Assistant": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		if _, err := e.db.Assistant(ctx, s, "deep"); !fault.Is(err, fault.KindNotFound) {
			return fmt.Errorf("by its graph: %w", err)
		}
		_, err := e.db.Assistant(ctx, s, string(e.assistant.ID))
		return err
	}},
	"DB.AssistantVersion": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.AssistantVersion(ctx, s, e.assistant.ID, 1)
		return err
	}},
	"DB.EnsureAssistant": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		a := e.assistant
		a.ID, a.Name, a.Graph = e.bundle.assistant.ID, "Theirs", "other"
		return e.db.EnsureAssistant(ctx, s, a)
	}},
	"DB.CommitStep": {fault.KindConflict, func(ctx context.Context, e *estate, s auth.Scope) error {
		finish := agents.Finish{Status: agents.RunSuccess, Events: []event.Envelope{envelope(e.private.ID, "x")}}
		_, _, err := e.db.CommitStep(ctx, s, e.running, text(e.private.Line, 1, "m1", envelope(e.private.ID, "x")), &finish)
		return err
	}},
	"DB.FinishRun": {fault.KindConflict, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.FinishRun(ctx, s, e.running, agents.Finish{Status: agents.RunSuccess})
		return err
	}},
	"DB.CreateThread": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		made, err := e.db.CreateThread(ctx, s, agents.NewThread{ID: agents.ThreadID(id.New()), Title: "theirs"})
		return seen([]agents.Thread{made}, err, func(t agents.Thread) bool { return t.Org != s.Org })
	}},
	"DB.Thread": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return both(e, func(t agents.Thread) error { _, err := e.db.Thread(ctx, s, t.ID); return err })
	}},
	"DB.Threads": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, err := e.db.Threads(ctx, s, agents.ThreadQuery{})
		return seen(found, err, func(t agents.Thread) bool { return t.Org != s.Org })
	}},
	"DB.RenameThread": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return both(e, func(t agents.Thread) error { return e.db.RenameThread(ctx, s, t.ID, "x") })
	}},
	"DB.DeleteThread": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return both(e, func(t agents.Thread) error { return e.db.DeleteThread(ctx, s, t.ID) })
	}},
	"DB.State": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return both(e, func(t agents.Thread) error { _, err := e.db.State(ctx, s, t.ID); return err })
	}},
	"DB.View": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return both(e, func(t agents.Thread) error { _, err := e.db.View(ctx, s, t.ID); return err })
	}},
	"DB.Log": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return both(e, func(t agents.Thread) error { _, _, err := e.db.Log(ctx, s, t.ID, 0, 0); return err })
	}},
	"DB.Run": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.Run(ctx, s, e.private.ID, e.pending.ID)
		return err
	}},
	"DB.OpenRuns": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, err := e.db.OpenRuns(ctx, s, e.private.ID)
		return seen(found, err, anything)
	}},
	"DB.Submit": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return both(e, func(t agents.Thread) error { _, err := e.db.Submit(ctx, s, e.submission(t.ID)); return err })
	}},
	"DB.CancelRun": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.CancelRun(ctx, s, e.private.ID, e.pending.ID, "x", cancelled)
		return err
	}},
	"DB.CreateInvitation": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		i := e.invitation
		i.ID = auth.InvitationID(id.New())
		i.Org = auth.Org{ID: e.mia.Org} // names of organisations in arguments count for nothing
		s.Role = auth.RoleAdmin
		return e.db.CreateInvitation(ctx, s, i, auth.Digest{byte(len(s.User)), s.User[35]})
	}},
	"DB.RevokeInvitation": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		s.Role = auth.RoleAdmin
		return e.db.RevokeInvitation(ctx, s, e.invitation.ID, time.Now())
	}},
	"DB.RevokeSession": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return e.db.RevokeSession(ctx, s, e.session.ID, time.Now())
	}},
	"DB.Sessions": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, err := e.db.Sessions(ctx, s, time.Now())
		return seen(found, err, func(x auth.Session) bool { return x.User != s.User })
	}},
	"DB.SwitchOrg": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return e.db.SwitchOrg(ctx, s, e.mia.Org, auth.Digest{9}, time.Now())
	}},
	"DB.Memberships": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, err := e.db.Memberships(ctx, s)
		return seen(found, err, func(m auth.Membership) bool { return m.Org.ID != s.Org || m.User != s.User })
	}},
	"DB.PutItem": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.PutItem(ctx, s, store.AreaUser, store.Item{Namespace: []string{"facts"}, Key: "theirs", Value: json.RawMessage(`1`)})
		return err
	}},
	"DB.Item": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.Item(ctx, s, store.AreaUser, []string{"facts"}, "k")
		return err
	}},
	"DB.DeleteItem": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return e.db.DeleteItem(ctx, s, store.AreaUser, []string{"facts"}, "k")
	}},
	"DB.SearchItems": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, err := e.db.SearchItems(ctx, s, store.AreaUser, store.ItemQuery{Text: "ours"})
		return seen(found, err, anything)
	}},
	"DB.PutDocument": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		s.Role = auth.RoleAdmin
		return e.db.PutDocument(ctx, s, store.Document{Slug: "theirs", Title: "Theirs", Body: "x"})
	}},
	"DB.Document": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.Document(ctx, s, "ours")
		return err
	}},
	"DB.Documents": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, err := e.db.Documents(ctx, s, "", 10)
		return seen(found, err, func(d store.Document) bool { return d.Slug == "ours" })
	}},
	"DB.SearchDocuments": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, err := e.db.SearchDocuments(ctx, s, "secret handshake taps", 10)
		return seen(found, err, anything)
	}},
	"Searcher.Search": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, err := store.NewSearcher(e.db, toHit).Search(ctx, s, "secret handshake taps", 10)
		return seen(found, err, anything)
	}},
	"Memory.Put": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return store.NewMemory(e.db, toItem).Put(ctx, s, builtin.FactsNamespace(e.mia), "k", json.RawMessage(`1`))
	}},
	"Memory.Search": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := store.NewMemory(e.db, toItem).Search(ctx, s, builtin.FactsNamespace(e.mia), "", 1)
		return err
	}},
	"Idempotency.Begin": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		claim, answer, err := e.db.Idempotency().Begin(ctx, s, "key", []byte("hash"))
		if err == nil && (claim == "" || answer != nil) {
			return fmt.Errorf("the key of another organisation is taken: %v", answer)
		}
		return err
	}},
	"Idempotency.Finish": {fault.KindConflict, func(ctx context.Context, e *estate, s auth.Scope) error {
		return e.db.Idempotency().Finish(ctx, s, "key", e.claim, kept)
	}},
	"Idempotency.Abandon": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		return e.db.Idempotency().Abandon(ctx, s, "key", e.claim)
	}},
}

func both(e *estate, call func(agents.Thread) error) error {
	if err := call(e.shared); !fault.Is(err, fault.KindNotFound) {
		return fmt.Errorf("on the shared thread: %w", err)
	}
	return call(e.private)
}

func cancelled(r agents.Run) (event.Envelope, error) { return envelope(r.Thread, "cancelled"), nil }

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
	for _, table := range []string{"api_keys", "assistants", "checkpoints", "documents", "events", "idempotency_keys", "invitations", "lines",
		"memberships", "messages", "runs", "sessions", "store_items", "thread_heads", "threads"} {
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

// TestMethodsRefuseAScopeThatNamesNobody calls each method with a scope that
// lacks a part.
func TestMethodsRefuseAScopeThatNamesNobody(t *testing.T) {
	e := furnish(t)
	before := e.picture(t)
	for name, row := range trespasses {
		if name == "DB.CreateInvitation" || name == "DB.PutDocument" || name == "DB.RevokeInvitation" {
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
	key.Key, key.KeyScopes = auth.KeyID(id.New()), []auth.KeyScope{auth.ScopeChat}
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
		_, err = e.db.CancelRun(ctx, s, e.private.ID, e.pending.ID, "x", cancelled)
		requireKind(t, fault.KindNotFound, err)
		requireKind(t, fault.KindNotFound, e.db.RenameThread(ctx, s, e.private.ID, "x"))
		requireKind(t, fault.KindNotFound, e.db.DeleteThread(ctx, s, e.private.ID))
		requireKind(t, fault.KindNotFound, e.db.DeleteThread(ctx, s, e.shared.ID))
		listed, err := e.db.Threads(ctx, s, agents.ThreadQuery{})
		require.NoError(t, err)
		require.Len(t, listed, 1, "an admin's right to read does not flood the list")
		require.Equal(t, e.shared.ID, listed[0].ID)
		// A run is found under its own thread alone.
		_, err = e.db.Run(ctx, s, e.shared.ID, e.pending.ID)
		requireKind(t, fault.KindNotFound, err)
		_, err = e.db.CancelRun(ctx, s, e.shared.ID, e.pending.ID, "x", cancelled)
		requireKind(t, fault.KindNotFound, err)
	}
	require.Empty(t, cmp.Diff(before, e.picture(t)))
	_, err := e.db.Submit(ctx, e.max, e.submission(e.shared.ID))
	require.NoError(t, err, "a shared thread is everyone's to write to")
	require.NoError(t, e.db.RenameThread(ctx, e.max, e.shared.ID, "Renamed"))
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
			sub.Queued = func(int) (event.Envelope, error) { return envelope(thread, "of "+string(s.Org)), nil }
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
	stopped, err := b.db.CancelRun(ctx, b.mia, thread, second, "stopped", cancelled)
	require.NoError(t, err)
	require.True(t, stopped.Ended)
	_, err = b.db.FinishRun(ctx, b.mia, leases[b.mia.Org], agents.Finish{Status: agents.RunSuccess})
	require.NoError(t, err)
	require.NoError(t, b.db.RenameThread(ctx, b.mia, thread, "renamed"))
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
		require.Len(t, rows, []int{5, 4}[i])
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
