-- The story of a run that loses its workers: attempts at its present step that
-- came to no end, when each began and how it was lost. A step that commits begins
-- a new story.
alter table runs
  add column claimed_at timestamptz,
  add column lost       jsonb;
