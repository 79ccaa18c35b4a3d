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
// without a step is only an end, one without a status only steps: those after the
// one that the line stands at, up to i.step. Who is in line is read as of before the
// lock of the head; the head's counter, which every placing moves, tells whether that
// still holds: s is the head as it was, h as it is under the lock.
const sqlTogether = `with input as materialized (
	select * from unnest(@threads::uuid[], @runs::uuid[], @holders::uuid[], @tokens::bigint[], @events::int[], @packs::bytea[],
		@lines::uuid[], @stands::int[], @lasts::int[], @manifests::text[], @statuses::text[], @errors::text[], @thread_statuses::text[])
		with ordinality as i(thread_id, run_id, holder, token, events, pack, line_id, stands, step, manifest, status, error, thread_status, n)
), held as materialized (
	select i.n from input i join thread_heads h on h.org_id = @org and h.thread_id = i.thread_id
	join thread_heads s on s.org_id = @org and s.thread_id = i.thread_id and s.seq = h.seq
	left join lateral (select thread_id, step from lines where org_id = @org and id = i.line_id offset 0) l on true
	where h.token = i.token and h.run_id is not distinct from i.holder
		and (i.step is null or l.thread_id = i.thread_id and l.step = i.stands)
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
	where l.org_id = @org and l.id = i.line_id and l.step = i.stands
	returning i.n
), checkpointed as (
	insert into checkpoints (org_id, line_id, step, run_id, source, ops, deltas, snapshot, next, wrote, interrupts, metadata, event_seq)
	select @org::uuid, i.line_id, c.step, i.run_id, c.source, c.ops::json, c.deltas::json, c.snapshot::json, c.next::json, c.wrote::json,
		c.interrupts::json, c.metadata::json, h.base + c.upto
	from unnest(@step_of::int[], @steps::int[], @sources::text[], @ops::text[], @deltas::text[], @snapshots::text[], @nexts::text[],
		@wrotes::text[], @interrupts::text[], @metadata::text[], @uptos::int[])
		as c(n, step, source, ops, deltas, snapshot, next, wrote, interrupts, metadata, upto)
	join stepped s on s.n = c.n join heads h on h.n = c.n join input i on i.n = c.n
), ended as (
	update runs r set failures = case when i.step is null then r.failures else 0 end, lost = case when i.step is null then r.lost end,
		manifest = coalesce(i.manifest::json, r.manifest), updated_at = now(),
		status = coalesce(i.status, r.status), error = case when i.status is null then r.error else i.error::jsonb end,
		ended_at = case when i.status is null or i.status = 'waiting' then r.ended_at else now() end
	from heads h join input i on i.n = h.n
	where r.org_id = @org and r.id = i.run_id and (i.status is not null or r.failures > 0 or i.manifest is not null)
), freed as (
	update threads t set updated_at = now(), status = case
		when i.status <> 'waiting' and ` + waitsOnThread + ` then 'busy'
		else i.thread_status end
	from heads h join input i on i.n = h.n where i.status is not null and t.org_id = @org and t.id = i.thread_id
)
select h.n, h.base, h.epoch::text as epoch, now() as at,
	(select count(*) from written w join input i on i.thread_id = w.thread_id where i.n = h.n)::int as written,
	` + waitsInOrg + ` as next from heads h`

// entry is steps of one line that follow each other, an end, or both.
type entry struct {
	steps []named // of sqlStepCommit
	end   named   // of sqlRunFinish, if the steps end their run or there are none
	// pack are the events of all of it.
	pack []byte

	// at is where its events begin, if it was written, and when it was.
	at *writtenRow
}

// writtenRow says what became of steps or an end that were written: how many of the
// messages were not there before, and whether a run of the organisation is in line.
type writtenRow struct {
	Base    int64
	Epoch   string
	At      time.Time
	Written int
	Next    bool
}

// last are the arguments that say which thread, run and line it is about.
func (e *entry) last() named {
	if len(e.steps) == 0 {
		return e.end
	}
	return e.steps[len(e.steps)-1]
}

func (e *entry) thread() string { return e.last()["thread"].(string) }

// events counts what it appends to the log.
func (e *entry) events() int {
	if len(e.steps) == 0 {
		return e.end["events"].(int)
	}
	n := 0
	for _, s := range e.steps {
		n += s["events"].(int)
	}
	return n
}

func (r writtenRow) appended() agents.Appended { return agents.Appended{Base: r.Base, Epoch: r.Epoch} }

func (r writtenRow) finished() agents.Finished {
	return agents.Finished{Appended: r.appended(), Next: r.Next}
}

type togetherRow struct {
	N int64
	writtenRow
}

// sqlSetOrgBriefly is sqlSetOrg where others wait behind the statement that follows:
// a thread that somebody has locked must not hold them up.
const sqlSetOrgBriefly = sqlSetOrg + `, set_config('lock_timeout', '20ms', true)`

// writeAlone writes a step or an end, for which there is a shorter statement.
func (db *DB) writeAlone(ctx context.Context, org auth.OrgID, e *entry) error {
	args := e.last()
	args["pack"] = e.pack
	var rows []writtenRow
	var batch pgx.Batch
	batch.Queue(sqlSetOrgBriefly, string(org))
	if e.end != nil {
		queueFinish(&batch, &rows, args)
	} else {
		collect(&batch, &rows, sqlStepCommit, args)
	}
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
	if e := some[0]; len(some) == 1 && (len(e.steps) == 0 || len(e.steps) == 1 && e.end == nil) {
		return db.writeAlone(ctx, org, e)
	}
	args := named{"org": string(org)}
	entryArrays(args, some)
	stepArrays(args, some)
	messageArrays(args, some)
	var rows []togetherRow
	var batch pgx.Batch
	batch.Queue(sqlSetOrg, string(org))
	batch.Queue(sqlProbe)
	collect(&batch, &rows, sqlTogether, args)
	if err := db.app.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("writing the steps of %d runs together: %w", len(some), err)
	}
	for _, r := range rows {
		some[r.N-1].at = &r.writtenRow
	}
	return nil
}

// entryArrays are the arguments of which there is one for each entry.
func entryArrays(args named, some []*entry) {
	n := len(some)
	last, ends := make([]named, n), make([]named, n)
	tokens, events, packs := make([]int64, n), make([]int, n), make([][]byte, n)
	stands, lasts, manifests := make([]*int, n), make([]*int, n), make([]*string, n)
	for i, e := range some {
		last[i], ends[i] = e.last(), e.end
		tokens[i], events[i], packs[i] = last[i]["token"].(int64), e.events(), e.pack
		for j, s := range e.steps {
			step := s["step"].(int)
			if j == 0 {
				before := step - 1
				stands[i] = &before
			}
			lasts[i] = &step
			if m := textOf(s["manifest"]); m != nil {
				manifests[i] = m
			}
		}
	}
	for column, of := range map[string]string{"threads": "thread", "runs": "run", "holders": "holder", "lines": "line"} {
		args[column] = textsOf(last, of)
	}
	for column, of := range map[string]string{"statuses": "status", "errors": "error", "thread_statuses": "thread_status"} {
		args[column] = textsOf(ends, of)
	}
	args["tokens"], args["events"], args["packs"], args["stands"], args["lasts"], args["manifests"] = tokens, events, packs, stands, lasts, manifests
}

// stepArrays are the arguments of which there is one for each step: those of one
// entry's steps follow each other, and each says up to which of the entry's events it
// has seen.
func stepArrays(args named, some []*entry) {
	var all []named
	var of, steps, uptos []int
	for i, e := range some {
		upto := 0
		for _, s := range e.steps {
			upto += s["events"].(int)
			all, of, steps, uptos = append(all, s), append(of, i+1), append(steps, s["step"].(int)), append(uptos, upto)
		}
	}
	for column, of := range map[string]string{
		"sources": "source", "ops": "ops", "deltas": "deltas", "snapshots": "snapshot", "nexts": "next", "wrotes": "wrote",
		"interrupts": "interrupts", "metadata": "metadata",
	} {
		args[column] = textsOf(all, of)
	}
	args["step_of"], args["steps"], args["uptos"] = of, steps, uptos
}

// messageArrays are the arguments of which there is one for each message.
func messageArrays(args named, some []*entry) {
	var of []int
	var revisions []int64
	var ids, roles, texts []string
	var authors, rests []*string
	for i, e := range some {
		for _, s := range e.steps {
			for _, m := range s["messages"].([]messageForm) {
				of, ids, revisions, roles, texts, authors = append(of, i+1), append(ids, string(m.ID)), append(revisions, m.Revision),
					append(roles, string(m.Role)), append(texts, m.Text), append(authors, m.Author)
				rests = append(rests, textOf(m.Rest))
			}
		}
	}
	args["message_of"], args["message_ids"], args["message_revisions"], args["message_roles"] = of, ids, revisions, roles
	args["message_texts"], args["message_authors"], args["message_rests"] = texts, authors, rests
}

// textsOf gives one argument of many; nil of who has none.
func textsOf(all []named, name string) []*string {
	out := make([]*string, len(all))
	for i, args := range all {
		out[i] = textOf(args[name])
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
