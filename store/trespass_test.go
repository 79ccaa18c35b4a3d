package store_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/tool/builtin"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
	"github.com/heddle/heddle/store"
)

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
	"DB.ClaimDomain": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		s.Role = auth.RoleOwner
		claim, err := e.db.ClaimDomain(ctx, s, "claimed.example")
		return seen([]auth.OrgDomain{claim}, err, func(d auth.OrgDomain) bool { return d.Org != s.Org })
	}},
	"DB.ProveDomainByDNS": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		s.Role = auth.RoleOwner
		return e.db.ProveDomainByDNS(ctx, s, auth.OrgDomain{Org: e.mia.Org, Domain: "acme.example", Token: "t"}, time.Now())
	}},
	"DB.Names": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		names, err := e.db.Names(ctx, s)
		return seen(slices.Collect(maps.Keys(names)), err, func(u auth.UserID) bool { return u != e.gia.User && u != e.gus.User })
	}},
	"DB.SetTheme": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		return e.db.SetTheme(ctx, s, "dark")
	}},
	"DB.SetName": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		return e.db.SetName(ctx, s, "Theirs")
	}},
	"DB.SetLocale": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		return e.db.SetLocale(ctx, s, "en")
	}},
	"DB.SetLetterKeys": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		return e.db.SetLetterKeys(ctx, s, false)
	}},
	"DB.RevokeOtherSessions": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		ended, err := e.db.RevokeOtherSessions(ctx, s, time.Now())
		return seen(ended, err, func(x auth.SessionID) bool { return x == e.session.ID })
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
		return both(e, func(t agents.Thread) error { return rename(ctx, e.db, s, t.ID, "x") })
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
		return e.db.CreateInvitation(ctx, s, i, sha256.Sum256([]byte(s.User)))
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
		_, err := e.db.PutItem(ctx, s, agents.AreaUser, agents.Item{Namespace: []string{"facts"}, Key: "theirs", Value: json.RawMessage(`1`)})
		return err
	}},
	"DB.Item": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.Item(ctx, s, agents.AreaUser, []string{"facts"}, "k")
		return err
	}},
	"DB.DeleteItem": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return e.db.DeleteItem(ctx, s, agents.AreaUser, []string{"facts"}, "k")
	}},
	"DB.SearchItems": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, err := e.db.SearchItems(ctx, s, agents.AreaUser, store.ItemQuery{Text: "ours"})
		return seen(found, err, anything)
	}},
	"DB.Holdings": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		s.Role = raised(s.Role)
		found, err := e.db.Holdings(ctx, s, agents.AreaUser, agents.HoldingCursor{}, 0)
		return seen(found, err, func(h agents.Holding) bool { return e.memory.Holder == h.Holder || h.Items > 1 })
	}},
	"DB.Memory": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.Memory(ctx, s, e.memory, agents.MemoryQuery{})
		return err
	}},
	"DB.SearchMemories": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		s.Role = raised(s.Role)
		found, err := e.db.SearchMemories(ctx, s, agents.AreaUser, agents.MemoryQuery{Text: "ours"})
		return seen(found, err, anything)
	}},
	"DB.MemoryItem": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.MemoryItem(ctx, s, agents.ItemRef{Memory: e.memory, Namespace: []string{"facts"}, Key: "k"})
		return err
	}},
	"DB.ExportMemory": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.ExportMemory(ctx, s, e.memory)
		return err
	}},
	"DB.EditItem": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return e.db.EditItem(ctx, s, agents.ItemRef{Memory: e.memory, Namespace: []string{"facts"}, Key: "k"}, json.RawMessage(`1`), time.Now())
	}},
	"DB.RemoveItem": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return e.db.RemoveItem(ctx, s, agents.ItemRef{Memory: e.memory, Namespace: []string{"facts"}, Key: "k"})
	}},
	"DB.Forget": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.Forget(ctx, s, e.memory)
		return err
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
		return store.NewMemory(e.db, toItem).Put(ctx, s, builtin.FactsNamespace(e.mia), "k", json.RawMessage(`1`), agents.Source{})
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

// raised is an admin's role for whoever has one at all.
func raised(r auth.Role) auth.Role {
	if r.Valid() {
		return auth.RoleAdmin
	}
	return r
}

func both(e *estate, call func(agents.Thread) error) error {
	if err := call(e.shared); !fault.Is(err, fault.KindNotFound) {
		return fmt.Errorf("on the shared thread: %w", err)
	}
	return call(e.private)
}

func cancelled(r agents.Run) (event.Envelope, error) { return envelope(r.Thread, "cancelled"), nil }
