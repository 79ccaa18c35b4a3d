-- A thread may have a lifetime of its own, counted from when it was last written
-- to. ttl_swept_at is when the sweep last removed its old steps, so that it is not
-- looked at again before somebody writes.
alter table threads
  add column ttl_minutes  double precision check (ttl_minutes > 0 and ttl_minutes <= 52560000),
  add column ttl_strategy text check (ttl_strategy in ('delete', 'keep_latest')),
  add column ttl_swept_at timestamptz,
  add constraint threads_ttl_whole check ((ttl_minutes is null) = (ttl_strategy is null));
create index threads_ttl on threads (org_id, id) where ttl_minutes is not null;
