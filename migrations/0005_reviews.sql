-- Requests for review: one row for each tool call that waits, or waited, for a
-- person. args is json, not jsonb: a decision covers its exact bytes.
--
-- A row stands on a line of history: a fork is another line, where the same
-- call is asked about again.
create table reviews (
  org_id            uuid not null,
  id                uuid not null,
  thread_id         uuid not null,
  line_id           uuid not null,
  run_id            uuid not null,
  interrupt_id      text not null,
  call_id           text not null,
  round             integer not null default 0 check (round >= 0),
  requester_id      uuid not null,
  assistant_id      uuid not null,
  assistant_version integer not null,
  tool              text not null,
  args              json not null,
  args_hash         bytea not null,
  allowed           text[] not null,
  reason            text not null,
  rule              text not null,
  effect            text not null,
  status            text not null default 'open'
    check (status in ('open', 'approved', 'edited', 'rejected', 'answered', 'withdrawn', 'expired', 'void')),
  decided_by        uuid,
  decided_at        timestamptz,
  final_args        json,
  decision_text     text not null default '',
  claimed_by        uuid,
  claimed_until     timestamptz,
  created_at        timestamptz not null,
  due_at            timestamptz not null,
  primary key (org_id, id),
  foreign key (org_id, thread_id) references threads (org_id, id) on delete cascade,
  check ((status = 'open') = (decided_at is null))
);
-- One open request for a call: two that decide about it meet in one row.
create unique index reviews_one_open on reviews (org_id, line_id, call_id) where status = 'open';
create index reviews_queue on reviews (org_id, due_at, id) where status = 'open';
create index reviews_history on reviews (org_id, decided_at desc, id desc) where status <> 'open';
create index reviews_thread on reviews (org_id, thread_id, created_at);
create index reviews_due on reviews (due_at) where status = 'open';
select heddle_protect('reviews');
select heddle_open_to_system('reviews');

-- The tool journal: calls with an effect, from when they were handed to their
-- tool. sent without an answer means that nobody knows whether it happened.
create table tool_journal (
  org_id     uuid not null,
  line_id    uuid not null,
  call_id    text not null,
  thread_id  uuid not null,
  round      integer not null default 0,
  tool       text not null,
  args_hash  bytea not null,
  status     text not null check (status in ('reserved', 'sent', 'confirmed', 'unknown')),
  run_id     uuid not null,
  token      bigint not null,
  result     json,
  sent_at    timestamptz not null default now(),
  ended_at   timestamptz,
  primary key (org_id, line_id, call_id),
  foreign key (org_id, thread_id) references threads (org_id, id) on delete cascade
);
create index tool_journal_thread on tool_journal (org_id, thread_id);
select heddle_protect('tool_journal');
