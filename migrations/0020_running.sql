-- Nothing that changes with a claim or an end is indexed in thread_heads any more, so
-- that its rows stay within their pages (HOT). Who holds what is found by the runs
-- that are running, which are few.
drop index thread_heads_held;
create index runs_running on runs (org_id, user_id) where status = 'running';
