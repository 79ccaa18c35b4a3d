-- What is told of runs that ended, and the secrets it is signed with.
--
-- A row stands here from the transaction that ended a run with a webhook, however
-- it ended. run is the run as it was then: it may be gone when its turn comes. body
-- is what is sent, once it is known. due_at is when the next attempt is due and,
-- while claim is one, when that attempt counts as lost.
create table webhook_deliveries (
  org_id      uuid not null references orgs on delete cascade,
  id          uuid not null default gen_random_uuid(),
  run_id      uuid not null,
  thread_id   uuid not null,
  user_id     uuid not null references users on delete cascade,
  url         text not null,
  run         jsonb not null,
  body        text,
  status      text not null default 'pending' check (status in ('pending', 'delivered', 'dead')),
  attempts    integer not null default 0,
  claim       uuid,
  due_at      timestamptz not null default now(),
  answer      integer,
  failure     text,
  created_at  timestamptz not null default now(),
  settled_at  timestamptz,
  primary key (org_id, id),
  unique (org_id, run_id),
  check ((status = 'pending') = (settled_at is null))
);
create index webhook_deliveries_due on webhook_deliveries (due_at) where status = 'pending';
create index webhook_deliveries_user on webhook_deliveries (user_id);
create index webhook_deliveries_untold on webhook_deliveries (org_id, thread_id) where body is null;
create index webhook_deliveries_latest on webhook_deliveries (org_id, created_at desc, id);
create index webhook_deliveries_settled on webhook_deliveries (settled_at) where settled_at is not null;
select heddle_protect('webhook_deliveries');
select heddle_open_to_system('webhook_deliveries');

-- Only runs with a webhook get here, and only when they stop being open: a run that
-- waits for a person has ended for the API, and what becomes of it later is told by
-- the run that goes on. One that is rolled back, or goes with its thread, was
-- cancelled; what goes with its organisation or person is told to nobody.
create function webhook_run_ended() returns trigger
language plpgsql
set search_path = pg_catalog, public, pg_temp as $$
begin
  if tg_op = 'UPDATE' then
    insert into webhook_deliveries (org_id, run_id, thread_id, user_id, url, run)
    values (new.org_id, new.id, new.thread_id, new.user_id, new.webhook, to_jsonb(new) - 'input')
    on conflict (org_id, run_id) do nothing;
  elsif exists (select 1 from orgs where id = old.org_id) and exists (select 1 from users where id = old.user_id) then
    insert into webhook_deliveries (org_id, run_id, thread_id, user_id, url, run)
    values (old.org_id, old.id, old.thread_id, old.user_id, old.webhook, (to_jsonb(old) - 'input') || jsonb_build_object(
      'status', 'cancelled', 'cancel_reason', coalesce(old.cancel_reason, 'rolled back'), 'ended_at', now(), 'updated_at', now()))
    on conflict (org_id, run_id) do nothing;
  end if;
  return null;
end $$;
revoke execute on function webhook_run_ended() from public;
create trigger webhook_run_ended after update of status on runs for each row
  when (new.webhook is not null and old.status in ('pending', 'running') and new.status not in ('pending', 'running'))
  execute function webhook_run_ended();
create trigger webhook_run_removed after delete on runs for each row
  when (old.webhook is not null and old.status in ('pending', 'running'))
  execute function webhook_run_ended();

-- The secrets of an organisation, encrypted with the installation's key. The one
-- without an end is the newest; others sign beside it until theirs.
create table webhook_secrets (
  org_id     uuid not null references orgs on delete cascade,
  id         uuid not null,
  sealed     bytea not null,
  created_by uuid references users on delete set null,
  created_at timestamptz not null default now(),
  ends_at    timestamptz,
  primary key (org_id, id)
);
create unique index webhook_secrets_newest on webhook_secrets (org_id) where ends_at is null;
select heddle_protect('webhook_secrets');
select heddle_open_to_system('webhook_secrets');
