-- What the protocol notes beside the product, by triggers of its own: which
-- process took which run, and under which token every step was stored. Only the
-- superuser sees it.
create schema chaos;

create table chaos.workers (id uuid primary key, name text not null, at timestamptz not null default clock_timestamp());
create table chaos.turns (
  n bigserial primary key, run_id uuid not null, thread_id uuid not null, status text not null, attempt int not null, failures int not null,
  token bigint, worker_id uuid, at timestamptz not null default clock_timestamp()
);
create table chaos.steps (
  n bigserial primary key, line_id uuid not null, step int not null, run_id uuid, thread_id uuid not null, token bigint not null,
  at timestamptz not null default clock_timestamp()
);

create function chaos.worker() returns trigger language plpgsql security definer set search_path = public as $$
begin
  insert into chaos.workers (id, name) values (new.id, new.name) on conflict do nothing;
  return null;
end $$;

create function chaos.turn() returns trigger language plpgsql security definer set search_path = public as $$
begin
  insert into chaos.turns (run_id, thread_id, status, attempt, failures, token, worker_id)
  select new.id, new.thread_id, new.status, new.attempt, new.failures, new.token, h.worker_id
  from thread_heads h where h.org_id = new.org_id and h.thread_id = new.thread_id;
  return null;
end $$;

create function chaos.step() returns trigger language plpgsql security definer set search_path = public as $$
begin
  insert into chaos.steps (line_id, step, run_id, thread_id, token)
  select new.line_id, new.step, new.run_id, h.thread_id, h.token
  from lines l join thread_heads h on h.org_id = l.org_id and h.thread_id = l.thread_id
  where l.org_id = new.org_id and l.id = new.line_id;
  return null;
end $$;

create trigger chaos_worker after insert on workers for each row execute function chaos.worker();
create trigger chaos_turn after insert on runs for each row execute function chaos.turn();
create trigger chaos_turned after update on runs for each row
  when (old.status is distinct from new.status or old.attempt <> new.attempt) execute function chaos.turn();
create trigger chaos_step after insert on checkpoints for each row execute function chaos.step();
