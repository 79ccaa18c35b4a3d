-- Shortcuts of a single key, which people who speak to their machine or hit keys
-- by accident must be able to turn off (WCAG 2.1.4).
alter table users add column letter_keys boolean not null default true;
grant update (letter_keys) on users to heddle_app;
