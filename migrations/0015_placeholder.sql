-- Holds the number until the runs' migration is merged, which adds this column.
alter table runs add column webhook text;
