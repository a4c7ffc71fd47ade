-- The firm's books, in double entry. docs/adr/0031.
--
-- Rows are inserted and never changed. An imbalance cannot be written: a transfer names both of its accounts.

-- What happened at once.
create table ledger_entries (
    firm_id uuid not null,
    -- Chosen by whoever posts it: the same id with the same digest is the same entry.
    id uuid not null,
    -- The order of recording.
    number bigint generated always as identity,
    kind text not null,
    -- What it is about, such as `purchase:0198...`. Looked for by how it begins, whatever the database's own order of letters is.
    cause text collate "C" not null,
    effective_at timestamptz not null,
    recorded_at timestamptz not null,
    reverses_id uuid,
    reason text,
    -- SHA-256 over the content, see `app::ledger::Entry::digest`.
    digest bytea not null,
    lines smallint not null,
    -- The transaction that wrote it: only that one writes its transfers, and a snapshot knows by it what it holds.
    transaction xid8 not null default pg_current_xact_id(),
    constraint ledger_entries_key primary key (firm_id, id),
    constraint ledger_entries_whole unique (firm_id, id, transaction),
    constraint ledger_entries_reversed_once unique (firm_id, reverses_id),
    constraint ledger_entries_kind_known check (kind in (
        'capture', 'overpayment', 'provider_fee', 'provider_fee_back', 'refund', 'dispute_opened', 'dispute_won', 'dispute_lost',
        'reward', 'hold', 'hold_posted', 'hold_voided', 'hold_expired', 'payout_settled', 'payout_returned', 'commission',
        'provider_payout', 'conversion', 'difference', 'reversal'
    )),
    constraint ledger_entries_cause_length check (char_length(cause) between 1 and 200),
    constraint ledger_entries_reason_length check (char_length(reason) between 1 and 500),
    constraint ledger_entries_digest_length check (octet_length(digest) = 32),
    constraint ledger_entries_lines_counted check (lines between 1 and 16),
    constraint ledger_entries_reversal_says_why check (
        (kind = 'reversal') = (reverses_id is not null) and (reverses_id is null or reason is not null)
    ),
    constraint ledger_entries_firm foreign key (firm_id) references firms (firm_id),
    constraint ledger_entries_reverses foreign key (firm_id, reverses_id) references ledger_entries (firm_id, id)
);
create unique index ledger_entries_by_number on ledger_entries (firm_id, number);
create index ledger_entries_by_cause on ledger_entries (firm_id, cause);

-- An amount from one account to another: debits equal credits in every row.
create table ledger_transfers (
    firm_id uuid not null,
    entry_id uuid not null,
    line smallint not null,
    transaction xid8 not null default pg_current_xact_id(),
    currency text not null,
    amount_minor bigint not null,
    debit text not null,
    credit text not null,
    -- The entry's: sums over time need not look for it.
    effective_at timestamptz not null,
    recorded_at timestamptz not null,
    constraint ledger_transfers_key primary key (firm_id, entry_id, line),
    constraint ledger_transfers_entry foreign key (firm_id, entry_id, transaction)
        references ledger_entries (firm_id, id, transaction),
    constraint ledger_transfers_line_counted check (line between 1 and 16),
    constraint ledger_transfers_amount_positive check (amount_minor > 0),
    constraint ledger_transfers_currency_form check (currency ~ '^[A-Z]{3}$'),
    constraint ledger_transfers_two_sides check (debit <> credit),
    constraint ledger_transfers_debit_known check (debit ~
        '^(bank|fee_income|discounts|refunds|tax_payable|overpaid|dispute_losses|trader_rewards|affiliate_commissions|exchange|(provider_clearing|disputes|provider_fees|payout_clearing|unmatched):[a-z][a-z0-9_]{0,31}|(trader_payable|trader_held|affiliate_payable|affiliate_held):[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12})$'),
    constraint ledger_transfers_credit_known check (credit ~
        '^(bank|fee_income|discounts|refunds|tax_payable|overpaid|dispute_losses|trader_rewards|affiliate_commissions|exchange|(provider_clearing|disputes|provider_fees|payout_clearing|unmatched):[a-z][a-z0-9_]{0,31}|(trader_payable|trader_held|affiliate_payable|affiliate_held):[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12})$')
);
-- Balances are sums over these two.
create index ledger_transfers_by_debit on ledger_transfers (firm_id, debit, currency, transaction) include (amount_minor);
create index ledger_transfers_by_credit on ledger_transfers (firm_id, credit, currency, transaction) include (amount_minor);
create index ledger_transfers_by_time on ledger_transfers (firm_id, effective_at);
-- What is new since a snapshot.
create index ledger_transfers_by_transaction on ledger_transfers (firm_id, transaction);

-- An entry has its last line; with the key above it has lines and no more than it says.
alter table ledger_entries add constraint ledger_entries_last_line
    foreign key (firm_id, id, lines) references ledger_transfers (firm_id, entry_id, line);

-- Money that is kept back. The entry that opens it moves it to where it is held.
create table ledger_holds (
    firm_id uuid not null,
    id uuid not null,
    account text not null,
    currency text not null,
    amount_minor bigint not null,
    cause text not null,
    opened_at timestamptz not null,
    -- From then on it can only expire; never if null.
    expires_at timestamptz,
    entry_id uuid not null,
    constraint ledger_holds_key primary key (firm_id, id),
    constraint ledger_holds_amount_positive check (amount_minor > 0),
    constraint ledger_holds_account_known check (
        account ~ '^(trader_payable|affiliate_payable):[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$'),
    constraint ledger_holds_expires_later check (expires_at > opened_at),
    constraint ledger_holds_entry foreign key (firm_id, entry_id) references ledger_entries (firm_id, id)
);
create index ledger_holds_by_expiry on ledger_holds (firm_id, expires_at) where expires_at is not null;

-- The end of a hold: its key is the hold, so that there is one. A hold without a row here is pending.
create table ledger_hold_ends (
    firm_id uuid not null,
    hold_id uuid not null,
    state text not null,
    at timestamptz not null,
    entry_id uuid not null,
    constraint ledger_hold_ends_key primary key (firm_id, hold_id),
    constraint ledger_hold_ends_state_known check (state in ('posted', 'voided', 'expired')),
    constraint ledger_hold_ends_hold foreign key (firm_id, hold_id) references ledger_holds (firm_id, id),
    constraint ledger_hold_ends_entry foreign key (firm_id, entry_id) references ledger_entries (firm_id, id)
);

-- Sums of all transfers of transactions below `horizon`, all of which had ended. Derived: without them balances are found by
-- summing everything. Those of another cluster, whose transactions have other numbers, are passed over.
create table ledger_snapshots (
    firm_id uuid not null,
    number bigint not null,
    horizon xid8 not null,
    cluster bigint not null,
    taken_at timestamptz not null,
    constraint ledger_snapshots_key primary key (firm_id, number),
    constraint ledger_snapshots_counted check (number >= 1),
    constraint ledger_snapshots_firm foreign key (firm_id) references firms (firm_id)
);
create table ledger_snapshot_lines (
    firm_id uuid not null,
    number bigint not null,
    account text not null,
    currency text not null,
    debits bigint not null,
    credits bigint not null,
    constraint ledger_snapshot_lines_key primary key (firm_id, number, account, currency),
    constraint ledger_snapshot_lines_counted check (debits >= 0 and credits >= 0),
    constraint ledger_snapshot_lines_snapshot foreign key (firm_id, number) references ledger_snapshots (firm_id, number)
);

do $$
declare
    name text;
begin
    foreach name in array array['ledger_entries', 'ledger_transfers', 'ledger_holds', 'ledger_hold_ends', 'ledger_snapshots',
                                'ledger_snapshot_lines'] loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy %I on %I using (firm_id = tradesense_firm()) with check (firm_id = tradesense_firm())',
                       name || '_own', name);
        execute format('create trigger %I before update or delete or truncate on %I for each statement '
                       'execute function tradesense_refuse_change()', name || '_final', name);
        execute format('grant select on %I to tradesense_app', name);
    end loop;
end
$$;

-- Which transaction wrote a row is the database's to say, and so is its number.
grant insert (firm_id, id, kind, cause, effective_at, recorded_at, reverses_id, reason, digest, lines) on ledger_entries
    to tradesense_app;
grant insert (firm_id, entry_id, line, currency, amount_minor, debit, credit, effective_at, recorded_at) on ledger_transfers
    to tradesense_app;
grant insert on ledger_holds, ledger_hold_ends, ledger_snapshots, ledger_snapshot_lines to tradesense_app;
