-- What callers of the API ask of a run: whom to tell of its end, and when to begin
-- it. The index holds the runs that begin later, and no other.
alter table runs
  add column webhook text check (char_length(webhook) between 1 and 2000),
  add column delayed boolean not null default false;
create index runs_later on runs (run_after) where delayed and status = 'pending';
comment on column runs.base_line is 'the line that was the thread''s before this run began a line of its own at an older checkpoint';

-- Up to which number the state says all that the log does, where that is more than
-- its newest step knows of: the thread went back to an older one.
alter table thread_heads add column state_seq bigint not null default 0;

-- The thread of a run that needs none: nobody lists it, and it goes when the run
-- is over.
alter table threads add column temporary boolean not null default false;
create index threads_temporary on threads (updated_at) where temporary;
