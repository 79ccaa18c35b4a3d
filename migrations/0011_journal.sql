-- A call of a step that may run stands in the journal before any of the step is
-- handed to its tool, and so before it was sent.
alter table tool_journal alter column sent_at drop not null, alter column sent_at drop default;
comment on column tool_journal.sent_at is 'when the call was last handed to its tool; null if it never was';
