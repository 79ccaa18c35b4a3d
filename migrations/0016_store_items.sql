-- Items of the store live for as long as their writer says, and can be found by
-- the words of their texts.
--
-- lifetime is what expires_at is set to anew by whoever reads the item. paths are
-- the parts of the value whose texts are searched, as jsonpath: null is all of
-- it, none is nothing.
create function store_item_texts(value jsonb, paths text[]) returns jsonb
language plpgsql immutable parallel safe as $$
declare
  path text;
  parts jsonb := '[]';
begin
  if paths is null then
    return value;
  end if;
  foreach path in array paths loop
    parts := parts || pg_catalog.jsonb_path_query_array(value, path::jsonpath);
  end loop;
  return parts;
end $$;
revoke execute on function store_item_texts(jsonb, text[]) from public;
grant execute on function store_item_texts(jsonb, text[]) to heddle_app;

alter table store_items
  add column lifetime interval check (lifetime > interval '0'),
  add column paths    text[] check (cardinality(paths) <= 32);

-- Only what API clients store is searched this way: the memory of people is
-- searched by parts of words.
alter table store_items
  add column tsv tsvector generated always as (
    case when area = 'api' then to_tsvector('english', store_item_texts(value, paths)) end) stored;

-- Sweeps see what has expired and nothing else.
create policy expired_rows on store_items to heddle_system using (expires_at <= now());
grant select (org_id, area, holder_id, namespace, key, expires_at), delete on store_items to heddle_system;
