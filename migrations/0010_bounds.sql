-- How much of an organisation and a person stands in line is counted with every
-- new run; which runs are next is asked in the order of their positions, a few at a
-- time, so that a long queue need not be read and sorted for that.
drop index runs_pending;
create index runs_queued on runs (org_id, user_id) where status = 'pending';
create index runs_due on runs (position) include (run_after) where status = 'pending';
-- Each submission, claim and end asks for the open runs of a thread: they are few,
-- however many have ended.
create index runs_open on runs (org_id, thread_id, position) where status in ('pending', 'running', 'waiting');
