-- The last token that was given out, of all threads: the name of a thread that
-- was deleted may begin anew, and its old leases must not fit again.
create table leases (
  one   integer primary key check (one = 1),
  token integer not null
) strict;
insert into leases (one, token) values (1, 0);

create table threads (
  no     integer primary key,
  id     text not null unique,
  token  integer not null,
  active integer -- a line
) strict;

-- A line of history. A fork starts at a step of its parent and shares what came
-- before; ns are the subgraphs around the line of a task's subgraph, a JSON list.
-- step is the newest step, first the oldest that is kept. Where older ones were
-- removed, the row before first stays, with the whole state as its snapshot.
create table lines (
  no          integer primary key,
  thread      integer not null references threads on delete cascade,
  id          text not null,
  parent      integer references lines on delete cascade,
  parent_step integer not null default -1,
  ns          text,
  first       integer not null,
  step        integer not null,
  unique (thread, id)
) strict;
create index lines_parent on lines (parent);

-- One row per step, in the order of all of a thread's: what it changed, not what
-- the state is. rollup holds the changes since the rollup before, snapshot a whole
-- state in references to messages. All but the plain columns is JSON, null where
-- it is empty.
create table checkpoints (
  no         integer primary key,
  thread     integer not null,
  line       integer not null references lines on delete cascade,
  step       integer not null,
  run        text not null,
  source     text not null,
  ops        text,
  deltas     text,
  snapshot   text,
  rollup     text,
  next       text,
  wrote      text,
  interrupts text,
  metadata   text,
  made_at    integer not null, -- microseconds since 1970
  unique (line, step)
) strict;
create index checkpoints_thread on checkpoints (thread);

-- A message is stored once and never changes; a new text is a new revision.
create table messages (
  no       integer primary key,
  thread   integer not null references threads on delete cascade,
  id       text not null,
  revision integer not null,
  body     text not null,
  unique (thread, id, revision)
) strict;

-- What is known of the tasks that are due at a line's newest step.
create table pending (
  line   integer not null references lines on delete cascade,
  task   integer not null,
  sub    text,
  result text,
  primary key (line, task)
) strict, without rowid;
