-- Who asks for which leases, so that nobody keeps more of a kind than its share. All times are the database's.
create table lease_seekers (
    owner_id uuid not null,
    names text[] not null,
    seen_until timestamptz not null,
    constraint lease_seekers_key primary key (owner_id)
);
grant select, insert, update, delete on lease_seekers to tradesense_worker, tradesense_engine;

-- Whether a lease that runs until then still holds. No lease is longer than a minute: one that runs for longer was written
-- before the database's clock was set back.
create function tradesense_is_leased(until timestamptz) returns boolean
    language sql volatile
    return until between clock_timestamp() and clock_timestamp() + interval '1 minute';

-- Topics that mean nothing to a group; nobody waits until it has taken them.
alter table consumer_groups add column passes_over text[] not null default '{}';
