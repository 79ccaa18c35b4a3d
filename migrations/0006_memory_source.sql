-- Where an item of long-term memory comes from: who wrote the value that stands
-- now and, when a run did, which run, in which thread, by which tool. All of it
-- is null for items older than this. Runs and threads carry no foreign key: what
-- is remembered outlives the thread in which it was said.
alter table store_items
  add column written_by uuid references users on delete set null,
  add column run_id     uuid,
  add column thread_id  uuid,
  add column tool       text check (char_length(tool) between 1 and 64);
