-- The firm's books compared with everybody else's. docs/adr/0039.

-- A comparison, as far as it has come. One goes on at a time for each subject.
create table reconciliation_runs (
    firm_id uuid not null,
    id uuid not null,
    -- A provider, or `own` for the books against our own records.
    subject text not null,
    state text not null,
    -- What lies within is compared: from (included) to (not).
    window_from timestamptz not null,
    window_to timestamptz not null,
    -- Whoever continues it writes the next step; of two that do the same one, one writes.
    step bigint not null,
    -- The part of the provider's books that is read next, and the provider's word for the page.
    read_from timestamptz not null,
    page text,
    -- The last name that was compared.
    after_family text not null,
    after_name text not null,
    -- Transactions below had all ended when the books were read; of which cluster.
    horizon xid8,
    cluster bigint,
    lines bigint not null,
    compared bigint not null,
    posted bigint not null,
    found bigint not null,
    vanished bigint not null,
    started_by uuid,
    started_at timestamptz not null,
    moved_at timestamptz not null,
    ended_at timestamptz,
    constraint reconciliation_runs_key primary key (firm_id, id),
    constraint reconciliation_runs_subject_form check (subject ~ '^[a-z][a-z0-9_]{0,31}$'),
    constraint reconciliation_runs_state_known check (state in ('reading', 'comparing', 'done')),
    constraint reconciliation_runs_ended check ((state = 'done') = (ended_at is not null)),
    constraint reconciliation_runs_window check (window_from < window_to),
    constraint reconciliation_runs_counted check (step >= 0 and least(lines, compared, posted, found, vanished) >= 0),
    constraint reconciliation_runs_firm foreign key (firm_id) references firms (firm_id)
);
create unique index reconciliation_runs_one_at_a_time on reconciliation_runs (firm_id, subject) where ended_at is null;
create index reconciliation_runs_by_time on reconciliation_runs (firm_id, started_at desc, id desc);
create index reconciliation_runs_ended_last on reconciliation_runs (firm_id, subject, window_to desc) where ended_at is not null;

-- A provider's books, line by line, as the provider told them.
create table provider_entries (
    firm_id uuid not null,
    provider text not null,
    id text not null,
    kind text not null,
    word text not null,
    about text,
    reference text,
    gross_minor bigint not null,
    fee_minor bigint not null,
    net_minor bigint not null,
    currency text not null,
    at timestamptz not null,
    recorded_at timestamptz not null,
    run_id uuid not null,
    -- What it is compared with.
    family text not null,
    name text not null,
    constraint provider_entries_key primary key (firm_id, provider, id),
    constraint provider_entries_id_length check (char_length(id) between 1 and 200),
    constraint provider_entries_kind_known check (kind in (
        'payment', 'refund', 'refund_returned', 'dispute', 'dispute_returned', 'hold', 'fee', 'payout', 'payout_returned',
        'bank', 'conversion', 'other'
    )),
    constraint provider_entries_currency_form check (currency ~ '^[A-Z]{3}$'),
    constraint provider_entries_run foreign key (firm_id, run_id) references reconciliation_runs (firm_id, id)
);
create index provider_entries_by_name on provider_entries (firm_id, provider, family, name);
create index provider_entries_by_time on provider_entries (firm_id, provider, at);
create index provider_entries_by_run on provider_entries (firm_id, run_id);
create index provider_entries_by_about on provider_entries (firm_id, provider, about) where family = 'payout';

-- What an entry of the ledger that moves what a provider holds is compared with. The first name stays.
create table ledger_names (
    firm_id uuid not null,
    provider text not null,
    entry_id uuid not null,
    family text not null,
    name text not null,
    at timestamptz not null,
    run_id uuid not null,
    constraint ledger_names_key primary key (firm_id, provider, entry_id),
    constraint ledger_names_entry foreign key (firm_id, entry_id) references ledger_entries (firm_id, id),
    constraint ledger_names_run foreign key (firm_id, run_id) references reconciliation_runs (firm_id, id)
);
create index ledger_names_by_name on ledger_names (firm_id, provider, family, name);
create index ledger_names_by_time on ledger_names (firm_id, provider, at);
create index ledger_names_by_run on ledger_names (firm_id, run_id);

-- Where two books differ. The same difference is the same row.
create table reconciliation_differences (
    firm_id uuid not null,
    id uuid not null,
    subject text not null,
    family text not null,
    name text not null,
    kind text not null,
    currency text not null,
    -- What we have and what the other side has; nothing where it has no such thing.
    ours bigint,
    theirs bigint,
    -- Trading accounts count millionths.
    unit text not null,
    -- What of ours it is about, if we know it.
    about text,
    state text not null,
    owner_id uuid,
    resolution text,
    resolved_by uuid,
    resolved_at timestamptz,
    posting_id uuid,
    first_seen_at timestamptz not null,
    last_seen_at timestamptz not null,
    first_run uuid not null,
    last_run uuid not null,
    constraint reconciliation_differences_key primary key (firm_id, id),
    constraint reconciliation_differences_kind_known check (kind in (
        'not_in_ledger', 'not_with_provider', 'amount', 'fee', 'without_entry', 'without_event', 'balance', 'fills'
    )),
    constraint reconciliation_differences_unit_known check (unit in ('minor', 'micros')),
    constraint reconciliation_differences_state_known check (state in ('open', 'assigned', 'resolved', 'vanished')),
    constraint reconciliation_differences_assigned check (state <> 'assigned' or owner_id is not null),
    constraint reconciliation_differences_resolved check (
        (state in ('resolved', 'vanished')) = (resolved_at is not null)
        and (state = 'resolved') = (resolution is not null)
        and (state = 'resolved') = (resolved_by is not null)
        and (posting_id is null or state = 'resolved')
    ),
    constraint reconciliation_differences_resolution_length check (char_length(resolution) between 1 and 500),
    constraint reconciliation_differences_currency_form check (currency ~ '^[A-Z]{3}$'),
    constraint reconciliation_differences_runs foreign key (firm_id, first_run) references reconciliation_runs (firm_id, id),
    constraint reconciliation_differences_last_run foreign key (firm_id, last_run) references reconciliation_runs (firm_id, id),
    constraint reconciliation_differences_posting foreign key (firm_id, posting_id) references ledger_entries (firm_id, id)
);
create index reconciliation_differences_unresolved on reconciliation_differences (firm_id, subject, family, name)
    where state in ('open', 'assigned');
create index reconciliation_differences_by_time on reconciliation_differences (firm_id, first_seen_at desc, id desc);

-- What is new since an instant is compared with the books.
create index purchase_events_by_recorded on purchase_events (firm_id, recorded_at);
create index purchase_events_by_id on purchase_events (firm_id, id);

do $$
declare
    name text;
begin
    foreach name in array array['reconciliation_runs', 'provider_entries', 'ledger_names', 'reconciliation_differences'] loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy %I on %I using (firm_id = tradesense_firm()) with check (firm_id = tradesense_firm())',
                       name || '_own', name);
        execute format('grant select, insert on %I to tradesense_app', name);
    end loop;
end
$$;
create trigger ledger_names_final before update or delete or truncate on ledger_names
    for each statement execute function tradesense_refuse_change();
grant update (state, step, read_from, page, after_family, after_name, horizon, cluster, lines, compared, posted, found, vanished,
              moved_at, ended_at) on reconciliation_runs to tradesense_app;
-- What came back of a payout learns later of which.
grant update (name) on provider_entries to tradesense_app;
grant update (kind, ours, theirs, about, state, owner_id, resolution, resolved_by, resolved_at, posting_id, last_seen_at, last_run)
    on reconciliation_differences to tradesense_app;
