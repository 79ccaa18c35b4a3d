package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/auth"
)

// sqlTogether is sqlStepCommit and sqlRunFinish for several threads. An entry
// without a step is only an end, one without a status only a step.
const sqlTogether = `with input as materialized (
	select * from unnest(@threads::uuid[], @runs::uuid[], @holders::uuid[], @tokens::bigint[], @events::int[], @packs::bytea[],
		@lines::uuid[], @steps::int[], @sources::text[], @ops::text[], @deltas::text[], @snapshots::text[], @nexts::text[], @wrotes::text[],
		@interrupts::text[], @metadata::text[], @manifests::text[], @statuses::text[], @errors::text[], @thread_statuses::text[])
		with ordinality as i(thread_id, run_id, holder, token, events, pack, line_id, step, source, ops, deltas, snapshot, next, wrote,
			interrupts, metadata, manifest, status, error, thread_status, n)
), held as materialized (
	select i.n from input i join thread_heads h on h.org_id = @org and h.thread_id = i.thread_id
	left join lines l on l.org_id = @org and l.id = i.line_id
	where h.token = i.token and h.run_id is not distinct from i.holder
		and (i.step is null or l.thread_id = i.thread_id and l.step = i.step - 1)
	for update of h skip locked
), heads as (
	update thread_heads h set seq = h.seq + i.events,
		run_id = case when i.status is null then h.run_id end, worker_id = case when i.status is null then h.worker_id end,
		lease_until = case when i.status is null then h.lease_until end
	from input i join held on held.n = i.n where h.org_id = @org and h.thread_id = i.thread_id
	returning i.n, h.seq, h.seq - i.events as base, h.epoch
), appended as (
	insert into events (org_id, thread_id, seq, from_seq, run_id, pack)
	select @org::uuid, i.thread_id, h.seq, h.base + 1, i.run_id, i.pack from heads h join input i on i.n = h.n where i.events > 0
), written as (
	insert into messages (org_id, thread_id, id, revision, role, text, author_id, rest, run_id)
	select @org::uuid, i.thread_id, m.id, m.revision, m.role, m.text, m.author, m.rest::json, i.run_id
	from unnest(@message_of::int[], @message_ids::text[], @message_revisions::bigint[], @message_roles::text[], @message_texts::text[],
		@message_authors::uuid[], @message_rests::text[]) as m(n, id, revision, role, text, author, rest)
	join heads h on h.n = m.n join input i on i.n = m.n
	on conflict do nothing returning thread_id
), stepped as (
	update lines l set step = i.step from heads h join input i on i.n = h.n
	where l.org_id = @org and l.id = i.line_id and l.step = i.step - 1
	returning i.n
), checkpointed as (
	insert into checkpoints (org_id, line_id, step, run_id, source, ops, deltas, snapshot, next, wrote, interrupts, metadata, event_seq)
	select @org::uuid, i.line_id, i.step, i.run_id, i.source, i.ops::json, i.deltas::json, i.snapshot::json, i.next::json, i.wrote::json,
		i.interrupts::json, i.metadata::json, h.seq
	from stepped s join heads h on h.n = s.n join input i on i.n = s.n
), ended as (
	update runs r set failures = case when i.step is null then r.failures else 0 end, lost = case when i.step is null then r.lost end,
		manifest = coalesce(i.manifest::json, r.manifest), updated_at = now(),
		status = coalesce(i.status, r.status), error = case when i.status is null then r.error else i.error::jsonb end,
		ended_at = case when i.status is null or i.status = 'waiting' then r.ended_at else now() end
	from heads h join input i on i.n = h.n
	where r.org_id = @org and r.id = i.run_id and (i.status is not null or r.failures > 0 or i.manifest is not null)
), freed as (
	update threads t set updated_at = now(), status = case
		when i.status <> 'waiting' and ` + someoneWaits + ` then 'busy'
		else i.thread_status end
	from heads h join input i on i.n = h.n where i.status is not null and t.org_id = @org and t.id = i.thread_id
)
select h.n, h.base, h.epoch::text as epoch, now() as at,
	(select count(*) from written w join input i on i.thread_id = w.thread_id where i.n = h.n)::int as written from heads h`

// entry is one step, one end, or both.
type entry struct {
	args     named // of sqlStepCommit; of sqlRunFinish alone if there is no step
	end      named // of sqlRunFinish, if the step ends its run
	messages []messageForm

	// at is where its events begin, if it was written, and when it was.
	at *writtenRow
}

// writtenRow says what became of a step or an end that was written, and how many of
// its messages were not there before.
type writtenRow struct {
	Base    int64
	Epoch   string
	At      time.Time
	Written int
}

func (e *entry) thread() string { return e.args["thread"].(string) }

func (r writtenRow) appended() agents.Appended { return agents.Appended{Base: r.Base, Epoch: r.Epoch} }

type togetherRow struct {
	N int64
	writtenRow
}

// sqlSetOrgBriefly is sqlSetOrg where others wait behind the statement that follows:
// a thread that somebody has locked must not hold them up.
const sqlSetOrgBriefly = sqlSetOrg + `, set_config('lock_timeout', '20ms', true)`

// writeAlone writes a step or an end, for which there is a shorter statement.
func (db *DB) writeAlone(ctx context.Context, org auth.OrgID, e *entry) error {
	sql := sqlStepCommit
	if e.end != nil {
		sql = sqlRunFinish
	}
	var rows []writtenRow
	var batch pgx.Batch
	batch.Queue(sqlSetOrgBriefly, string(org))
	collect(&batch, &rows, sql, e.args)
	if err := db.app.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("writing a step or an end: %w", err)
	}
	if len(rows) == 1 {
		e.at = &rows[0]
	}
	return nil
}

// writeTogether writes steps and ends in one statement.
func (db *DB) writeTogether(ctx context.Context, org auth.OrgID, some []*entry) error {
	if len(some) == 1 && (some[0].end == nil || some[0].args["step"] == nil) {
		return db.writeAlone(ctx, org, some[0])
	}
	args := named{"org": string(org)}
	for column, of := range map[string]string{
		"threads": "thread", "runs": "run", "holders": "holder", "lines": "line", "sources": "source", "ops": "ops", "deltas": "deltas",
		"snapshots": "snapshot", "nexts": "next", "wrotes": "wrote", "interrupts": "interrupts", "metadata": "metadata", "manifests": "manifest",
	} {
		args[column] = textsOf(some, of)
	}
	n := len(some)
	tokens, events, packs, steps := make([]int64, n), make([]int, n), make([][]byte, n), make([]*int, n)
	statuses, failures, threadStatuses := make([]*string, n), make([]*string, n), make([]*string, n)
	var of []int
	var revisions []int64
	var ids, roles, texts []string
	var authors, rests []*string
	for i, e := range some {
		tokens[i], events[i] = e.args["token"].(int64), e.args["events"].(int)
		packs[i], _ = e.args["pack"].([]byte)
		if step, ok := e.args["step"].(int); ok {
			steps[i] = &step
		}
		if e.end != nil {
			statuses[i], failures[i], threadStatuses[i] = textOf(e.end["status"]), textOf(e.end["error"]), textOf(e.end["thread_status"])
		}
		for _, m := range e.messages {
			of, ids, revisions, roles, texts, authors = append(of, i+1), append(ids, string(m.ID)), append(revisions, m.Revision),
				append(roles, string(m.Role)), append(texts, m.Text), append(authors, m.Author)
			rests = append(rests, textOf(m.Rest))
		}
	}
	for column, values := range map[string]any{
		"tokens": tokens, "events": events, "packs": packs, "steps": steps, "statuses": statuses, "errors": failures,
		"thread_statuses": threadStatuses, "message_of": of, "message_ids": ids, "message_revisions": revisions, "message_roles": roles,
		"message_texts": texts, "message_authors": authors, "message_rests": rests,
	} {
		args[column] = values
	}
	var rows []togetherRow
	var batch pgx.Batch
	batch.Queue(sqlSetOrg, string(org))
	batch.Queue(sqlProbe)
	collect(&batch, &rows, sqlTogether, args)
	if err := db.app.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("writing %d steps together: %w", n, err)
	}
	for _, r := range rows {
		some[r.N-1].at = &r.writtenRow
	}
	return nil
}

func textsOf(some []*entry, name string) []*string {
	out := make([]*string, len(some))
	for i, e := range some {
		out[i] = textOf(e.args[name])
	}
	return out
}

// textOf gives a text or JSON as text; nil of nothing.
func textOf(v any) *string {
	switch v := v.(type) {
	case string:
		return &v
	case json.RawMessage:
		if v == nil {
			return nil
		}
		s := string(v)
		return &s
	default:
		return nil
	}
}
