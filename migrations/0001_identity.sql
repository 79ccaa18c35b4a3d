-- People, organisations and how they prove who they are.
--
-- heddle_protect(table) gives a table with org_id its two walls: row-level
-- security that also binds the owner, and a policy that shows heddle_app only
-- the rows of the organisation named by the transaction's heddle.org. On a
-- used connection an unset heddle.org reads '' rather than null, hence nullif.
create function heddle_protect(target regclass) returns void
language plpgsql as $$
begin
  execute format('alter table %s enable row level security', target);
  execute format('alter table %s force row level security', target);
  execute format($f$create policy org_rows on %s to heddle_app
    using (org_id = nullif(current_setting('heddle.org', true), '')::uuid)
    with check (org_id = nullif(current_setting('heddle.org', true), '')::uuid)$f$, target);
  execute format('grant select, insert, update, delete on %s to heddle_app', target);
end $$;

-- heddle_open_to_system(table) lets the system pool see every row of a table:
-- for look-ups that come before an organisation is known and for work that
-- crosses organisations. A test fixes the list of tables it is called for.
create function heddle_open_to_system(target regclass) returns void
language plpgsql as $$
begin
  execute format('alter table %s enable row level security', target);
  execute format('alter table %s force row level security', target);
  execute format('create policy system_rows on %s to heddle_system using (true) with check (true)', target);
  execute format('grant select, insert, update, delete on %s to heddle_system', target);
end $$;

revoke execute on function heddle_protect(regclass), heddle_open_to_system(regclass) from public;

create table orgs (
  id         uuid primary key,
  slug       text not null unique check (slug ~ '^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$'),
  name       text not null check (char_length(name) between 1 and 80),
  personal   boolean not null default false,
  settings   jsonb not null default '{}',
  created_at timestamptz not null default now()
);
select heddle_open_to_system('orgs');
create policy own_org on orgs to heddle_app
  using (id = nullif(current_setting('heddle.org', true), '')::uuid);
grant select, update (name, settings) on orgs to heddle_app;

create table users (
  id         uuid primary key,
  email      text not null check (char_length(email) between 3 and 320),
  name       text not null default '' check (char_length(name) <= 120),
  theme      text not null default 'system' check (theme in ('system', 'light', 'dark')),
  locale     text not null default 'en',
  created_at timestamptz not null default now(),
  disabled_at timestamptz
);
create index users_email on users (lower(email));
select heddle_open_to_system('users');

-- Who signs in: the pair (issuer, subject), never an e-mail address.
create table identities (
  issuer         text not null,
  subject        text not null,
  user_id        uuid not null references users on delete cascade,
  provider       text not null,
  email          text not null default '',
  email_verified boolean not null default false,
  created_at     timestamptz not null default now(),
  last_login_at  timestamptz not null default now(),
  primary key (issuer, subject)
);
create index identities_user on identities (user_id);
select heddle_open_to_system('identities');

-- A sign-in that was begun: taken (deleted) by the one callback that may end it.
create table login_attempts (
  state_hash  bytea primary key,
  cookie_hash bytea not null,
  provider    text not null,
  verifier    text not null,
  nonce       text not null,
  return_to   text not null,
  invitation  bytea,
  created_at  timestamptz not null default now(),
  expires_at  timestamptz not null
);
create index login_attempts_expiry on login_attempts (expires_at);
select heddle_open_to_system('login_attempts');

create table memberships (
  org_id     uuid not null references orgs on delete cascade,
  user_id    uuid not null references users on delete cascade,
  role       text not null check (role in ('member', 'reviewer', 'admin', 'owner')),
  created_at timestamptz not null default now(),
  primary key (org_id, user_id)
);
create index memberships_user on memberships (user_id);
select heddle_protect('memberships');
select heddle_open_to_system('memberships');

-- An organisation sees the people who belong to it, nobody else.
create policy fellow_members on users to heddle_app using (
  exists (select 1 from memberships m where m.user_id = users.id
    and m.org_id = nullif(current_setting('heddle.org', true), '')::uuid));
grant select, update (name, theme, locale) on users to heddle_app;

create table invitations (
  org_id      uuid not null references orgs on delete cascade,
  id          uuid not null,
  email       text not null,
  role        text not null check (role in ('member', 'reviewer', 'admin', 'owner')),
  token_hash  bytea not null unique,
  invited_by  uuid references users on delete set null,
  created_at  timestamptz not null default now(),
  expires_at  timestamptz not null,
  accepted_at timestamptz,
  accepted_by uuid references users on delete set null,
  revoked_at  timestamptz,
  primary key (org_id, id)
);
create index invitations_email on invitations (lower(email)) where accepted_at is null;
select heddle_protect('invitations');
select heddle_open_to_system('invitations');

-- An e-mail domain an organisation claims; it places people only once proved.
create table org_domains (
  org_id    uuid not null references orgs on delete cascade,
  domain    text not null check (domain = lower(domain)),
  token     text not null,
  proved_by text check (proved_by in ('operator', 'dns')),
  proved_at timestamptz,
  created_at timestamptz not null default now(),
  primary key (org_id, domain)
);
create unique index org_domains_proved on org_domains (domain) where proved_at is not null;
select heddle_protect('org_domains');
select heddle_open_to_system('org_domains');

create table sessions (
  org_id       uuid not null references orgs on delete cascade,
  id           uuid not null unique,
  user_id      uuid not null references users on delete cascade,
  token_hash   bytea not null unique,
  user_agent   text not null default '',
  ip           text not null default '',
  created_at   timestamptz not null default now(),
  last_seen_at timestamptz not null default now(),
  expires_at   timestamptz not null,
  revoked_at   timestamptz,
  primary key (org_id, id)
);
create index sessions_user on sessions (user_id) where revoked_at is null;
create index sessions_expiry on sessions (expires_at);
select heddle_protect('sessions');
select heddle_open_to_system('sessions');

create table api_keys (
  org_id       uuid not null references orgs on delete cascade,
  id           uuid not null,
  user_id      uuid not null references users on delete cascade,
  name         text not null check (char_length(name) between 1 and 80),
  prefix       text not null unique,
  secret_hash  bytea not null,
  scopes       text[] not null,
  created_at   timestamptz not null default now(),
  expires_at   timestamptz,
  last_used_at timestamptz,
  revoked_at   timestamptz,
  primary key (org_id, id)
);
create index api_keys_user on api_keys (org_id, user_id);
select heddle_protect('api_keys');
select heddle_open_to_system('api_keys');
