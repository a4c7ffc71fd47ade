-- What boards, statistics and counters read. Nothing here is the truth: every row follows from the trading tables and the
-- purchases, and can be made again from them (docs/adr/0025).

-- A result as a share of the balance it began with, in whole millionths, rounded down: a greater result never has a lesser
-- share.
create function tradesense_ppm(realised_micros bigint, initial_micros bigint) returns bigint
    language sql immutable parallel safe
    return (div(realised_micros::numeric * 1000000, initial_micros)
            - (realised_micros::numeric * 1000000 % initial_micros < 0)::integer)::bigint;

-- Which version of the rows below is read, and which is being made. Whoever writes them has updated this row first: the
-- writers of a firm go one after the other, and what is changed under a number is committed before the next number is
-- given.
create table projections (
    firm_id uuid not null,
    name text not null,
    -- 0 until the first one is made.
    version integer not null,
    -- Made beside it: of the accounts up to this one.
    building integer,
    built_through uuid,
    -- Of the last writing; rows carry the number under which they were last written.
    change bigint not null,
    -- The newest message that was taken.
    taken_id bigint not null,
    taken_at timestamptz,
    constraint projections_key primary key (firm_id, name),
    constraint projections_name_known check (name = 'accounts'),
    constraint projections_counted check (version >= 0 and building > version and change >= 0 and taken_id >= 0),
    constraint projections_building check (building is not null or built_through is null),
    constraint projections_firm foreign key (firm_id) references firms (firm_id)
);

-- Where an account stands, and up to where its fills, entries and verdicts have been counted.
create table account_results (
    firm_id uuid not null,
    version integer not null,
    account_id uuid not null,
    person_id uuid not null,
    slug text not null,
    phase integer not null,
    status text not null,
    currency text not null,
    initial_micros bigint not null,
    balance_micros bigint not null,
    opened_at timestamptz not null,
    closed_at timestamptz,
    next_fill bigint not null,
    next_entry bigint not null,
    next_verdict bigint not null,
    change bigint not null,
    constraint account_results_key primary key (firm_id, version, account_id)
);
create index account_results_by_change on account_results (firm_id, version, change, account_id);
create index account_results_by_person on account_results (firm_id, version, person_id);

-- What an account realised in a period, and in all; periods begin in UTC, weeks on Mondays. Profit and commission count;
-- what is paid out or added does not.
create table account_scores (
    firm_id uuid not null,
    version integer not null,
    account_id uuid not null,
    period text not null,
    starts date not null,
    slug text not null,
    phase integer not null,
    opened_at timestamptz not null,
    realised_micros bigint not null,
    -- Of the balance at opening.
    ppm bigint not null,
    -- Positions closed.
    closed bigint not null,
    change bigint not null,
    constraint account_scores_key primary key (firm_id, version, account_id, period, starts),
    constraint account_scores_period_known check (period in ('day', 'week', 'month', 'all')),
    constraint account_scores_counted check (closed >= 0)
);
create index account_scores_by_change on account_scores (firm_id, version, change, account_id, period, starts);
create index account_scores_by_board on account_scores (firm_id, version, slug, phase, period, starts, ppm desc);

-- An account's closed positions by symbol; results after commission.
create table account_symbols (
    firm_id uuid not null,
    version integer not null,
    account_id uuid not null,
    symbol text not null,
    closed bigint not null,
    wins bigint not null,
    losses bigint not null,
    won_micros bigint not null,
    lost_micros bigint not null,
    -- Of all, together.
    held_us bigint not null,
    best_micros bigint not null,
    worst_micros bigint not null,
    constraint account_symbols_key primary key (firm_id, version, account_id, symbol),
    constraint account_symbols_counted check (closed > 0 and wins >= 0 and losses >= 0 and wins + losses <= closed)
);

-- A firm's business by day (UTC). `amount` is in minor units for purchases, in micro-units for payouts, as where they
-- come from.
create table business_days (
    firm_id uuid not null,
    version integer not null,
    day date not null,
    what text not null,
    slug text not null,
    -- 0 for purchases.
    phase integer not null,
    currency text not null,
    count bigint not null,
    amount bigint not null,
    constraint business_days_key primary key (firm_id, version, day, what, slug, phase, currency),
    constraint business_days_what_known check (
        what in ('purchases', 'paid', 'opened', 'breaches', 'passes', 'expiries', 'payouts')
    ),
    constraint business_days_counted check (count >= 0)
);

-- A day's purchases are counted again when one of them changes.
create index purchases_by_creation on purchases (firm_id, created_at);
create index purchases_by_decision on purchases (firm_id, decided_at) where decided_at is not null;

do $$
declare
    name text;
begin
    foreach name in array array['projections', 'account_results', 'account_scores', 'account_symbols',
                                'business_days'] loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy %I on %I using (firm_id = tradesense_firm()) '
                       'with check (firm_id = tradesense_firm())', name || '_own', name);
        execute format('grant select, insert, update, delete on %I to tradesense_app', name);
    end loop;
end
$$;
-- Who follows the rows asks for all firms at once whether there is anything new.
create policy projections_worker on projections for select to tradesense_worker using (true);
grant select on projections to tradesense_worker;
