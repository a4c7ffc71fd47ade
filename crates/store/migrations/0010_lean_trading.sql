-- What a shard writes with every order costs no more than the row itself.
--
-- Only a shard's owner writes these tables, from types that can hold nothing else, and its epoch decides that nobody else
-- does. What keys to other tables and checks would refuse at every row, `Store::faults` finds in all of them at once
-- (docs/adr/0022).

alter table orders drop constraint orders_account;
alter table positions drop constraint positions_account;
alter table fills drop constraint fills_position, drop constraint fills_order;
alter table balance_entries drop constraint balance_entries_account, drop constraint balance_entries_fill;
alter table trading_days drop constraint trading_days_account;
alter table verdicts
    drop constraint verdicts_account,
    -- The owner has just computed it, and whoever reads the evidence computes it again.
    drop constraint verdicts_digest,
    drop constraint verdicts_evidence_json;
alter table receipts_due drop constraint receipts_due_verdict;
alter table account_latencies drop constraint account_latencies_account;

-- Text as it was written: nobody looks into it here, and it is read back as a whole.
alter table accounts
    alter column track type text using track::text,
    -- Room on each page for the next version of its rows, so that no index hears of it.
    set (fillfactor = 50);

-- A shard's journal is read in its order, and by time for the keys of the last 48 hours. That a key names one command is
-- decided by the engine, which remembers them; under another epoch it could not have written.
alter table journal
    drop constraint journal_key,
    drop constraint journal_seq_once,
    drop constraint journal_command_once,
    drop constraint journal_shard,
    drop constraint journal_account,
    drop constraint journal_person,
    drop constraint journal_key_use_counted,
    drop column key_use,
    alter column act type text using act::text,
    alter column outcome type text using outcome::text,
    add constraint journal_key primary key (shard, seq, firm_id);
drop index journal_latest;
create index journal_by_time on journal using brin (at) with (pages_per_range = 16, autosummarize = on);

-- A command and a verdict have rows that are never changed: those are their entries in the audit log. `audit_entries` holds
-- what has no such row of its own.
create view audit_log with (security_invoker = true) as
    select firm_id, at, actor_id, action, object_kind, object, request_id, detail from audit_entries
    union all
    select firm_id, at, person_id, 'command.' || split_part(act, '"', 2), 'account', account_id::text, request_id,
           jsonb_build_object('shard', shard, 'seq', seq, 'key', key, 'act', act::jsonb, 'outcome', outcome::jsonb)
    from journal
    union all
    select firm_id, at, null, 'verdict.' || kind, 'account', account_id::text, null,
           jsonb_build_object('number', number, 'rule', rule, 'digest', encode(digest, 'hex'))
    from verdicts;
create policy journal_audit on journal for select to tradesense_audit using (true);
create policy verdicts_audit on verdicts for select to tradesense_audit using (true);
grant select on journal, verdicts, audit_log to tradesense_audit;

-- Each of these is read from the catalogue and prepared anew by every statement that writes a row.
do $$
declare
    found record;
begin
    for found in
        select conrelid::regclass as name, conname from pg_constraint
        where contype = 'c' and conrelid in ('orders'::regclass, 'positions'::regclass, 'fills'::regclass,
                                             'balance_entries'::regclass, 'journal'::regclass)
    loop
        execute format('alter table %s drop constraint %I', found.name, found.conname);
    end loop;
end
$$;

-- Evidence is a few thousand bytes of JSON, written by the ten thousand when a market falls: the quicker way to make it small,
-- where the server was built with it.
do $$
begin
    alter table verdicts alter column evidence set compression lz4;
    alter table receipts alter column document set compression lz4;
exception when feature_not_supported then
    null;
end
$$;

-- The rows of a batch as they are sent, one value each.
create type changed_account as (
    firm_id uuid, id uuid, status text, balance_micros bigint, track text, next_ticket bigint, next_fill bigint,
    next_entry bigint, next_verdict bigint, closed_at timestamptz
);
create type new_order as (
    firm_id uuid, account_id uuid, ticket bigint, symbol text, side text, kind text, price bigint, quantity bigint,
    stop_loss bigint, take_profit bigint, state text, reason text, placed_at timestamptz, done_at timestamptz,
    position_ticket bigint
);
-- Also for a position that has changed, of which only what can change is taken.
create type stored_position as (
    firm_id uuid, account_id uuid, ticket bigint, symbol text, side text, quantity bigint, opened_quantity bigint,
    open_price bigint, opened_at timestamptz, stop_loss bigint, take_profit bigint, margin_micros bigint,
    commission_micros bigint, realised_micros bigint, closed_at timestamptz, close_price bigint, close_reason text
);
create type new_fill as (
    firm_id uuid, account_id uuid, number bigint, at timestamptz, position_ticket bigint, order_ticket bigint, symbol text,
    side text, quantity bigint, price bigint, profit_micros bigint, commission_micros bigint, reason text,
    quote_position bigint
);
create type new_balance_entry as (
    firm_id uuid, account_id uuid, number bigint, at timestamptz, kind text, amount_micros bigint, balance_micros bigint,
    fill_number bigint
);
create type new_journaled as (
    firm_id uuid, seq bigint, at timestamptz, after_quote bigint, account_id uuid, key text, act text, outcome text,
    person_id uuid, request_id uuid
);
