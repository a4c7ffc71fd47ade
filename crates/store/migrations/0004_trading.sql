-- The state of the shards: written by their owners in one transaction per batch, read by everybody else.
--
-- Amounts are micro-units of the account's currency, prices points, sizes lot fractions of the instrument: whole
-- numbers, as the engine holds them.

-- The installation's, not a firm's: which shard stands where, under which owner.
create table shards (
    id smallint not null,
    epoch bigint not null,
    seq bigint not null,
    quote_position bigint not null,
    at timestamptz not null,
    constraint shards_key primary key (id),
    constraint shards_epoch_counted check (epoch >= 0),
    constraint shards_seq_counted check (seq >= 0),
    constraint shards_position_counted check (quote_position >= 0)
);

-- The standing quotes at the shard's place in the quote log.
create table standing_quotes (
    shard smallint not null,
    symbol text not null,
    bid bigint not null,
    ask bigint not null,
    source_time timestamptz not null,
    received_at timestamptz not null,
    quote_position bigint not null,
    constraint standing_quotes_key primary key (shard, symbol),
    constraint standing_quotes_prices_positive check (bid > 0 and ask > 0),
    constraint standing_quotes_shard foreign key (shard) references shards (id)
);

-- What the gate kept out, with its reason.
create table refused_quotes (
    id bigint generated always as identity,
    shard smallint not null,
    at timestamptz not null,
    source text not null,
    symbol text not null,
    bid bigint not null,
    ask bigint not null,
    source_time timestamptz not null,
    reason text not null,
    constraint refused_quotes_key primary key (id),
    constraint refused_quotes_shard foreign key (shard) references shards (id)
);

create table accounts (
    firm_id uuid not null,
    id uuid not null,
    challenge_id uuid not null,
    shard smallint not null,
    version text not null,
    phase integer not null,
    status text not null,
    currency text not null,
    initial_micros bigint not null,
    balance_micros bigint not null,
    track jsonb not null,
    next_ticket bigint not null,
    next_fill bigint not null,
    next_entry bigint not null,
    next_verdict bigint not null,
    opened_at timestamptz not null,
    closed_at timestamptz,
    constraint accounts_key primary key (firm_id, id),
    constraint accounts_id_once unique (id),
    constraint accounts_phase_once unique (firm_id, challenge_id, phase),
    constraint accounts_phase_counted check (phase >= 0),
    constraint accounts_status_known check (status in ('active', 'passed', 'breached', 'expired')),
    constraint accounts_closed check ((status = 'active') = (closed_at is null)),
    constraint accounts_currency_form check (currency ~ '^[A-Z]{3}$'),
    constraint accounts_initial_positive check (initial_micros > 0),
    constraint accounts_counters_fit check (
        next_ticket between 0 and 4294967295 and next_fill between 0 and 4294967295
        and next_entry between 0 and 4294967295 and next_verdict between 0 and 4294967295
    ),
    constraint accounts_challenge foreign key (firm_id, challenge_id) references challenges (firm_id, id),
    constraint accounts_version foreign key (firm_id, version) references program_versions (firm_id, version),
    constraint accounts_shard foreign key (shard) references shards (id)
);
create index accounts_by_shard on accounts (shard);

create table positions (
    firm_id uuid not null,
    account_id uuid not null,
    ticket bigint not null,
    symbol text not null,
    side text not null,
    quantity bigint not null,
    opened_quantity bigint not null,
    open_price bigint not null,
    opened_at timestamptz not null,
    stop_loss bigint,
    take_profit bigint,
    margin_micros bigint not null,
    commission_micros bigint not null,
    realised_micros bigint not null,
    closed_at timestamptz,
    close_price bigint,
    close_reason text,
    constraint positions_key primary key (firm_id, account_id, ticket),
    constraint positions_ticket_fits check (ticket between 0 and 4294967295),
    constraint positions_side_known check (side in ('buy', 'sell')),
    constraint positions_opened_quantity_positive check (opened_quantity > 0),
    constraint positions_quantity_counted check (quantity >= 0 and quantity <= opened_quantity),
    constraint positions_prices_positive check (
        open_price > 0 and stop_loss > 0 and take_profit > 0 and close_price > 0
    ),
    constraint positions_closed check ((closed_at is null) = (close_price is null) and (closed_at is null) = (close_reason is null)),
    constraint positions_reason_known check (
        close_reason in ('close', 'stop_loss', 'take_profit', 'stop_out', 'liquidation')
    ),
    constraint positions_account foreign key (firm_id, account_id) references accounts (firm_id, id)
);
create index positions_open on positions (firm_id, account_id, ticket) where closed_at is null;
create index positions_closed_latest on positions (firm_id, account_id, closed_at desc, ticket desc)
    where closed_at is not null;

create table orders (
    firm_id uuid not null,
    account_id uuid not null,
    ticket bigint not null,
    symbol text not null,
    side text not null,
    kind text not null,
    price bigint,
    quantity bigint not null,
    stop_loss bigint,
    take_profit bigint,
    state text not null,
    reason text,
    placed_at timestamptz not null,
    done_at timestamptz,
    position_ticket bigint,
    constraint orders_key primary key (firm_id, account_id, ticket),
    constraint orders_ticket_fits check (ticket between 0 and 4294967295),
    constraint orders_side_known check (side in ('buy', 'sell')),
    constraint orders_kind_known check (kind in ('market', 'limit', 'stop')),
    constraint orders_quantity_positive check (quantity > 0),
    constraint orders_price_by_kind check ((kind = 'market') = (price is null)),
    constraint orders_prices_positive check (price > 0 and stop_loss > 0 and take_profit > 0),
    constraint orders_state_known check (state in ('working', 'filled', 'cancelled', 'rejected')),
    constraint orders_done check ((state = 'working') = (done_at is null)),
    constraint orders_reason_known check (reason in ('by_trader', 'account_ended', 'insufficient_margin')),
    constraint orders_reason_by_state check ((state in ('cancelled', 'rejected')) = (reason is not null)),
    constraint orders_filled check ((state = 'filled') = (position_ticket is not null)),
    constraint orders_account foreign key (firm_id, account_id) references accounts (firm_id, id)
);
create index orders_working on orders (firm_id, account_id, ticket) where state = 'working';

create table fills (
    firm_id uuid not null,
    account_id uuid not null,
    number bigint not null,
    at timestamptz not null,
    position_ticket bigint not null,
    order_ticket bigint,
    symbol text not null,
    side text not null,
    quantity bigint not null,
    price bigint not null,
    profit_micros bigint not null,
    commission_micros bigint not null,
    reason text not null,
    quote_position bigint not null,
    constraint fills_key primary key (firm_id, account_id, number),
    constraint fills_number_fits check (number between 0 and 4294967295),
    constraint fills_quantity_positive check (quantity > 0),
    constraint fills_price_positive check (price > 0),
    constraint fills_side_known check (side in ('buy', 'sell')),
    constraint fills_reason_known check (
        reason in ('market', 'limit', 'stop', 'close', 'stop_loss', 'take_profit', 'stop_out', 'liquidation')
    ),
    constraint fills_position foreign key (firm_id, account_id, position_ticket)
        references positions (firm_id, account_id, ticket),
    constraint fills_order foreign key (firm_id, account_id, order_ticket)
        references orders (firm_id, account_id, ticket)
);
create trigger fills_final before update or delete or truncate on fills
    for each statement execute function tradesense_refuse_change();

create table balance_entries (
    firm_id uuid not null,
    account_id uuid not null,
    number bigint not null,
    at timestamptz not null,
    kind text not null,
    amount_micros bigint not null,
    balance_micros bigint not null,
    fill_number bigint,
    constraint balance_entries_key primary key (firm_id, account_id, number),
    constraint balance_entries_number_fits check (number between 0 and 4294967295),
    constraint balance_entries_kind_known check (kind in ('initial', 'profit', 'commission')),
    constraint balance_entries_initial_positive check (kind <> 'initial' or amount_micros > 0),
    constraint balance_entries_account foreign key (firm_id, account_id) references accounts (firm_id, id),
    constraint balance_entries_fill foreign key (firm_id, account_id, fill_number)
        references fills (firm_id, account_id, number)
);
create trigger balance_entries_final before update or delete or truncate on balance_entries
    for each statement execute function tradesense_refuse_change();

-- The days that a reset began.
create table trading_days (
    firm_id uuid not null,
    account_id uuid not null,
    day date not null,
    started_at timestamptz not null,
    balance_micros bigint not null,
    equity_micros bigint not null,
    constraint trading_days_key primary key (firm_id, account_id, day),
    constraint trading_days_account foreign key (firm_id, account_id) references accounts (firm_id, id)
);
create trigger trading_days_final before update or delete or truncate on trading_days
    for each statement execute function tradesense_refuse_change();

-- The evidence is the text that was hashed, with the account and the time in it.
create table verdicts (
    firm_id uuid not null,
    account_id uuid not null,
    number bigint not null,
    at timestamptz not null,
    decided_at timestamptz not null,
    kind text not null,
    rule text not null,
    phase integer not null,
    evidence text not null,
    digest bytea not null,
    constraint verdicts_key primary key (firm_id, account_id, number),
    constraint verdicts_number_fits check (number between 0 and 4294967295),
    constraint verdicts_kind_known check (kind in ('breach', 'pass', 'expiry')),
    constraint verdicts_evidence_json check (evidence::jsonb is not null),
    constraint verdicts_digest check (digest = sha256(convert_to(evidence, 'UTF8'))),
    constraint verdicts_account foreign key (firm_id, account_id) references accounts (firm_id, id)
);
create trigger verdicts_final before update or delete or truncate on verdicts
    for each statement execute function tradesense_refuse_change();

-- Every command that changed something or was refused, in the shard's order: replaying it beside the quote log
-- gives the state again.
create table journal (
    firm_id uuid not null,
    shard smallint not null,
    seq bigint not null,
    at timestamptz not null,
    after_quote bigint not null,
    account_id uuid not null,
    key text not null,
    key_use bigint not null,
    act jsonb not null,
    outcome jsonb not null,
    person_id uuid,
    request_id uuid,
    constraint journal_key primary key (firm_id, shard, seq),
    constraint journal_seq_once unique (shard, seq),
    -- A key is kept for 48 hours; used again after that, it names another command.
    constraint journal_command_once unique (firm_id, account_id, key, key_use),
    constraint journal_key_use_counted check (key_use >= 0),
    constraint journal_seq_counted check (seq > 0),
    constraint journal_position_counted check (after_quote >= 0),
    constraint journal_key_length check (char_length(key) between 1 and 64),
    constraint journal_shard foreign key (shard) references shards (id),
    constraint journal_account foreign key (firm_id, account_id) references accounts (firm_id, id),
    constraint journal_person foreign key (firm_id, person_id) references people (firm_id, id)
);
create index journal_latest on journal (account_id, at desc);
create trigger journal_final before update or delete or truncate on journal
    for each statement execute function tradesense_refuse_change();

do $$
declare
    name text;
begin
    foreach name in array array['accounts', 'positions', 'orders', 'fills', 'balance_entries', 'trading_days',
                                'verdicts', 'journal'] loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy %I on %I using (firm_id = tradesense_firm()) '
                       'with check (firm_id = tradesense_firm())', name || '_own', name);
        -- A shard holds accounts of every firm.
        execute format('create policy %I on %I to tradesense_engine using (true) with check (true)',
                       name || '_engine', name);
    end loop;
end
$$;

grant select on accounts, positions, orders, fills, balance_entries, trading_days, verdicts to tradesense_app;
grant select, insert on fills, balance_entries, trading_days, verdicts, journal to tradesense_engine;
grant select, insert, update on accounts, positions, orders, shards, standing_quotes to tradesense_engine;
grant insert on refused_quotes to tradesense_engine;
