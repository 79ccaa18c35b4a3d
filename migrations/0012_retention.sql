-- Retention: what removes old steps and old rows of the log crosses
-- organisations. It reads and deletes, and writes nothing but the whole state
-- that takes the place of the steps before it.
create policy system_rows on lines to heddle_system using (true);
create policy system_rows on checkpoints to heddle_system using (true);
create policy system_rows on messages to heddle_system using (true);
create policy system_rows on pending_writes to heddle_system using (true);
grant select, delete on lines, checkpoints, messages to heddle_system;
grant select on pending_writes to heddle_system;
grant update (snapshot) on checkpoints to heddle_system;

-- When work that one node does for all was last begun.
create table sweeps (
  name     text primary key,
  began_at timestamptz not null
);
select heddle_open_to_system('sweeps');
