package store_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
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
	review          agents.Review // open, on a thread of its own
	memory          agents.Memory // of mia
	delivery        agents.Delivery
	secret          agents.SealedSecret
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
	e.key = auth.APIKey{ID: auth.KeyID(id.New()), Org: e.mia.Org, User: e.mia.User, Name: "laptop", Prefix: "hdl_ours", Scopes: []auth.KeyScope{auth.ScopeRun}, CreatedAt: time.Now()}
	require.NoError(t, e.db.CreateAPIKey(ctx, e.mia, e.key))
	e.invitation = auth.Invitation{ID: auth.InvitationID(id.New()), Email: "new@acme.test", Role: auth.RoleMember, ExpiresAt: time.Now().Add(time.Hour)}
	require.NoError(t, e.db.CreateInvitation(ctx, e.ada, e.invitation, auth.Digest{1}))
	e.session = e.signIn(t, "acme/mia", 2)
	owner, off := e.ada, false
	owner.Role = auth.RoleOwner
	require.NoError(t, e.db.SetOrgSettings(ctx, owner, auth.OrgSettings{FourEyes: &off}))
	_, err = e.db.PutItem(ctx, e.mia, agents.AreaUser, agents.Item{Namespace: []string{"facts"}, Key: "k", Value: json.RawMessage(`"ours"`)})
	require.NoError(t, err)
	_, err = e.db.PutItem(ctx, e.mia, agents.AreaAPI, agents.Item{Namespace: []string{"facts"}, Key: "k", Value: json.RawMessage(`{"is":"ours"}`), Lifetime: time.Hour})
	require.NoError(t, err)
	e.delivery = e.told(t, e.mia)
	e.secret = agents.SealedSecret{ID: id.New(), Sealed: []byte("sealed")}
	_, err = e.db.AddWebhookSecret(ctx, e.ada, e.secret, time.Hour)
	require.NoError(t, err)
	require.NoError(t, e.db.PutDocument(ctx, e.ada, store.Document{Slug: "ours", Title: "Secret handshake", Body: "Three taps."}))
	e.review = e.ask(t, e.mia)
	require.NoError(t, e.db.Audit(ctx, e.ada, auth.AuditEntry{Action: "secret.told", ObjectKind: "secret", ObjectName: "handshake"}))
	e.memory = agents.Memory{Area: agents.AreaUser, Holder: agents.HolderID(e.mia.User)}
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

// ask makes a thread whose run waits for a review.
func (b *bundle) ask(t testing.TB, scope auth.Scope) agents.Review {
	t.Helper()
	thread := b.thread(t, scope, agents.VisibilityPrivate)
	lease, _ := b.start(t, scope, thread.ID)
	now := time.Now()
	r := agents.Review{ID: agents.ReviewID(id.New()), Interrupt: id.New(), CallID: "call", Requester: scope.User, Assistant: b.assistant.ID,
		AssistantVersion: 1, Tool: "send", Args: json.RawMessage(`{"to":"bob@example.com"}`), Allowed: agents.Decisions(), Reason: "because",
		Rule: "default", Effect: "outbound", CreatedAt: now, DueAt: now.Add(time.Hour)}
	step := text(thread.Line, 0, "asks", envelope(thread.ID, "review.requested"))
	step.Next, step.Interrupts = agents.DueNodes("tools"), []agents.Interrupt{{ID: r.Interrupt, Node: "tools", Kind: agents.ReviewAsked, Value: json.RawMessage(`{}`)}}
	step.Reviews = []agents.Review{r}
	require.NoError(t, b.db.ReserveCalls(t.Context(), scope, lease, thread.Line, []agents.Reservation{{Call: agents.ToolCall{ID: "other", Name: "send", Args: r.Args}}}))
	require.NoError(t, b.db.SendCall(t.Context(), scope, lease, thread.Line, agents.ToolCall{ID: "other", Name: "send", Args: r.Args}, 0))
	_, _, err := b.db.CommitStep(t.Context(), scope, lease, step, &agents.Finish{Status: agents.RunWaiting})
	require.NoError(t, err)
	made, err := b.db.Review(t.Context(), scope, r.ID)
	require.NoError(t, err)
	return made
}
