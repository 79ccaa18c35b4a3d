-- The audit log: who did what, when, from where, with what before and after.
--
-- Rows are only ever added. Each holds the hash of the one before it, so that
-- a row that was changed, removed or put between is found by reading the chain
-- again (heddle audit verify). before and after are json, not jsonb: the hash
-- covers their bytes. No foreign keys: the log outlives what it speaks of.
create table audit_log (
  org_id      uuid not null,
  seq         bigint not null check (seq > 0),
  id          uuid not null,
  at          timestamptz not null,
  actor_id    uuid,
  via         text not null check (via in ('page', 'api', 'command', 'system')),
  key_id      uuid,
  session_id  uuid,
  ip          text not null default '',
  request_id  text not null default '',
  action      text not null check (char_length(action) between 3 and 80),
  object_kind text not null,
  object_id   text not null default '',
  object_name text not null default '',
  rule        text not null default '',
  before      json,
  after       json,
  prev_hash   bytea not null,
  hash        bytea not null,
  primary key (org_id, seq)
);
create index audit_log_actor on audit_log (org_id, actor_id, seq desc);
create index audit_log_object on audit_log (org_id, object_kind, object_id, seq desc);
create index audit_log_action on audit_log (org_id, action, seq desc);
create index audit_log_at on audit_log (org_id, at);
select heddle_protect('audit_log');
revoke update, delete on audit_log from heddle_app;
select heddle_open_to_system('audit_log');
revoke update, delete on audit_log from heddle_system;

-- The newest link of each organisation's chain; whoever adds a row locks it,
-- as the last lock of its transaction.
create table audit_heads (
  org_id uuid primary key,
  seq    bigint not null default 0,
  hash   bytea not null default '\x'
);
select heddle_protect('audit_heads');
select heddle_open_to_system('audit_heads');
revoke update, delete on audit_heads from heddle_app, heddle_system;
grant update (seq, hash) on audit_heads to heddle_app, heddle_system;
