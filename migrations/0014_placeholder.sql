-- Holds the number until the threads' migration is merged.
select 1;
