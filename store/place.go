package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/auth"
)

// Most new input finds its thread idle and on the version that the thread keeps, or
// comes with a thread of its own.
// Then there is no strategy to carry out and nothing to choose, and the run is placed
// by one statement, together with others that come at the same moment. Everything
// else goes step by step, in [DB.Submit].

// sqlPlaceTogether places runs on threads that are idle. What it reads of runs is of
// before the lock of the head; the head's counter, which every placing moves, tells
// whether it still holds then: s is the head as it was, h as it is under the lock. The
// offsets keep each look-up on the index of its key.
const sqlPlaceTogether = `with input as materialized (
	select * from unnest(@runs::uuid[], @threads::uuid[], @assistants::uuid[], @versions::int[], @users::uuid[], @keys::uuid[], @strategies::text[],
		@inputs::text[], @requests::text[], @metadata::text[], @titles::text[], @graphs::text[], @packs::bytea[], @webhooks::text[], @afters::interval[])
		with ordinality as i(run_id, thread_id, assistant_id, version, user_id, key_id, strategy, input, request, metadata, title, graph, pack, webhook, after, n)
), line as materialized (
	select user_id, count(*) as n from runs where org_id = @org and status = 'pending' group by user_id
), held as materialized (
	select i.n from input i
	join threads t on t.org_id = @org and t.id = i.thread_id
	join thread_heads h on h.org_id = @org and h.thread_id = i.thread_id
	join thread_heads s on s.org_id = @org and s.thread_id = i.thread_id and s.seq = h.seq and s.token = h.token
	where (t.owner_id = i.user_id or t.visibility = 'organisation')
		and (t.assistant_id is distinct from i.assistant_id or t.assistant_version = i.version)
		and exists (select 1 from (select a.active_version from assistants a
			where a.org_id = @org and a.id = i.assistant_id and a.archived_at is null offset 0) a
			where a.active_version = i.version or t.assistant_id = i.assistant_id)
		and not exists (select 1 from (select from runs r
			where r.org_id = @org and r.thread_id = i.thread_id and r.status in ('pending', 'running', 'waiting') offset 0) r)
		and coalesce((select sum(n) from line), 0) + @count <= @per_org
		and coalesce((select n from line where line.user_id = i.user_id), 0) + @count <= @per_person
	for update of h skip locked
), heads as (
	update thread_heads h set seq = h.seq + 1 from input i join held on held.n = i.n
	where h.org_id = @org and h.thread_id = i.thread_id
	returning i.n, h.seq, h.epoch
), placed as (
	insert into runs (org_id, id, thread_id, assistant_id, assistant_version, user_id, key_id, strategy, input, request, metadata, webhook, run_after, delayed)
	select @org::uuid, i.run_id, i.thread_id, i.assistant_id, i.version, i.user_id, i.key_id, i.strategy, i.input::jsonb, i.request::jsonb, i.metadata::jsonb,
		i.webhook, now() + i.after, i.after > interval '0'
	from heads h join input i on i.n = h.n order by i.n
	returning id, position, request, metadata, created_at
), busy as (
	update threads t set status = 'busy', updated_at = now(), title = case when t.title = '' then i.title else t.title end,
		assistant_id = i.assistant_id, assistant_version = i.version,
		metadata = t.metadata || jsonb_build_object('graph_id', i.graph, 'assistant_id', i.assistant_id::text)
	from heads h join input i on i.n = h.n where t.org_id = @org and t.id = i.thread_id
), told as (
	insert into events (org_id, thread_id, seq, from_seq, run_id, pack)
	select @org::uuid, i.thread_id, h.seq, h.seq, i.run_id, i.pack from heads h join input i on i.n = h.n
)
select h.n, h.seq, h.epoch::text as epoch, p.position, p.request, p.metadata, p.created_at
from heads h join input i on i.n = h.n join placed p on p.id = i.run_id`

type placedRow struct {
	N, Seq            int64
	Epoch             string
	Position          int64
	Request, Metadata json.RawMessage
	CreatedAt         time.Time
}

// placing is one submission to an idle thread.
type placing struct {
	scope auth.Scope
	s     agents.Submission
	pack  []byte
	input string
	// make are the arguments of its thread, if that is made with it: a temporary one,
	// which goes by itself if the run can't be placed.
	make named

	placed *placedRow // if it was
}

func (p *placing) thread() string { return string(p.s.Thread) }

// place places a run whose thread is idle; false means that the thread has to be
// looked at.
func (db *DB) place(ctx context.Context, scope auth.Scope, s agents.Submission) (out agents.Submitted, ok bool, err error) {
	if s.Input.Resume != nil || s.Assistant.Archived() {
		return out, false, nil
	}
	if out.Queued, err = s.Queued(0, false); err != nil {
		return out, false, err
	}
	p := &placing{scope: scope, s: s}
	if p.pack, err = db.packed(s.Thread, s.Run, []event.Envelope{out.Queued}); err != nil {
		return out, false, err
	}
	if s.Create != nil && s.Create.Temporary {
		if p.make, err = newThreadArgs(scope, *s.Create); err != nil {
			return out, false, err
		}
	}
	input, err := json.Marshal(s.Input)
	if err != nil {
		return out, false, fmt.Errorf("writing a run's input as JSON: %w", err)
	}
	p.input = string(input)
	if err := db.places.write(ctx, scope.Org, p); err != nil || p.placed == nil {
		return out, false, err
	}
	if s.Pinned != nil {
		s.Pinned(s.Assistant)
	}
	row := p.placed
	at := row.CreatedAt.UTC()
	out.Created = p.make != nil
	out.Position = agents.Position{Seq: row.Seq, Epoch: row.Epoch}
	out.Run = agents.Run{ID: s.Run, Org: scope.Org, Thread: s.Thread, Position: row.Position, Assistant: s.Assistant.ID,
		AssistantVersion: s.Assistant.Version, User: scope.User, Key: scope.Key, Status: agents.RunPending, Strategy: s.Strategy,
		Input: s.Input, Request: row.Request, Metadata: row.Metadata, Webhook: s.Webhook, CreatedAt: at, UpdatedAt: at, RunAfter: at.Add(s.After)}
	return out, true, nil
}

// placeArgs are the arguments of sqlPlaceTogether.
func (db *DB) placeArgs(org auth.OrgID, some []*placing) named {
	n := len(some)
	columns := map[string][]string{}
	for _, name := range []string{"runs", "threads", "assistants", "users", "strategies", "inputs", "requests", "metadata", "titles", "graphs"} {
		columns[name] = make([]string, 0, n)
	}
	versions, keys, packs := make([]int, n), make([]*string, n), make([][]byte, n)
	webhooks, afters := make([]*string, n), make([]time.Duration, n)
	for i, p := range some {
		for name, text := range map[string]string{
			"runs": string(p.s.Run), "threads": string(p.s.Thread), "assistants": string(p.s.Assistant.ID), "users": string(p.scope.User),
			"strategies": string(p.s.Strategy), "inputs": p.input, "requests": string(orObject(p.s.Request)), "metadata": string(orObject(p.s.Metadata)),
			"titles": p.s.Title, "graphs": p.s.Assistant.Graph,
		} {
			columns[name] = append(columns[name], text)
		}
		versions[i], keys[i], packs[i] = p.s.Assistant.Version, textOf(orNull(string(p.scope.Key))), p.pack
		webhooks[i], afters[i] = textOf(orNull(p.s.Webhook)), p.s.After
	}
	args := named{"org": string(org), "count": n, "per_org": db.bounds.QueuedPerOrg, "per_person": db.bounds.QueuedPerPerson,
		"versions": versions, "keys": keys, "packs": packs, "webhooks": webhooks, "afters": afters}
	for name, texts := range columns {
		args[name] = texts
	}
	return args
}

// placeTogether places runs in one statement.
func (db *DB) placeTogether(ctx context.Context, org auth.OrgID, some []*placing) error {
	var rows []placedRow
	var batch pgx.Batch
	batch.Queue(sqlSetOrg, string(org))
	for _, p := range some {
		if p.make != nil {
			batch.Queue(sqlThreadInsert, p.make)
		}
	}
	batch.Queue(sqlProbe)
	collect(&batch, &rows, sqlPlaceTogether, db.placeArgs(org, some))
	if err := db.app.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("placing %d runs together: %w", len(some), err)
	}
	for i, r := range rows {
		some[r.N-1].placed = &rows[i]
	}
	return nil
}
