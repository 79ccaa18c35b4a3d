-- Knowledge documents and their full-text search.
--
-- The operator @@ is not leakproof, so under row-level security it can't use
-- an index (measured: 35-59 ms against 0.3-0.8 ms). The search therefore goes
-- through a function of heddle_search, which takes the organisation from the
-- transaction's setting and has a policy of its own.
create table documents (
  org_id     uuid not null references orgs on delete cascade,
  slug       text not null check (slug ~ '^[a-z0-9][a-z0-9-]{0,99}$'),
  title      text not null,
  tags       text not null default '',
  body       text not null,
  updated_at timestamptz not null default now(),
  tsv        tsvector generated always as (
    setweight(to_tsvector('english', title), 'A') ||
    setweight(to_tsvector('english', tags), 'B') ||
    setweight(to_tsvector('english', body), 'C')) stored,
  primary key (org_id, slug)
);
-- Without fastupdate: documents change seldom, and a list of pending entries
-- makes searches slow until a vacuum.
create index documents_search on documents using gin (org_id, tsv) with (fastupdate = off);
select heddle_protect('documents');

grant select on documents to heddle_search;
create policy search_rows on documents to heddle_search using (true);

-- Any word of the question may match; rank decides. A document that holds more
-- of the question's words, in its title above all, comes first.
create function search_documents(question text, wanted integer)
returns table (slug text, title text, snippet text, score real)
language plpgsql stable security definer
set search_path = pg_catalog, public, pg_temp as $$
declare
  org uuid := nullif(current_setting('heddle.org', true), '')::uuid;
  words tsquery := (select string_agg(quote_literal(lexeme), ' | ')::tsquery
    from unnest(to_tsvector('english', question)));
begin
  if org is null or words is null then
    return;
  end if;
  return query
    select d.slug, d.title,
      ts_headline('english', d.body, words, 'StartSel=⟦, StopSel=⟧, MaxWords=60, MinWords=35, MaxFragments=1'),
      ts_rank('{0.1, 0.3, 0.6, 1.0}', d.tsv, words, 1)
    from documents d
    where d.org_id = org and d.tsv @@ words
    order by 4 desc, 1
    limit least(greatest(wanted, 1), 50);
end $$;
revoke execute on function search_documents(text, integer) from public;
grant execute on function search_documents(text, integer) to heddle_app;
grant create on schema public to heddle_search;
alter function search_documents(text, integer) owner to heddle_search;
revoke create on schema public from heddle_search;
