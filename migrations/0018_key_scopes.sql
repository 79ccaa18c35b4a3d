-- What keys could do under the name chat is called run, since there is read
-- beside it. A node of the release before may still write the old name: it is
-- read as the new one.
create policy rename_scopes on api_keys using (true) with check (true);
update api_keys set scopes = array_replace(scopes, 'chat', 'run') where 'chat' = any (scopes);
drop policy rename_scopes on api_keys;
