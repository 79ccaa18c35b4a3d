package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

// MaxAssistantLines bounds one reading of the list of assistants.
const MaxAssistantLines = 200

// sqlAssistantLines counts the threads of all assistants at once: one walk over
// the organisation's threads, whatever the list selects.
const sqlAssistantLines = `with used as (
	select t.assistant_id, count(*)::int as threads from threads t
	where t.org_id = @org and t.assistant_id is not null group by t.assistant_id
)
select ` + assistantColumns + `, v.created_by as saved_by, coalesce(used.threads, 0) as threads
from assistants a
join assistant_versions v on v.org_id = a.org_id and v.assistant_id = a.id and v.version = a.active_version
left join used on used.assistant_id = a.id
where a.org_id = @org and (a.archived_at is not null) = @archived
	and (@text = '' or v.name ilike '%' || @text || '%' escape '\')
order by a.is_default, lower(v.name), a.id limit @limit`

type assistantLineRow struct {
	assistantRow
	SavedBy *string
	Threads int
}

// AssistantLines lists assistants for those who manage them: in use or archived,
// by name, the defaults of graphs last.
func (db *DB) AssistantLines(ctx context.Context, scope auth.Scope, q agents.AssistantQuery) ([]agents.AssistantLine, error) {
	if err := scope.Require(auth.PermManageAssistant); err != nil {
		return nil, err
	}
	if q.Limit < 1 || q.Limit > MaxAssistantLines {
		q.Limit = MaxAssistantLines
	}
	rows, err := many[assistantLineRow](ctx, db, scope, "listing assistants", sqlAssistantLines, named{
		"org": string(scope.Org), "archived": q.Archived, "text": escapeLike(q.Text), "limit": q.Limit})
	if err != nil {
		return nil, err
	}
	out := make([]agents.AssistantLine, len(rows))
	for i, r := range rows {
		out[i] = agents.AssistantLine{Assistant: r.assistant(), SavedBy: userOrNobody(r.SavedBy), Threads: r.Threads}
	}
	return out, nil
}

func userOrNobody(id *string) auth.UserID {
	if id == nil {
		return ""
	}
	return auth.UserID(*id)
}

const sqlAssistantNames = `select a.id, v.name from assistants a
	join assistant_versions v on v.org_id = a.org_id and v.assistant_id = a.id and v.version = a.active_version
	where a.org_id = @org order by a.updated_at desc, a.id limit 1000`

type assistantNameRow struct{ ID, Name string }

// AssistantNames gives what up to 1,000 assistants are called now, archived ones
// as well: their threads are still there.
func (db *DB) AssistantNames(ctx context.Context, scope auth.Scope) (map[agents.AssistantID]string, error) {
	rows, err := many[assistantNameRow](ctx, db, scope, "reading the names of assistants", sqlAssistantNames,
		named{"org": string(scope.Org)})
	if err != nil {
		return nil, err
	}
	out := make(map[agents.AssistantID]string, len(rows))
	for _, r := range rows {
		out[agents.AssistantID(r.ID)] = r.Name
	}
	return out, nil
}

const sqlAssistantSaves = `select v.version, v.name, v.comment, v.created_by as saved_by, v.created_at as saved_at,
	v.version = a.active_version as active
	from assistants a join assistant_versions v on v.org_id = a.org_id and v.assistant_id = a.id
	where a.org_id = @org and a.id = @id order by v.version desc limit @limit`

type assistantSaveRow struct {
	Version int
	Name    string
	Comment string
	SavedBy *string
	SavedAt time.Time
	Active  bool
}

// maxAssistantSaves bounds one reading of an assistant's history.
const maxAssistantSaves = 200

// AssistantSaves lists an assistant's newest versions, the newest first.
func (db *DB) AssistantSaves(ctx context.Context, scope auth.Scope, assistant agents.AssistantID) ([]agents.AssistantSave, error) {
	if err := scope.Require(auth.PermManageAssistant); err != nil {
		return nil, err
	}
	if !id.Valid(string(assistant)) {
		return nil, assistantNotFound()
	}
	rows, err := many[assistantSaveRow](ctx, db, scope, "listing an assistant's versions", sqlAssistantSaves, named{
		"org": string(scope.Org), "id": string(assistant), "limit": maxAssistantSaves})
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, assistantNotFound()
	}
	out := make([]agents.AssistantSave, len(rows))
	for i, r := range rows {
		out[i] = agents.AssistantSave{Version: r.Version, Name: r.Name, Comment: r.Comment, By: userOrNobody(r.SavedBy),
			At: r.SavedAt.UTC(), Active: r.Active}
	}
	return out, nil
}

func assistantNotFound() error { return fault.NotFound("Assistant") }

const sqlAssistantInsert = `insert into assistants (org_id, id, graph, active_version, created_by)
	values (@org, @id, @graph, 1, @user)`

const sqlAssistantNewVersion = `insert into assistant_versions (org_id, assistant_id, version, graph, name, description,
		config, context, metadata, comment, created_by)
	values (@org, @id, @version, @graph, @name, @description, @config, @context, @metadata, @comment, @user)`

// CreateAssistant makes an assistant with its first version and returns it. An
// empty id is chosen here, an empty comment says that it is the first version.
func (db *DB) CreateAssistant(ctx context.Context, scope auth.Scope, a agents.Assistant, comment string) (agents.Assistant, error) {
	if err := scope.Require(auth.PermManageAssistant); err != nil {
		return agents.Assistant{}, err
	}
	if err := a.Validate(); err != nil {
		return agents.Assistant{}, err
	}
	if strings.TrimSpace(comment) == "" {
		comment = "First version"
	}
	if err := agents.ValidateComment(comment); err != nil {
		return agents.Assistant{}, err
	}
	if a.ID == "" {
		a.ID = agents.AssistantID(id.New())
	}
	a.Version = 1
	var made agents.Assistant
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		args := versionArgs(scope, a, comment)
		var batch pgx.Batch
		batch.Queue(sqlAssistantInsert, args)
		batch.Queue(sqlAssistantNewVersion, args)
		if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
			if violates(err, codeUniqueViolation, "assistants_pkey") {
				return fault.Conflict("An assistant with this id exists already.").WithCode("assistant_exists").WithCause(err)
			}
			return translate(err)
		}
		var err error
		if made, err = readVersion(ctx, tx, scope, a.ID, 1); err != nil {
			return err
		}
		return appendAudit(tx, scope, assistantEntry("assistant.created", agents.Assistant{}, made))
	})
	if err != nil {
		return agents.Assistant{}, fmt.Errorf("creating an assistant: %w", err)
	}
	return made, nil
}

func versionArgs(scope auth.Scope, a agents.Assistant, comment string) named {
	return named{
		"org": string(scope.Org), "id": string(a.ID), "graph": a.Graph, "name": a.Name, "description": a.Description,
		"config": a.Config, "context": fieldsOrNone(a.Context), "metadata": orObject(a.Metadata), "comment": comment, "user": string(scope.User), "version": a.Version,
	}
}

// The active version is always the newest: every save, also of an older content,
// makes the next one and activates it.
const sqlAssistantLock = `select active_version, archived_at from assistants where org_id = @org and id = @id for update`

type assistantLockRow struct {
	ActiveVersion int
	ArchivedAt    *time.Time
}

// lockAssistant locks an assistant for the rest of the transaction and reads its
// active version.
func lockAssistant(ctx context.Context, tx pgx.Tx, scope auth.Scope, assistant agents.AssistantID) (assistantLockRow, agents.Assistant, error) {
	if !id.Valid(string(assistant)) {
		return assistantLockRow{}, agents.Assistant{}, assistantNotFound()
	}
	row, err := pgxOne[assistantLockRow](ctx, tx, sqlAssistantLock, named{"org": string(scope.Org), "id": string(assistant)})
	if errors.Is(err, pgx.ErrNoRows) {
		return row, agents.Assistant{}, assistantNotFound()
	}
	if err != nil {
		return row, agents.Assistant{}, fmt.Errorf("locking an assistant: %w", err)
	}
	active, err := readVersion(ctx, tx, scope, assistant, row.ActiveVersion)
	return row, active, err
}

func readVersion(ctx context.Context, tx pgx.Tx, scope auth.Scope, assistant agents.AssistantID, version int) (agents.Assistant, error) {
	row, err := pgxOne[assistantRow](ctx, tx, sqlAssistantVersion, named{
		"org": string(scope.Org), "id": string(assistant), "version": version})
	if errors.Is(err, pgx.ErrNoRows) {
		return agents.Assistant{}, assistantNotFound()
	}
	if err != nil {
		return agents.Assistant{}, fmt.Errorf("reading a version: %w", translate(err))
	}
	return row.assistant(), nil
}

const sqlAssistantUse = `update assistants set active_version = @version, updated_at = now(),
	archived_at = case when not @revive then archived_at end where org_id = @org and id = @id`

// SaveAssistant saves a's words and configuration as a new version and makes it
// the active one. base is the version the change was made on: if it is no longer
// the active one, nothing happens and the conflict has the code
// [agents.CodeAssistantChanged]. The graph stays what it is, since the states of
// threads belong to it, and so does what no form shows: context and metadata.
func (db *DB) SaveAssistant(ctx context.Context, scope auth.Scope, a agents.Assistant, base int, comment string) (agents.Assistant, error) {
	if err := agents.ValidateComment(comment); err != nil {
		return agents.Assistant{}, err
	}
	return db.nextVersion(ctx, scope, a.ID, save{base: base, action: "assistant.saved", comment: comment,
		content: func(_ context.Context, _ pgx.Tx, active agents.Assistant) (agents.Assistant, error) {
			a.Graph, a.Context, a.Metadata = active.Graph, active.Context, active.Metadata
			return a, a.Validate()
		}})
}

// ActivateAssistant saves the content of an earlier version as a new one and
// makes it the active one. base is as for [DB.SaveAssistant].
func (db *DB) ActivateAssistant(ctx context.Context, scope auth.Scope, assistant agents.AssistantID, version, base int) (agents.Assistant, error) {
	return db.nextVersion(ctx, scope, assistant, save{base: base, action: "assistant.activated", comment: fmt.Sprintf("Version %d again", version),
		content: func(ctx context.Context, tx pgx.Tx, active agents.Assistant) (agents.Assistant, error) {
			if version == active.Version {
				return agents.Assistant{}, fault.Conflict(fmt.Sprintf("Version %d is the one in use.", version))
			}
			earlier, err := readVersion(ctx, tx, scope, assistant, version)
			earlier.Config = earlier.Chosen
			return earlier, err
		}})
}

// ChangeAssistant saves what c makes of the version in use, whichever that is,
// as a new one: of two who change at once the second changes what the first
// made. The graph stays what it is.
func (db *DB) ChangeAssistant(ctx context.Context, scope auth.Scope, c agents.AssistantChange) (agents.Assistant, error) {
	if err := agents.ValidateComment(c.Comment); err != nil {
		return agents.Assistant{}, err
	}
	return db.nextVersion(ctx, scope, c.Assistant, save{whichever: true, action: "assistant.saved", comment: c.Comment, revive: c.Revive,
		content: func(_ context.Context, _ pgx.Tx, active agents.Assistant) (agents.Assistant, error) {
			if active.Archived() && !c.Revive {
				return agents.Assistant{}, assistantNotFound()
			}
			next, err := c.Make(active)
			if err != nil {
				return agents.Assistant{}, err
			}
			next.Graph = active.Graph
			return next, next.Validate()
		}})
}

// save is how a version comes to be.
type save struct {
	// base is the version that must be in use, unless whichever is will do.
	base            int
	whichever       bool
	action, comment string
	// revive takes an archived assistant back into use.
	revive  bool
	content func(context.Context, pgx.Tx, agents.Assistant) (agents.Assistant, error)
}

// nextVersion adds a version under the assistant's lock.
func (db *DB) nextVersion(ctx context.Context, scope auth.Scope, assistant agents.AssistantID, s save) (agents.Assistant, error) {
	if err := scope.Require(auth.PermManageAssistant); err != nil {
		return agents.Assistant{}, err
	}
	var saved agents.Assistant
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		lock, active, err := lockAssistant(ctx, tx, scope, assistant)
		if err != nil {
			return err
		}
		if !s.whichever && lock.ActiveVersion != s.base {
			return fault.Conflict(fmt.Sprintf("Somebody saved version %d of this assistant in the meantime.", lock.ActiveVersion)).
				WithCode(agents.CodeAssistantChanged)
		}
		next, err := s.content(ctx, tx, active)
		if err != nil {
			return err
		}
		next.ID, next.Version = assistant, lock.ActiveVersion+1
		args := versionArgs(scope, next, s.comment)
		args["revive"] = s.revive
		var batch pgx.Batch
		batch.Queue(sqlAssistantNewVersion, args)
		batch.Queue(sqlAssistantUse, args)
		if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
			return translate(err)
		}
		if saved, err = readVersion(ctx, tx, scope, assistant, next.Version); err != nil {
			return err
		}
		if active.Archived() && s.revive {
			if err := appendAudit(tx, scope, archiveEntry(active, false)); err != nil {
				return err
			}
		}
		return appendAudit(tx, scope, assistantEntry(s.action, active, saved))
	})
	if err != nil {
		return agents.Assistant{}, fmt.Errorf("saving an assistant: %w", err)
	}
	return saved, nil
}

// fieldsOrNone is an object in any case.
func fieldsOrNone(fields map[string]json.RawMessage) map[string]json.RawMessage {
	if fields == nil {
		return map[string]json.RawMessage{}
	}
	return fields
}

const sqlAssistantArchive = `update assistants set archived_at = case when @archived then now() end, updated_at = now()
	where org_id = @org and id = @id`

// ArchiveAssistant takes an assistant out of use for new threads, or back into
// it. The threads it has go on. What is so already stays as it is.
func (db *DB) ArchiveAssistant(ctx context.Context, scope auth.Scope, assistant agents.AssistantID, archived bool) error {
	if err := scope.Require(auth.PermManageAssistant); err != nil {
		return err
	}
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		lock, active, err := lockAssistant(ctx, tx, scope, assistant)
		if err != nil || (lock.ArchivedAt != nil) == archived {
			return err
		}
		if _, err := tx.Exec(ctx, sqlAssistantArchive, named{
			"org": string(scope.Org), "id": string(assistant), "archived": archived}); err != nil {
			return translate(err)
		}
		return appendAudit(tx, scope, archiveEntry(active, archived))
	})
	if err != nil {
		return fmt.Errorf("archiving an assistant: %w", err)
	}
	return nil
}

// archiveEntry records that an assistant was taken out of use or back into it.
func archiveEntry(a agents.Assistant, archived bool) auth.AuditEntry {
	action := "assistant.restored"
	if archived {
		action = "assistant.archived"
	}
	return auth.AuditEntry{Action: action, ObjectKind: "assistant", ObjectID: string(a.ID), ObjectName: a.Name}
}

// assistantEntry records what a save changed: the fields that differ, with both
// versions' numbers.
func assistantEntry(action string, before, after agents.Assistant) auth.AuditEntry {
	e := auth.AuditEntry{Action: action, ObjectKind: "assistant", ObjectID: string(after.ID), ObjectName: after.Name}
	was, is := assistantFields(before), assistantFields(after)
	for name, value := range is {
		if string(was[name]) == string(value) {
			delete(was, name)
			delete(is, name)
		}
	}
	e.After = event.Data(is)
	if before.Version > 0 {
		e.Before = event.Data(was)
	}
	return e
}

// assistantFields gives everything a version holds, by name.
func assistantFields(a agents.Assistant) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	if a.Version == 0 {
		return out
	}
	if json.Unmarshal(event.Data(a.Config), &out) != nil {
		out = map[string]json.RawMessage{} // a configuration always renders as an object
	}
	for name, value := range map[string]any{"version": a.Version, "name": a.Name, "description": a.Description, "graph": a.Graph} {
		out[name] = event.Data(value)
	}
	out["context"], out["metadata"] = event.Data(fieldsOrNone(a.Context)), orObject(a.Metadata)
	return out
}

const sqlThreadMove = `update threads set assistant_version = @version, updated_at = now() where org_id = @org and id = @id`

// MoveThread moves a thread on purpose to another version of its assistant: its
// next run executes that one. The scope must be able to write to the thread.
// moved builds the event that tells watchers, from the thread and the version it
// has now.
func (db *DB) MoveThread(ctx context.Context, scope auth.Scope, thread agents.ThreadID, version int,
	moved func(agents.Thread, agents.Assistant) (event.Envelope, error)) (agents.Moved, error) {
	if err := scope.Require(auth.PermRun); err != nil {
		return agents.Moved{}, err
	}
	var out agents.Moved
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		t, err := lockThread(ctx, tx, scope, thread)
		if err != nil {
			return err
		}
		if t.Assistant == "" {
			return fault.Conflict("This thread has no assistant yet: its first message chooses one.")
		}
		to, err := readVersion(ctx, tx, scope, t.Assistant, version)
		if fault.Is(err, fault.KindNotFound) {
			return fault.Invalid("version", "is not a version of this thread's assistant").WithCause(err)
		}
		if err != nil || t.AssistantVersion == version {
			return err
		}
		if _, err := tx.Exec(ctx, sqlThreadMove, named{"org": string(scope.Org), "id": string(thread), "version": version}); err != nil {
			return translate(err)
		}
		before := t.AssistantVersion
		t.AssistantVersion = version
		if out.Event, err = moved(t, to); err != nil {
			return err
		}
		appended, err := db.appendEvents(ctx, tx, scope, thread, "", []event.Envelope{out.Event})
		if err != nil {
			return err
		}
		out.Position = agents.Position{Seq: appended.Base + 1, Epoch: appended.Epoch}
		return appendAudit(tx, scope, auth.AuditEntry{
			Action: "thread.assistant_moved", ObjectKind: "thread", ObjectID: string(thread), ObjectName: t.Title,
			Before: auditDetail(map[string]any{"assistant_id": t.Assistant, "version": before}),
			After:  auditDetail(map[string]any{"assistant_id": t.Assistant, "version": version}),
		})
	})
	if err != nil {
		return agents.Moved{}, fmt.Errorf("moving a thread: %w", err)
	}
	return out, nil
}
