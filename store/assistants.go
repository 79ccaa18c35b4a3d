package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/fault"
	"github.com/heddle/heddle/internal/id"
)

type assistantRow struct {
	OrgID       string
	ID          string
	Graph       string
	Version     int
	Name        string
	Description string
	Config      agents.AssistantConfig
	Context     map[string]json.RawMessage
	Metadata    json.RawMessage
	IsDefault   bool
	CreatedAt   time.Time
	UpdatedAt   time.Time
	ArchivedAt  *time.Time
}

func (r assistantRow) assistant() agents.Assistant {
	out := agents.Assistant{
		ID: agents.AssistantID(r.ID), Org: auth.OrgID(r.OrgID), Graph: r.Graph, Version: r.Version, Name: r.Name,
		Description: r.Description, Config: r.Config.Defaults(), Chosen: r.Config, Context: r.Context, Metadata: r.Metadata, IsDefault: r.IsDefault,
		CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
	}
	if r.ArchivedAt != nil {
		out.ArchivedAt = r.ArchivedAt.UTC()
	}
	return out
}

const assistantColumns = `a.org_id, a.id, v.graph, v.version, v.name, v.description, v.config, v.context, v.metadata,
	a.is_default, a.created_at, v.created_at as updated_at, a.archived_at`

const assistantActive = ` from assistants a join assistant_versions v
	on v.org_id = a.org_id and v.assistant_id = a.id and v.version = a.active_version
	where a.org_id = @org`

const sqlAssistants = `select ` + assistantColumns + assistantActive + ` and a.archived_at is null
	order by a.is_default, a.created_at, a.id`

// Assistants lists the organisation's assistants in their active versions,
// those that people made before the defaults of graphs. Archived ones, which
// new threads can't begin with, are left out.
func (db *DB) Assistants(ctx context.Context, scope auth.Scope) ([]agents.Assistant, error) {
	rows, err := many[assistantRow](ctx, db, scope, "listing assistants", sqlAssistants,
		named{"org": string(scope.Org)})
	if err != nil {
		return nil, err
	}
	out := make([]agents.Assistant, len(rows))
	for i, r := range rows {
		out[i] = r.assistant()
	}
	return out, nil
}

const sqlAssistantByID = `select ` + assistantColumns + assistantActive + ` and a.id = @id`

const sqlAssistantByGraph = `select ` + assistantColumns + assistantActive + ` and a.is_default and a.graph = @graph`

// Assistant finds an assistant in its active version by its id or, since the API
// allows a graph's name wherever an assistant's id stands, the default assistant
// of that graph. An archived one is found too: the threads it has go on.
func (db *DB) Assistant(ctx context.Context, scope auth.Scope, idOrGraph string) (agents.Assistant, error) {
	sql, args := sqlAssistantByGraph, named{"org": string(scope.Org), "graph": idOrGraph}
	if canonical, ok := id.Canonical(idOrGraph); ok {
		sql, args = sqlAssistantByID, named{"org": string(scope.Org), "id": canonical}
	}
	row, err := one[assistantRow](ctx, db, scope, "Assistant", "reading an assistant", sql, args)
	if err != nil {
		return agents.Assistant{}, err
	}
	found := row.assistant()
	db.known.put(knownKey{scope.Org, idOrGraph}, found)
	return found, nil
}

// knownKey is what an assistant was asked for as.
type knownKey struct {
	org       auth.OrgID
	idOrGraph string
}

// KnownAssistant is Assistant as it was when this process last read it, and false if
// it never did. Whoever begins something with it has its version checked where that
// is written.
func (db *DB) KnownAssistant(_ context.Context, scope auth.Scope, idOrGraph string) (agents.Assistant, bool) {
	if checkScope(scope) != nil {
		return agents.Assistant{}, false
	}
	found, ok := db.known.get(knownKey{scope.Org, idOrGraph})
	return found, ok && !found.Archived()
}

const sqlAssistantVersion = `select ` + assistantColumns + ` from assistants a join assistant_versions v
	on v.org_id = a.org_id and v.assistant_id = a.id
	where a.org_id = @org and a.id = @id and v.version = @version`

// AssistantVersion reads one immutable version, whether active or not.
func (db *DB) AssistantVersion(ctx context.Context, scope auth.Scope, assistant agents.AssistantID, version int) (agents.Assistant, error) {
	if err := checkScope(scope); err != nil {
		return agents.Assistant{}, err
	}
	key := versionKey{scope.Org, assistant, version}
	if kept, ok := db.versions.get(key); ok {
		return kept, nil
	}
	row, err := one[assistantRow](ctx, db, scope, "Assistant", "reading an assistant's version", sqlAssistantVersion,
		named{"org": string(scope.Org), "id": string(assistant), "version": version})
	if err != nil {
		return agents.Assistant{}, err
	}
	return db.keepVersion(row), nil
}

// keepVersion remembers a version, which never changes; what can change of its
// assistant is left out.
func (db *DB) keepVersion(row assistantRow) agents.Assistant {
	kept := row.assistant()
	kept.ArchivedAt = time.Time{}
	db.versions.put(versionKey{kept.Org, kept.ID, kept.Version}, kept)
	return kept
}

// versionFor chooses the version that a run on a locked thread executes: the one
// the thread keeps if it has this assistant already, else the active one, which
// must not be archived (LG-08).
func (db *DB) versionFor(ctx context.Context, tx pgx.Tx, scope auth.Scope, t agents.Thread, a agents.Assistant) (agents.Assistant, error) {
	switch {
	case t.Assistant != a.ID && a.Archived():
		return agents.Assistant{}, fault.NotFound("Assistant")
	case t.Assistant != a.ID || t.AssistantVersion == a.Version:
		return a, nil
	}
	if kept, ok := db.versions.get(versionKey{scope.Org, a.ID, t.AssistantVersion}); ok {
		return kept, nil
	}
	row, err := pgxOne[assistantRow](ctx, tx, sqlAssistantVersion, named{
		"org": string(scope.Org), "id": string(a.ID), "version": t.AssistantVersion})
	if err != nil {
		return agents.Assistant{}, fmt.Errorf("reading the version a thread keeps: %w", translate(err))
	}
	return db.keepVersion(row), nil
}

// sqlAssistantEnsure makes an assistant with its first version unless it is
// there; an existing one is left as people have changed it.
const sqlAssistantEnsure = `with made as (
	insert into assistants (org_id, id, graph, active_version, is_default)
	values (@org, @id, @graph, 1, @is_default) on conflict do nothing returning org_id, id
)
insert into assistant_versions (org_id, assistant_id, version, graph, name, description, config, metadata, comment)
select org_id, id, 1, @graph, @name, @description, @config, @metadata, 'First version' from made`

// EnsureAssistant makes an assistant the product ships with: the default of
// each graph, and the demo's. What exists stays as it is.
func (db *DB) EnsureAssistant(ctx context.Context, scope auth.Scope, a agents.Assistant) error {
	if err := a.Config.Validate(); err != nil {
		return err
	}
	if a.Metadata == nil {
		a.Metadata = json.RawMessage(`{"created_by":"system"}`)
	}
	_, err := db.exec(ctx, scope, "making a default assistant", sqlAssistantEnsure, named{
		"org": string(scope.Org), "id": string(a.ID), "graph": a.Graph, "is_default": a.IsDefault, "name": a.Name,
		"description": a.Description, "config": a.Config, "metadata": a.Metadata,
	})
	return err
}
