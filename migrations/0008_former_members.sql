-- Who left an organisation or was removed from it. The domain of their address
-- does not place them there again: they need a new invitation, whose acceptance
-- takes the row away.
create table former_members (
  org_id  uuid not null references orgs on delete cascade,
  user_id uuid not null references users on delete cascade,
  left_at timestamptz not null,
  primary key (org_id, user_id)
);
select heddle_protect('former_members');
select heddle_open_to_system('former_members');
