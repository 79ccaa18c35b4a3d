-- Assistants, threads, their state and log, and the queue of runs.
--
-- Keys start with org_id: a client may choose the id of a thread or assistant,
-- and two organisations that choose the same one must not notice each other.

create table assistants (
  org_id         uuid not null references orgs on delete cascade,
  id             uuid not null,
  graph          text not null,
  active_version integer not null check (active_version > 0),
  is_default     boolean not null default false,
  created_by     uuid references users on delete set null,
  created_at     timestamptz not null default now(),
  updated_at     timestamptz not null default now(),
  archived_at    timestamptz,
  primary key (org_id, id)
);
create unique index assistants_default on assistants (org_id, graph) where is_default;
select heddle_protect('assistants');

-- Every save of an assistant is a new row here; rows never change.
create table assistant_versions (
  org_id       uuid not null,
  assistant_id uuid not null,
  version      integer not null check (version > 0),
  graph        text not null,
  name         text not null,
  description  text not null default '',
  config       jsonb not null default '{}',
  context      jsonb not null default '{}',
  metadata     jsonb not null default '{}',
  comment      text not null default '',
  created_by   uuid references users on delete set null,
  created_at   timestamptz not null default now(),
  primary key (org_id, assistant_id, version),
  foreign key (org_id, assistant_id) references assistants (org_id, id) on delete cascade
);
select heddle_protect('assistant_versions');
revoke update on assistant_versions from heddle_app;

create table threads (
  org_id            uuid not null references orgs on delete cascade,
  id                uuid not null,
  owner_id          uuid not null references users on delete cascade,
  visibility        text not null default 'private' check (visibility in ('private', 'organisation')),
  title             text not null default '' check (char_length(title) <= 200),
  status            text not null default 'idle' check (status in ('idle', 'busy', 'interrupted', 'error')),
  assistant_id      uuid,
  assistant_version integer,
  line_id           uuid not null,
  metadata          jsonb not null default '{}',
  created_at        timestamptz not null default now(),
  updated_at        timestamptz not null default now(),
  primary key (org_id, id)
);
create index threads_owner on threads (org_id, owner_id, updated_at desc, id desc);
create index threads_shared on threads (org_id, updated_at desc, id desc) where visibility = 'organisation';
create index threads_metadata on threads using gin (metadata jsonb_path_ops);
select heddle_protect('threads');
select heddle_open_to_system('threads');

-- The hot part of a thread: the log's counter and the lease. No column that
-- changes with every append is indexed, so appends stay within the page (HOT).
-- token grows by one each time the lease changes hands: whoever holds an older
-- one can write nothing more.
create table thread_heads (
  org_id      uuid not null,
  thread_id   uuid not null,
  seq         bigint not null default 0,
  epoch       uuid not null,
  token       bigint not null default 0,
  run_id      uuid,
  worker_id   uuid,
  lease_until timestamptz,
  primary key (org_id, thread_id),
  foreign key (org_id, thread_id) references threads (org_id, id) on delete cascade
) with (fillfactor = 50);
create index thread_heads_held on thread_heads (worker_id) where run_id is not null;
select heddle_protect('thread_heads');
select heddle_open_to_system('thread_heads');

-- A line of history. A fork starts at a step of its parent and shares what
-- came before; step is the newest step committed on this line.
create table lines (
  org_id       uuid not null,
  id           uuid not null,
  thread_id    uuid not null,
  parent_line  uuid,
  parent_step  integer,
  step         integer not null default -1,
  created_at   timestamptz not null default now(),
  abandoned_at timestamptz,
  primary key (org_id, id),
  foreign key (org_id, thread_id) references threads (org_id, id) on delete cascade,
  check ((parent_line is null) = (parent_step is null))
);
create index lines_thread on lines (org_id, thread_id);
select heddle_protect('lines');

-- A message is stored once and never changes; a new text is a new revision. Its
-- body is json, not jsonb: the arguments of a tool call keep their order and so
-- their bytes, which a reviewer's decision will be bound to.
create table messages (
  org_id     uuid not null,
  thread_id  uuid not null,
  id         text not null check (char_length(id) between 1 and 200),
  revision   integer not null default 0,
  role       text not null check (role in ('user', 'assistant', 'tool', 'system')),
  body       json not null,
  run_id     uuid,
  created_at timestamptz not null default now(),
  primary key (org_id, thread_id, id, revision),
  foreign key (org_id, thread_id) references threads (org_id, id) on delete cascade
);
select heddle_protect('messages');
revoke update on messages from heddle_app;

-- One row per super-step: what it changed, not what the state is. ops are list
-- operations on messages by id, deltas are small changes of other channels,
-- next names the nodes that are due. Every 50 steps snapshot holds the whole
-- id list and the other channels, so that loading is bounded. event_seq is the
-- log's number up to which the log is reflected in the state.
create table checkpoints (
  org_id     uuid not null,
  line_id    uuid not null,
  step       integer not null check (step >= 0),
  id         uuid not null,
  thread_id  uuid not null,
  run_id     uuid,
  format     smallint not null default 1,
  source     text not null check (source in ('input', 'loop', 'update', 'fork')),
  ops        jsonb not null default '[]',
  deltas     jsonb not null default '{}',
  snapshot   jsonb,
  next       jsonb not null default '[]',
  interrupts jsonb not null default '[]',
  metadata   jsonb not null default '{}',
  event_seq  bigint not null default 0,
  created_at timestamptz not null default now(),
  primary key (org_id, line_id, step),
  unique (org_id, id),
  foreign key (org_id, line_id) references lines (org_id, id) on delete cascade
);
select heddle_protect('checkpoints');
revoke update on checkpoints from heddle_app;

-- The queue. position orders the runs of a thread; attempt counts every start,
-- failures only those since the last committed step.
create table runs (
  org_id              uuid not null,
  id                  uuid not null,
  thread_id           uuid not null,
  position            bigint generated always as identity,
  assistant_id        uuid not null,
  assistant_version   integer not null,
  user_id             uuid not null references users on delete cascade,
  key_id              uuid,
  status              text not null default 'pending'
    check (status in ('pending', 'running', 'waiting', 'success', 'error', 'timeout', 'cancelled')),
  strategy            text not null default 'enqueue'
    check (strategy in ('reject', 'enqueue', 'interrupt', 'rollback')),
  input               jsonb not null,
  request             jsonb not null default '{}',
  metadata            jsonb not null default '{}',
  base_line           uuid,
  base_step           integer,
  attempt             integer not null default 0,
  failures            integer not null default 0,
  token               bigint,
  cancel_requested_at timestamptz,
  cancel_reason       text,
  error               jsonb,
  run_after           timestamptz not null default now(),
  created_at          timestamptz not null default now(),
  started_at          timestamptz,
  ended_at            timestamptz,
  updated_at          timestamptz not null default now(),
  primary key (org_id, id),
  foreign key (org_id, thread_id) references threads (org_id, id) on delete cascade,
  constraint runs_assistant_version foreign key (org_id, assistant_id, assistant_version)
    references assistant_versions (org_id, assistant_id, version)
);
create index runs_pending on runs (run_after, position) where status = 'pending';
create index runs_thread on runs (org_id, thread_id, position);
create unique index runs_one_active on runs (org_id, thread_id) where status in ('running', 'waiting');
select heddle_protect('runs');
select heddle_open_to_system('runs');

-- The log. seq is dense per thread; a compacted row covers [from_seq, seq].
-- body is the envelope without version, number and epoch.
create table events (
  org_id     uuid not null,
  thread_id  uuid not null,
  seq        bigint not null,
  from_seq   bigint not null,
  run_id     uuid,
  type       text not null,
  body       text not null,
  created_at timestamptz not null default now(),
  primary key (org_id, thread_id, seq),
  foreign key (org_id, thread_id) references threads (org_id, id) on delete cascade,
  check (from_seq <= seq)
);
select heddle_protect('events');
select heddle_open_to_system('events');
revoke update, delete on events from heddle_app;

-- Worker processes. Each holds the session advisory lock (1, lock_key) while it
-- lives: a lock that is free means a dead process.
create table workers (
  id         uuid primary key,
  lock_key   integer generated always as identity unique,
  name       text not null,
  started_at timestamptz not null default now(),
  seen_at    timestamptz not null default now()
);
select heddle_open_to_system('workers');

-- Long-term memory, the store: items by area, namespace and key. Whose memory an
-- item belongs to stands in columns of its own, so that no namespace a client
-- or model chooses can name somebody else's.
create table store_items (
  org_id     uuid not null references orgs on delete cascade,
  area       text not null check (area in ('user', 'api')),
  holder_id  uuid not null,
  namespace  text[] not null check (cardinality(namespace) between 1 and 16),
  key        text not null check (char_length(key) between 1 and 512),
  value      jsonb not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  expires_at timestamptz,
  primary key (org_id, area, holder_id, namespace, key)
);
create index store_items_latest on store_items (org_id, area, holder_id, updated_at desc);
create index store_items_expiry on store_items (expires_at) where expires_at is not null;
select heddle_protect('store_items');

-- Answers to mutating requests, so that a repeated one gets the first's answer.
-- claim names the attempt that is at work: one that was given up as abandoned
-- can't overwrite its successor's answer. A row with a status and no body is an
-- answer that was not kept.
create table idempotency_keys (
  org_id       uuid not null references orgs on delete cascade,
  user_id      uuid not null references users on delete cascade,
  key          text not null check (char_length(key) between 1 and 200),
  request_hash bytea not null,
  claim        uuid not null,
  status       integer,
  headers      jsonb,
  body         bytea,
  created_at   timestamptz not null default now(),
  primary key (org_id, user_id, key)
);
create index idempotency_keys_age on idempotency_keys (created_at);
select heddle_protect('idempotency_keys');
select heddle_open_to_system('idempotency_keys');
