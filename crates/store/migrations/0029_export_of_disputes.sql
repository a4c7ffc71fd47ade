-- What docs/compliance/data.toml calls `export`, of what was given back and asked back.
create function tradesense_disputes_of(person uuid) returns table (kind text, content jsonb)
    language sql stable security definer set search_path = public, pg_temp as $$
    -- Who of the firm asked for it is the firm's business.
    select 'refunds', to_jsonb(own) - 'asked_by' from refunds own
    where own.firm_id = tradesense_firm() and own.person_id = person
    union all
    select 'disputes', to_jsonb(own) from disputes own
    where own.firm_id = tradesense_firm() and own.person_id = person
$$;
revoke all on function tradesense_disputes_of(uuid) from public;
grant execute on function tradesense_disputes_of(uuid) to tradesense_app;
