package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/internal/id"
)

// MaxAssistantPage bounds one reading of a list of assistants or versions.
const MaxAssistantPage = 1000

// assistantsAsked are the assistants in use that a filter selects.
const assistantsAsked = assistantActive + ` and a.archived_at is null and v.metadata @> @metadata::jsonb
	and (@graph = '' or v.graph = @graph) and (@name = '' or v.name ilike '%' || @name || '%' escape '\')`

// sqlAssistantSearch sorts by one text whatever it is asked for, times written
// so that they sort as such; equals stand in the order of their ids.
const sqlAssistantSearch = `select found.* from (
	select ` + assistantColumns + `, case @sort
		when 'name' then lower(v.name) when 'graph_id' then v.graph when 'assistant_id' then a.id::text
		when 'updated_at' then to_char(v.created_at at time zone 'UTC', 'YYYYMMDDHH24MISSUS')
		else to_char(a.created_at at time zone 'UTC', 'YYYYMMDDHH24MISSUS') end as key` + assistantsAsked + `
) found order by case when @ascending then found.key end, case when not @ascending then found.key end desc,
	case when @ascending then found.id end, found.id desc limit @limit offset @offset`

const sqlAssistantCount = `select count(*)::int as n` + assistantsAsked

// assistantFoundRow is an assistant with what it is sorted by.
type assistantFoundRow struct {
	assistantRow
	Key string
}

type assistantCountRow struct{ N int }

func filterArgs(scope auth.Scope, f agents.AssistantFilter) named {
	return named{"org": string(scope.Org), "metadata": orObject(f.Metadata), "graph": f.Graph, "name": escapeLike(f.Name)}
}

// SearchAssistants lists a piece of the assistants in use and says how many
// there are in all. Everybody in the organisation may.
func (db *DB) SearchAssistants(ctx context.Context, scope auth.Scope, q agents.AssistantSearch) ([]agents.Assistant, int, error) {
	if q.Limit < 1 || q.Limit > MaxAssistantPage {
		q.Limit = 10
	}
	args := filterArgs(scope, q.AssistantFilter)
	args["sort"], args["ascending"], args["limit"], args["offset"] = string(q.Sort), q.Ascending, q.Limit, max(q.Offset, 0)
	var rows []assistantFoundRow
	var total []assistantCountRow
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		var batch pgx.Batch
		collect(&batch, &rows, sqlAssistantSearch, args)
		collect(&batch, &total, sqlAssistantCount, args)
		return tx.SendBatch(ctx, &batch).Close()
	})
	if err != nil {
		return nil, 0, fmt.Errorf("searching assistants: %w", translate(err))
	}
	out := make([]agents.Assistant, len(rows))
	for i, r := range rows {
		out[i] = r.assistant()
	}
	return out, total[0].N, nil
}

// CountAssistants counts the assistants in use that a filter selects.
func (db *DB) CountAssistants(ctx context.Context, scope auth.Scope, f agents.AssistantFilter) (int, error) {
	row, err := one[assistantCountRow](ctx, db, scope, "Assistant", "counting assistants", sqlAssistantCount, filterArgs(scope, f))
	return row.N, err
}

const sqlAssistantVersions = `select ` + assistantColumns + ` from assistants a join assistant_versions v
	on v.org_id = a.org_id and v.assistant_id = a.id
	where a.org_id = @org and a.id = @id and v.metadata @> @metadata::jsonb
	order by v.version desc limit @limit offset @offset`

const sqlAssistantVersionCount = `select count(*)::int as n from assistant_versions v
	where v.org_id = @org and v.assistant_id = @id and v.metadata @> @metadata::jsonb`

// AssistantVersions lists a piece of an assistant's versions, the newest first,
// and says how many there are in all. metadata, unless empty, must be contained
// in theirs. Everybody in the organisation may.
func (db *DB) AssistantVersions(ctx context.Context, scope auth.Scope, assistant agents.AssistantID, metadata json.RawMessage, limit, offset int) ([]agents.Assistant, int, error) {
	if !id.Valid(string(assistant)) {
		return nil, 0, assistantNotFound()
	}
	if limit < 1 || limit > MaxAssistantPage {
		limit = 10
	}
	args := named{"org": string(scope.Org), "id": string(assistant), "metadata": orObject(metadata), "limit": limit, "offset": max(offset, 0)}
	var rows []assistantRow
	var total []assistantCountRow
	err := db.scoped(ctx, scope, func(tx pgx.Tx) error {
		var batch pgx.Batch
		collect(&batch, &rows, sqlAssistantVersions, args)
		collect(&batch, &total, sqlAssistantVersionCount, args)
		return tx.SendBatch(ctx, &batch).Close()
	})
	if err != nil {
		return nil, 0, fmt.Errorf("listing an assistant's versions: %w", translate(err))
	}
	out := make([]agents.Assistant, len(rows))
	for i, r := range rows {
		out[i] = r.assistant()
	}
	return out, total[0].N, nil
}

const sqlOwnThreadsWith = `select t.id from threads t
	where t.org_id = @org and t.owner_id = @user and t.assistant_id = @id order by t.id limit @limit`

type assistantThreadRow struct{ ID string }

// OwnThreadsWith lists threads of the scope's user that have the assistant, at
// most limit.
func (db *DB) OwnThreadsWith(ctx context.Context, scope auth.Scope, assistant agents.AssistantID, limit int) ([]agents.ThreadID, error) {
	if !id.Valid(string(assistant)) {
		return nil, assistantNotFound()
	}
	rows, err := many[assistantThreadRow](ctx, db, scope, "listing an assistant's threads", sqlOwnThreadsWith, named{
		"org": string(scope.Org), "user": string(scope.User), "id": string(assistant), "limit": limit})
	if err != nil {
		return nil, err
	}
	out := make([]agents.ThreadID, len(rows))
	for i, r := range rows {
		out[i] = agents.ThreadID(r.ID)
	}
	return out, nil
}
