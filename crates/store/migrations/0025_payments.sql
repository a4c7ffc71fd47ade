-- Pages on which buyers pay, and what providers of money say. docs/adr/0033.

create table checkouts (
    firm_id uuid not null,
    -- The key under which the provider is asked: written before it is.
    id uuid not null,
    purchase_id uuid not null,
    person_id uuid not null,
    provider text not null,
    -- The provider's name of it, and where the buyer pays.
    session text,
    page text,
    amount_minor bigint not null,
    currency text not null,
    state text not null,
    asked_at timestamptz not null,
    expires_at timestamptz not null,
    -- When whoever looks after them pulls it next.
    next_at timestamptz,
    looked smallint not null default 0,
    ended_at timestamptz,
    constraint checkouts_key primary key (firm_id, id),
    constraint checkouts_provider_form check (provider ~ '^[a-z][a-z0-9_]{0,31}$'),
    constraint checkouts_state_known check (state in ('opening', 'open', 'paid', 'declined', 'expired', 'replaced', 'refused')),
    constraint checkouts_session_length check (char_length(session) between 1 and 255),
    constraint checkouts_page_length check (char_length(page) between 1 and 2048),
    constraint checkouts_open_has_session check (state in ('opening', 'refused') or session is not null),
    constraint checkouts_ended check ((state in ('opening', 'open')) = (ended_at is null)),
    constraint checkouts_amount_positive check (amount_minor > 0),
    constraint checkouts_currency_form check (currency ~ '^[A-Z]{3}$'),
    constraint checkouts_expire_later check (expires_at > asked_at),
    constraint checkouts_looked_counted check (looked >= 0),
    constraint checkouts_session_once unique (firm_id, provider, session),
    constraint checkouts_purchase foreign key (firm_id, purchase_id, person_id)
        references purchases (firm_id, id, person_id)
);
-- One page at a time.
create unique index checkouts_open_once on checkouts (firm_id, purchase_id) where state in ('opening', 'open');
create index checkouts_due on checkouts (next_at) where next_at is not null;

-- The inbox: what providers have said and signed, each event once. Processing pulls what it is about.
create table provider_notices (
    firm_id uuid not null,
    provider text not null,
    event text not null,
    kind text not null,
    about_kind text not null,
    about text not null,
    happened_at timestamptz not null,
    received_at timestamptz not null,
    -- What came, byte by byte. Gone with the erasure of whom it is about, and in time if it is about nobody that we know.
    body bytea,
    -- Whom it turned out to be about.
    person_id uuid,
    state text not null,
    attempts integer not null default 0,
    -- By the database's clock: nobody else takes it until then.
    next_at timestamptz,
    settled_at timestamptz,
    -- What stood in the way the last time.
    error text,
    constraint provider_notices_key primary key (firm_id, provider, event),
    constraint provider_notices_provider_form check (provider ~ '^[a-z][a-z0-9_]{0,31}$'),
    constraint provider_notices_event_length check (char_length(event) between 1 and 255),
    constraint provider_notices_kind_length check (char_length(kind) between 1 and 255),
    constraint provider_notices_about_known check (
        about_kind in ('checkout', 'payment', 'refund', 'dispute', 'payout', 'other')
    ),
    constraint provider_notices_about_length check (char_length(about) <= 255),
    constraint provider_notices_state_known check (state in ('waiting', 'done', 'kept', 'stuck')),
    constraint provider_notices_waits check ((state = 'waiting') = (next_at is not null)),
    constraint provider_notices_attempts_counted check (attempts >= 0),
    constraint provider_notices_error_length check (char_length(error) <= 2000),
    constraint provider_notices_firm foreign key (firm_id) references firms (firm_id)
) with (fillfactor = 70);
create index provider_notices_waiting on provider_notices (next_at) where state = 'waiting';
create index provider_notices_by_person on provider_notices (firm_id, person_id) where person_id is not null;
create index provider_notices_received on provider_notices (firm_id, received_at);

do $$
declare
    name text;
begin
    foreach name in array array['checkouts', 'provider_notices'] loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy %I on %I using (firm_id = tradesense_firm()) with check (firm_id = tradesense_firm())',
                       name || '_own', name);
        -- Whoever looks after them looks over all firms.
        execute format('create policy %I on %I to tradesense_worker using (true)', name || '_worker', name);
    end loop;
end
$$;

grant select, insert on checkouts to tradesense_app;
grant update (session, page, state, next_at, looked, ended_at) on checkouts to tradesense_app;
grant select, update (next_at, looked) on checkouts to tradesense_worker;

grant select, insert on provider_notices to tradesense_app;
grant update (body, person_id, state, attempts, next_at, settled_at, error) on provider_notices to tradesense_app;
grant select (firm_id, provider, event, kind, about_kind, about, received_at, state, attempts, next_at), delete
    on provider_notices to tradesense_worker;
grant update (attempts, next_at) on provider_notices to tradesense_worker;

-- What docs/compliance/data.toml calls `export`, of the tables above.
create function tradesense_payments_of(person uuid) returns table (kind text, content jsonb)
    language sql stable security definer set search_path = public, pg_temp as $$
    select 'checkouts', to_jsonb(own) from checkouts own where own.firm_id = tradesense_firm() and own.person_id = person
    union all
    select 'provider_notices', to_jsonb(own) - 'body' || jsonb_build_object('body', convert_from(own.body, 'UTF8'))
    from provider_notices own where own.firm_id = tradesense_firm() and own.person_id = person
$$;
revoke all on function tradesense_payments_of(uuid) from public;
grant execute on function tradesense_payments_of(uuid) to tradesense_app;

-- What providers wrote of somebody. With `tradesense_forget_person`.
create function tradesense_forget_payments(person uuid) returns void
    language sql security definer set search_path = public, pg_temp as $$
    update provider_notices set body = null where firm_id = tradesense_firm() and person_id = person
$$;
revoke all on function tradesense_forget_payments(uuid) from public;
grant execute on function tradesense_forget_payments(uuid) to tradesense_app;
