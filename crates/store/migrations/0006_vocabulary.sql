-- The whole vocabulary of rules: soft breaches, warnings, violations, payouts and growth; rules that hold for one
-- account; signed receipts; the firms' calendars of releases.

alter table orders
    drop constraint orders_reason_known,
    add constraint orders_reason_known check (
        reason in ('by_trader', 'account_ended', 'account_locked', 'insufficient_margin', 'against_rule')
    );

alter table verdicts
    drop constraint verdicts_kind_known,
    add constraint verdicts_kind_known check (
        kind in ('breach', 'soft_breach', 'violation', 'warning', 'pass', 'promotion', 'expiry', 'payout',
                 'payout_refusal')
    );

alter table balance_entries
    drop constraint balance_entries_kind_known,
    add constraint balance_entries_kind_known check (
        kind in ('initial', 'profit', 'commission', 'payout', 'growth')
    );

-- A rule that holds for one account in place of its program's, as it was decided by hand. What holds now stands in the
-- account's track; this is who decided what, when and why.
create table account_overrides (
    firm_id uuid not null,
    account_id uuid not null,
    id bigint generated always as identity,
    at timestamptz not null,
    rule_index integer not null,
    -- None when the program's own rule holds again.
    rule jsonb,
    reason text not null,
    person_id uuid not null,
    constraint account_overrides_key primary key (firm_id, account_id, id),
    constraint account_overrides_place_counted check (rule_index >= 0),
    constraint account_overrides_reason_length check (char_length(reason) between 1 and 500),
    constraint account_overrides_account foreign key (firm_id, account_id) references accounts (firm_id, id),
    constraint account_overrides_person foreign key (firm_id, person_id) references people (firm_id, id)
);
create trigger account_overrides_final before update or delete or truncate on account_overrides
    for each statement execute function tradesense_refuse_change();

-- The signed text that is handed out. Made once, after the verdict was stored for good.
create table receipts (
    firm_id uuid not null,
    account_id uuid not null,
    number bigint not null,
    issued_at timestamptz not null,
    durable_at timestamptz,
    document text not null,
    constraint receipts_key primary key (firm_id, account_id, number),
    constraint receipts_document_json check (document::jsonb is not null),
    constraint receipts_verdict foreign key (firm_id, account_id, number)
        references verdicts (firm_id, account_id, number)
);
create trigger receipts_final before update or delete or truncate on receipts
    for each statement execute function tradesense_refuse_change();

-- Verdicts whose receipt is not made yet: written with the verdict, taken away with the receipt.
create table receipts_due (
    firm_id uuid not null,
    account_id uuid not null,
    number bigint not null,
    constraint receipts_due_key primary key (firm_id, account_id, number),
    constraint receipts_due_verdict foreign key (firm_id, account_id, number)
        references verdicts (firm_id, account_id, number)
);

-- Releases that move markets, as a firm's people entered them.
create table releases (
    firm_id uuid not null,
    id uuid not null,
    name text not null,
    at timestamptz not null,
    currencies text[] not null,
    symbols text[] not null,
    constraint releases_key primary key (firm_id, id),
    constraint releases_name_length check (char_length(name) between 1 and 120),
    constraint releases_targets check (cardinality(currencies) + cardinality(symbols) between 1 and 50),
    constraint releases_once unique (firm_id, name, at),
    constraint releases_firm foreign key (firm_id) references firms (firm_id)
);
create index releases_by_time on releases (firm_id, at);

do $$
declare
    name text;
begin
    foreach name in array array['account_overrides', 'receipts', 'receipts_due'] loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy %I on %I using (firm_id = tradesense_firm()) '
                       'with check (firm_id = tradesense_firm())', name || '_own', name);
        execute format('create policy %I on %I to tradesense_engine using (true) with check (true)',
                       name || '_engine', name);
    end loop;
end
$$;
alter table releases enable row level security;
alter table releases force row level security;
create policy releases_own on releases
    using (firm_id = tradesense_firm()) with check (firm_id = tradesense_firm());

grant select on account_overrides, receipts to tradesense_app;
grant select, insert on account_overrides, receipts to tradesense_engine;
grant select, insert, delete on receipts_due to tradesense_engine;
grant select, insert, delete on releases to tradesense_app;
