-- Who owns which shard, and up to where the peaks of its accounts are known.

-- The processes that own shards. One that is not seen in time counts for no share.
create table shard_owners (
    id uuid not null,
    seen_until timestamptz not null,
    constraint shard_owners_key primary key (id)
);
grant select, insert, update, delete on shard_owners to tradesense_engine;

alter table shards
    -- Nobody if none.
    add column owner_id uuid,
    -- From then on anybody may claim it. The database's clock.
    add column leased_until timestamptz,
    -- The place in the quote log up to which the peak of every account is in its row, whenever that was written.
    add column mark_position bigint;
-- Every commit wrote every peak until now.
update shards set mark_position = quote_position;
alter table shards
    alter column mark_position set not null,
    add constraint shards_lease_whole check ((owner_id is null) = (leased_until is null)),
    add constraint shards_mark_counted check (mark_position between 0 and quote_position);

-- The prices that stood at the mark; none for an instrument that had none.
alter table standing_quotes
    add column mark_bid bigint,
    add column mark_ask bigint;
update standing_quotes set mark_bid = bid, mark_ask = ask;
alter table standing_quotes
    add constraint standing_quotes_mark_whole check ((mark_bid is null) = (mark_ask is null)),
    add constraint standing_quotes_mark_positive check (mark_bid > 0 and mark_ask > 0);

-- The place in the quote log at which the row was written: what the account holds has not changed since, and its peak is
-- known up to there.
alter table accounts add column quote_position bigint not null default 0,
    add constraint accounts_position_counted check (quote_position >= 0);
alter table accounts alter column quote_position drop default;

-- How long it took from receiving what an account did, or what was found about it, to deciding it and to its being durable:
-- counts by length, for each account and day (UTC). A bucket holds durations that differ by less than an eighth.
create table account_latencies (
    firm_id uuid not null,
    account_id uuid not null,
    day date not null,
    received text not null,
    until text not null,
    bucket smallint not null,
    count bigint not null,
    longest_us bigint not null,
    constraint account_latencies_key primary key (firm_id, account_id, day, received, until, bucket),
    constraint account_latencies_received_known check (received in ('command', 'verdict')),
    constraint account_latencies_until_known check (until in ('decided', 'durable')),
    constraint account_latencies_counted check (bucket >= 0 and count > 0 and longest_us >= 0),
    constraint account_latencies_account foreign key (firm_id, account_id) references accounts (firm_id, id)
);
alter table account_latencies enable row level security;
alter table account_latencies force row level security;
create policy account_latencies_own on account_latencies
    using (firm_id = tradesense_firm()) with check (firm_id = tradesense_firm());
create policy account_latencies_engine on account_latencies to tradesense_engine using (true) with check (true);
grant select on account_latencies to tradesense_app;
grant select, insert, update on account_latencies to tradesense_engine;

-- Ends a statement that wrote less than it was to write, by an error that names the table.
create function tradesense_demand(what text, written bigint, wanted bigint) returns bigint language plpgsql as $$
begin
    if written <> wanted then
        raise exception '%', what using errcode = 'TS001', detail = format('%s of %s rows were written', written, wanted);
    end if;
    return written;
end
$$;
