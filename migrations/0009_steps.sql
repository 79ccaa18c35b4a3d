-- What a super-step costs to keep. A checkpoint's id is its line's with the step
-- in it, so it needs no column and no index; what is empty is null; JSON keeps its
-- bytes, because what goes on from it must read what was written; and what 50
-- steps changed is rolled up beside the last of them, in place of the whole list
-- of messages each time.
alter table checkpoints
  drop constraint checkpoints_org_id_id_key,
  drop constraint checkpoints_pkey,
  drop column id,
  drop column thread_id,
  add primary key (line_id, step),
  alter column ops        drop not null, alter column ops        drop default, alter column ops        type json using nullif(ops, '[]'::jsonb)::json,
  alter column deltas     drop not null, alter column deltas     drop default, alter column deltas     type json using nullif(deltas, '{}'::jsonb)::json,
  alter column next       drop not null, alter column next       drop default, alter column next       type json using nullif(next, '[]'::jsonb)::json,
  alter column interrupts drop not null, alter column interrupts drop default, alter column interrupts type json using nullif(interrupts, '[]'::jsonb)::json,
  alter column metadata   drop not null, alter column metadata   drop default, alter column metadata   type json using nullif(metadata, '{}'::jsonb)::json,
  alter column snapshot   type json using snapshot::json,
  add column wrote  json,
  add column rollup json;

-- Revisions tell forms of a message apart on all lines; they count nothing.
alter table messages alter column revision type bigint;

-- The lines of subgraphs: ns names the nodes around, outermost first. Their
-- parent is where the subgraph's task was due.
alter table lines add column ns text[];

-- What is known of the tasks of a step that is not complete: results of those
-- that finished, and the lines of those whose subgraph is under way.
create table pending_writes (
  org_id  uuid not null,
  line_id uuid not null,
  step    integer not null,
  task    integer not null check (task >= 0),
  line    uuid,
  result  json,
  primary key (line_id, task),
  foreign key (org_id, line_id) references lines (org_id, id) on delete cascade
);
select heddle_protect('pending_writes');

-- Removing old steps keeps the state before the oldest one that stays whole.
grant update (snapshot) on checkpoints to heddle_app;

-- What a run was executed with: names and fingerprints.
alter table runs add column manifest json;

-- A message's text and what else it has stand beside what the columns say of it,
-- so that a thread is read without taking JSON apart. Older rows keep their body.
alter table messages
  alter column body drop not null,
  add column text text,
  add column author_id uuid,
  add column rest json;

-- Envelopes that are appended together are one row of the log, compressed; older
-- rows keep their body.
alter table events
  alter column type drop not null,
  alter column body drop not null,
  add column pack bytea;
alter table events alter column pack set storage external;
