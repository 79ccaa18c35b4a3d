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

// raised gives a scope that names somebody an owner's rights where it is.
func raised(s auth.Scope) auth.Scope {
	if s.Check() == nil {
		s.Role = auth.RoleOwner
	}
	return s
}

// trespasses has a row for every method that takes a scope: a method without
// one fails the test below.
var trespasses = map[string]trespass{
	"DB.Audit": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		return e.db.Audit(ctx, s, auth.AuditEntry{Org: e.mia.Org, Actor: e.mia.User, Seq: 1, Action: "tea.drunk", ObjectKind: "tea"})
	}},
	"DB.Opened": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return both(e, func(t agents.Thread) error { return e.db.Opened(ctx, s, t, time.Now()) })
	}},
	"DB.AuditLog": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		page, err := e.db.AuditLog(ctx, asAdmin(s), auth.AuditQuery{})
		return seen(page.Rows, err, func(r auth.AuditRow) bool { return r.Org != s.Org })
	}},
	"DB.LastAudit": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		page, err := e.db.LastAudit(ctx, asAdmin(s), "secret.told")
		return seen(page.Rows, err, anything)
	}},
	"DB.AuditExport": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		var rows []auth.AuditRow
		err := e.db.AuditExport(ctx, asAdmin(s), auth.AuditQuery{}, 1000, func(r auth.AuditRow) error {
			rows = append(rows, r)
			return nil
		})
		return seen(rows, err, func(r auth.AuditRow) bool { return r.Org != s.Org })
	}},
	"DB.VerifyAudit": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		report, err := e.db.VerifyAudit(ctx, asAdmin(s), 0)
		if err == nil && !report.Holds() {
			return fmt.Errorf("the chain is broken: %+v", report)
		}
		return err
	}},
	"DB.APIKeys": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		for _, person := range []string{"", "mia"} {
			found, err := e.db.APIKeys(ctx, s, person)
			if err := seen(found, err, func(k auth.OwnedKey) bool { return k.Org != s.Org }); err != nil {
				return err
			}
		}
		return nil
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
	"DB.AssistantLines": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		s.Role = auth.RoleAdmin
		found, err := e.db.AssistantLines(ctx, s, agents.AssistantQuery{})
		return seen(found, err, func(a agents.AssistantLine) bool { return a.Org != s.Org || a.Name == "Ours" || a.Threads > 0 })
	}},
	"DB.AssistantNames": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, err := e.db.AssistantNames(ctx, s)
		return seen(slices.Collect(maps.Values(found)), err, func(name string) bool { return name == "Ours" })
	}},
	"DB.AssistantSaves": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		s.Role = auth.RoleAdmin
		_, err := e.db.AssistantSaves(ctx, s, e.assistant.ID)
		return err
	}},
	"DB.CreateAssistant": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		s.Role = auth.RoleAdmin
		a := e.assistant
		a.ID = agents.AssistantID(id.New()) // names of organisations in arguments count for nothing
		a.Org, a.Name = e.mia.Org, "Theirs"
		made, err := e.db.CreateAssistant(ctx, s, a, "")
		return seen([]agents.Assistant{made}, err, func(a agents.Assistant) bool { return a.Org != s.Org })
	}},
	"DB.SaveAssistant": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		s.Role = auth.RoleAdmin
		_, err := e.db.SaveAssistant(ctx, s, e.assistant, 1, "x")
		return err
	}},
	"DB.ActivateAssistant": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		s.Role = auth.RoleAdmin
		_, err := e.db.ActivateAssistant(ctx, s, e.assistant.ID, 1, 1)
		return err
	}},
	"DB.ArchiveAssistant": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		s.Role = auth.RoleAdmin
		return e.db.ArchiveAssistant(ctx, s, e.assistant.ID, true)
	}},
	"DB.ChangeAssistant": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.ChangeAssistant(ctx, raised(s), agents.AssistantChange{Assistant: e.assistant.ID, Comment: "x", Revive: true,
			Make: func(a agents.Assistant) (agents.Assistant, error) { return a, nil }})
		return err
	}},
	"DB.SearchAssistants": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, _, err := e.db.SearchAssistants(ctx, s, agents.AssistantSearch{Limit: 1000})
		return seen(found, err, func(a agents.Assistant) bool { return a.Org != s.Org || a.Name == "Ours" })
	}},
	"DB.CountAssistants": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		n, err := e.db.CountAssistants(ctx, s, agents.AssistantFilter{Name: "ours"})
		return seen(make([]struct{}, n), err, anything)
	}},
	"DB.AssistantVersions": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, total, err := e.db.AssistantVersions(ctx, s, e.assistant.ID, nil, 0, 0)
		return seen(append(found, make([]agents.Assistant, total)...), err, anything)
	}},
	"DB.OwnThreadsWith": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, err := e.db.OwnThreadsWith(ctx, s, e.assistant.ID, 100)
		return seen(found, err, anything)
	}},
	"DB.MoveThread": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return both(e, func(t agents.Thread) error { _, err := e.db.MoveThread(ctx, s, t.ID, 1, moved); return err })
	}},
	"DB.CommitStep": {fault.KindConflict, func(ctx context.Context, e *estate, s auth.Scope) error {
		finish := agents.Finish{Status: agents.RunSuccess, Events: []event.Envelope{envelope(e.private.ID, "x")}}
		_, _, err := e.db.CommitStep(ctx, s, e.running, text(e.private.Line, 1, "m1", envelope(e.private.ID, "x")), &finish)
		return err
	}},
	"DB.CommitSteps": {fault.KindConflict, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, _, err := e.db.CommitSteps(ctx, s, e.running, []agents.Step{text(e.private.Line, 1, "m1"), text(e.private.Line, 2, "m2", envelope(e.private.ID, "x"))}, nil)
		return err
	}},
	"DB.Pend": {fault.KindConflict, func(ctx context.Context, e *estate, s auth.Scope) error {
		return e.db.Pend(ctx, s, e.running, agents.PendingWrites{Line: e.private.Line, Step: 0, Pending: []agents.Pending{{Task: 0}}})
	}},
	"DB.SubLine": {fault.KindConflict, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.SubLine(ctx, s, e.running, agents.SubLine{Line: agents.LineID(id.New()), NS: []string{"n:x"}, Parent: e.private.Line})
		return err
	}},
	"DB.StateAt": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return both(e, func(t agents.Thread) error {
			_, err := e.db.StateAt(ctx, s, t.ID, agents.CheckpointID(t.Line, 0))
			return err
		})
	}},
	"DB.StateOfStep": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return both(e, func(t agents.Thread) error {
			_, err := e.db.StateOfStep(ctx, s, t.ID, t.Line, 0, "")
			return err
		})
	}},
	"DB.StateOf": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return both(e, func(t agents.Thread) error {
			_, err := e.db.StateOf(ctx, s, agents.Claimed{Run: agents.Run{Org: t.Org, Thread: t.ID}, Head: &agents.Standing{Line: t.Line, Step: -1}})
			return err
		})
	}},
	"DB.EndState": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return both(e, func(t agents.Thread) error {
			_, err := e.db.EndState(ctx, s, agents.Run{Org: t.Org, Thread: t.ID, ID: e.pending.ID})
			return err
		})
	}},
	"DB.KnownAssistant": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, _ := e.db.KnownAssistant(ctx, s, string(e.assistant.ID))
		if s.Check() != nil || !id.Valid(string(s.Org)) || !id.Valid(string(s.User)) {
			if found.ID == "" {
				return fault.Unauthenticated("It knows none for such a scope.")
			}
		}
		if found.Org != "" && found.Org != s.Org {
			return fmt.Errorf("it shows what belongs to the other organisation: %+v", found)
		}
		return nil
	}},
	"DB.RunAnywhere": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.RunAnywhere(ctx, s, e.pending.ID)
		return err
	}},
	"DB.RunFirst": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.RunFirst(ctx, s, e.private.ID, e.pending.ID)
		return err
	}},
	"DB.History": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return both(e, func(t agents.Thread) error {
			_, err := e.db.History(ctx, s, t.ID, agents.HistoryQuery{Limit: 10})
			return err
		})
	}},
	"DB.Failures": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return both(e, func(t agents.Thread) error {
			_, err := e.db.Failures(ctx, s, t.ID, []agents.RunID{e.pending.ID})
			return err
		})
	}},
	"DB.Acquire": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		// The same id is free in their own organisation.
		if _, err := e.db.Acquire(ctx, s, e.private.ID); err != nil {
			return err
		}
		return e.db.DeleteThread(ctx, s, e.private.ID)
	}},
	"DB.Fork": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.Fork(ctx, s, e.running, agents.CheckpointID(e.private.Line, 0))
		return err
	}},
	"DB.CopyThread": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return both(e, func(t agents.Thread) error { return e.db.CopyThread(ctx, s, t.ID, agents.ThreadID(id.New())) })
	}},
	"DB.RetireThread": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		for _, t := range []agents.Thread{e.private, e.shared} {
			for _, how := range []agents.RetentionStrategy{agents.DeleteThread, agents.KeepLatest} {
				done, err := e.db.RetireThread(ctx, s, t.ID, how)
				if err := seen([]bool{done}, err, func(done bool) bool { return done }); err != nil {
					return err
				}
			}
		}
		return nil
	}},
	"DB.PatchThread": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return both(e, func(t agents.Thread) error {
			_, err := e.db.PatchThread(ctx, s, t.ID, agents.ThreadPatch{Metadata: json.RawMessage(`{"theirs":1}`)})
			return err
		})
	}},
	"DB.SearchThreads": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		for _, q := range []agents.ThreadSearch{{}, {IDs: []agents.ThreadID{e.private.ID, e.shared.ID}}, {Status: agents.ThreadInterrupted}} {
			q.Limit, q.States = 100, agents.WholeState
			found, _, err := e.db.SearchThreads(ctx, s, q)
			err = seen(found, err, func(t agents.FoundThread) bool {
				return t.Org != s.Org || t.ID == e.private.ID || t.ID == e.shared.ID || t.ID == e.review.Thread
			})
			if err != nil {
				return err
			}
		}
		return nil
	}},
	"DB.CountThreads": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		n, err := e.db.CountThreads(ctx, s, agents.ThreadSearch{IDs: []agents.ThreadID{e.private.ID, e.shared.ID}})
		return seen([]int{n}, err, func(n int) bool { return n > 0 })
	}},
	"DB.Outline": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return both(e, func(t agents.Thread) error { _, err := e.db.Outline(ctx, s, t.ID); return err })
	}},
	"DB.PruneThread": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return both(e, func(t agents.Thread) error { _, err := e.db.PruneThread(ctx, s, t.ID, 1); return err })
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
	"DB.Checkpoints": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return both(e, func(t agents.Thread) error { _, err := e.db.Checkpoints(ctx, s, t.ID, 20); return err })
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
	"DB.Askers": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, err := e.db.Askers(ctx, s, e.private.ID)
		return seen(slices.Collect(maps.Keys(found)), err, anything)
	}},
	"DB.Submit": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return both(e, func(t agents.Thread) error { _, err := e.db.Submit(ctx, s, e.submission(t.ID)); return err })
	}},
	"DB.EditQueued": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.EditQueued(ctx, s, e.private.ID, e.pending.ID, func(in agents.RunInput) (agents.RunInput, error) { return in, nil }, cancelled)
		return err
	}},
	"DB.SendNow": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.SendNow(ctx, s, e.private.ID, e.pending.ID, agents.Displacing{Ended: cancelled, Withdrawn: withdrawn}, cancelled)
		return err
	}},
	"DB.CancelRun": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.CancelRun(ctx, s, e.private.ID, e.pending.ID, "x", cancelled, withdrawn)
		return err
	}},
	"DB.TakeBack": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.TakeBack(ctx, s, e.private.ID, e.pending.ID, agents.Displacing{Ended: cancelled, Withdrawn: withdrawn}, cancelled)
		return err
	}},
	"DB.DeleteRun": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return e.db.DeleteRun(ctx, s, e.private.ID, e.pending.ID)
	}},
	"DB.Runs": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return both(e, func(t agents.Thread) error {
			_, _, err := e.db.Runs(ctx, s, t.ID, agents.RunQuery{Limit: 10})
			return err
		})
	}},
	"DB.RunsToCancel": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, err := e.db.RunsToCancel(ctx, s, []agents.RunStatus{agents.RunPending, agents.RunRunning}, 10)
		return seen(found, err, func(k agents.RunKey) bool { return k.Thread == e.private.ID || k.Thread == e.shared.ID })
	}},
	"DB.Older": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.Older(ctx, s, e.private.ID, agents.CheckpointID(e.private.Line, 0))
		return err
	}},
	"DB.Review": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		s = asOwner(s)
		_, err := e.db.Review(ctx, s, e.review.ID)
		return err
	}},
	"DB.Reviews": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		s = asOwner(s)
		found, err := e.db.Reviews(ctx, s, agents.ReviewQuery{})
		if err := seen(found, err, anything); err != nil {
			return err
		}
		found, err = e.db.Reviews(ctx, s, agents.ReviewQuery{Decided: true})
		return seen(found, err, anything)
	}},
	"DB.ReviewCount": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		s = asOwner(s)
		count, err := e.db.ReviewCount(ctx, s)
		return seen([]agents.ReviewCount{count}, err, func(c agents.ReviewCount) bool { return c.Open > 0 })
	}},
	"DB.OpenReviews": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		s = asOwner(s)
		return both(e, func(t agents.Thread) error { _, err := e.db.OpenReviews(ctx, s, t.ID); return err })
	}},
	"DB.ClaimReview": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		s = asOwner(s)
		_, err := e.db.ClaimReview(ctx, s, e.review.ID, true)
		return err
	}},
	"DB.ReleaseReview": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		s = asOwner(s)
		return e.db.ReleaseReview(ctx, s, e.review.ID)
	}},
	"DB.Decide": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		s = asOwner(s)
		_, err := e.db.Decide(ctx, s, []agents.Decision{{Review: e.review.ID, Kind: agents.Approve}}, withdrawn)
		return err
	}},
	"DB.ExpireReview": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.ExpireReview(ctx, s, e.review.ID, withdrawn)
		return err
	}},
	"DB.Resume": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return both(e, func(t agents.Thread) error { _, err := e.db.Resume(ctx, s, t.ID, agents.Answering{}); return err })
	}},
	"DB.UpdateState": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		return both(e, func(t agents.Thread) error {
			_, err := e.db.UpdateState(ctx, s, t.ID, agents.StateUpdate{Line: t.Line, At: 0, Step: text(t.Line, 1, "theirs")})
			return err
		})
	}},
	"DB.CallRecords": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, err := e.db.CallRecords(ctx, s, e.review.Line, []string{e.review.CallID})
		return seen(slices.Collect(maps.Keys(found)), err, anything)
	}},
	"DB.ReserveCalls": {fault.KindConflict, func(ctx context.Context, e *estate, s auth.Scope) error {
		return e.db.ReserveCalls(ctx, s, e.running, e.review.Line, []agents.Reservation{{Call: agents.ToolCall{ID: "call", Name: "send", Args: json.RawMessage(`{}`)}}})
	}},
	"DB.Outcomes": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, err := e.db.Outcomes(ctx, s, e.running.Thread, e.review.Line, e.running.Token, []string{e.review.CallID, "other"})
		return seen(slices.Collect(maps.Keys(found)), err, anything)
	}},
	"DB.SendCall": {fault.KindConflict, func(ctx context.Context, e *estate, s auth.Scope) error {
		return e.db.SendCall(ctx, s, e.running, e.review.Line, agents.ToolCall{ID: "call", Name: "send", Args: json.RawMessage(`{}`)}, 0)
	}},
	"DB.ConfirmCall": {fault.KindConflict, func(ctx context.Context, e *estate, s auth.Scope) error {
		return e.db.ConfirmCall(ctx, s, e.running, e.review.Line, "call", 0, nil)
	}},
	"DB.CreateInvitation": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		i := e.invitation
		i.ID = auth.InvitationID(id.New())
		i.Org = auth.Org{ID: e.mia.Org}             // names of organisations in arguments count for nothing
		s.User, s.Role = e.gus.User, auth.RoleAdmin // who is asked again at that moment
		return e.db.CreateInvitation(ctx, s, i, sha256.Sum256([]byte(i.ID)))
	}},
	"DB.RevokeInvitation": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		s.Role = auth.RoleAdmin
		return e.db.RevokeInvitation(ctx, s, e.invitation.ID, time.Now())
	}},
	"DB.Invitations": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, err := e.db.Invitations(ctx, raised(s), time.Now())
		return seen(found, err, func(i auth.Invitation) bool { return i.ID == e.invitation.ID })
	}},
	"DB.Members": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, _, err := e.db.Members(ctx, raised(s), auth.MemberQuery{})
		return seen(found, err, func(m auth.Member) bool { return m.User != e.gia.User && m.User != e.gus.User })
	}},
	"DB.Member": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.Member(ctx, raised(s), e.mia.User)
		return err
	}},
	"DB.SetRole": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.SetRole(ctx, raised(s), e.mia.User, auth.RoleReviewer)
		return err
	}},
	"DB.RemoveMember": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.RemoveMember(ctx, raised(s), e.mia.User, time.Now())
		return err
	}},
	"DB.LeaveOrg": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		if s.User != "" {
			s.User = e.mia.User // as if a person were a member wherever a scope says so
		}
		_, err := e.db.LeaveOrg(ctx, s, time.Now())
		return err
	}},
	"DB.OrgSettings": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, err := e.db.OrgSettings(ctx, s)
		return seen([]auth.OrgSettings{found}, err, func(o auth.OrgSettings) bool { return !o.RequiresFourEyes() })
	}},
	"DB.SetOrgSettings": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		on := true
		return e.db.SetOrgSettings(ctx, raised(s), auth.OrgSettings{FourEyes: &on})
	}},
	"DB.RenameOrg": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		return e.db.RenameOrg(ctx, raised(s), "Theirs")
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
	"DB.RefreshItem": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.RefreshItem(ctx, s, agents.AreaAPI, []string{"facts"}, "k")
		return err
	}},
	"DB.FindItems": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		for _, words := range []string{"", "ours"} {
			found, err := e.db.FindItems(ctx, s, agents.AreaAPI, store.ItemSearch{Words: words, Limit: 10, Refresh: true})
			if err := seen(found, err, anything); err != nil {
				return err
			}
		}
		return nil
	}},
	"DB.Namespaces": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, err := e.db.Namespaces(ctx, s, agents.AreaAPI, store.NamespaceQuery{Limit: 10})
		return seen(found, err, anything)
	}},
	"DB.Deliveries": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, total, err := e.db.Deliveries(ctx, asAdmin(s), "", 10, 0)
		if err == nil && total != 0 {
			return fmt.Errorf("it counts %d of the other organisation", total)
		}
		return seen(found, err, anything)
	}},
	"DB.RequeueDelivery": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.RequeueDelivery(ctx, asAdmin(s), e.delivery.ID)
		return err
	}},
	"DB.WebhookSecrets": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, err := e.db.WebhookSecrets(ctx, asAdmin(s))
		return seen(found, err, func(x agents.SealedSecret) bool { return x.ID == e.secret.ID })
	}},
	"DB.AddWebhookSecret": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		found, err := e.db.AddWebhookSecret(ctx, asAdmin(s), agents.SealedSecret{ID: id.New(), Sealed: []byte("theirs")}, time.Hour)
		return seen(found, err, func(x agents.SealedSecret) bool { return x.ID == e.secret.ID })
	}},
	"DB.Holdings": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		s = asAdmin(s)
		found, err := e.db.Holdings(ctx, s, agents.AreaUser, agents.HoldingCursor{}, 0)
		return seen(found, err, func(h agents.Holding) bool { return e.memory.Holder == h.Holder || h.Items > 1 })
	}},
	"DB.Memory": {fault.KindNotFound, func(ctx context.Context, e *estate, s auth.Scope) error {
		_, err := e.db.Memory(ctx, s, e.memory, agents.MemoryQuery{})
		return err
	}},
	"DB.SearchMemories": {"", func(ctx context.Context, e *estate, s auth.Scope) error {
		s = asAdmin(s)
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

// asAdmin raises a member: what an admin of another organisation could do.
func asAdmin(s auth.Scope) auth.Scope {
	if s.Role == auth.RoleMember {
		s.Role = auth.RoleAdmin
	}
	return s
}

func both(e *estate, call func(agents.Thread) error) error {
	if err := call(e.shared); !fault.Is(err, fault.KindNotFound) {
		return fmt.Errorf("on the shared thread: %w", err)
	}
	return call(e.private)
}

func moved(t agents.Thread, _ agents.Assistant) (event.Envelope, error) {
	return envelope(t.ID, "thread.changed"), nil
}

func cancelled(r agents.Run) (event.Envelope, error) { return envelope(r.Thread, "cancelled"), nil }

func withdrawn(r agents.Review, _ agents.RunID) (event.Envelope, error) {
	return envelope(r.Thread, "withdrawn"), nil
}

// asOwner raises a whole scope to the highest role of its organisation.
func asOwner(s auth.Scope) auth.Scope {
	if s.Role.Valid() {
		s.Role = auth.RoleOwner
	}
	return s
}
