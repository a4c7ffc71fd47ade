-- What people and the firm's own systems are told: the in-app inbox, mails, and outgoing webhooks.

-- The in-app inbox.
create table notifications (
    firm_id uuid not null,
    person_id uuid not null,
    id uuid not null,
    kind text not null,
    at timestamptz not null,
    -- What it says, see `app::notifications::Told`.
    told text not null,
    read_at timestamptz,
    constraint notifications_key primary key (firm_id, person_id, id),
    constraint notifications_person foreign key (firm_id, person_id) references people (firm_id, id)
);
create index notifications_newest on notifications (firm_id, person_id, at desc, id desc);
create index notifications_unread on notifications (firm_id, person_id) where read_at is null;
create index notifications_by_time on notifications using brin (at);

-- What somebody has chosen; what has no row is as `app::notifications::Group` says.
create table notification_preferences (
    firm_id uuid not null,
    person_id uuid not null,
    group_name text not null,
    in_app boolean not null,
    mail boolean not null,
    constraint notification_preferences_key primary key (firm_id, person_id, group_name),
    constraint notification_preferences_person foreign key (firm_id, person_id) references people (firm_id, id)
);

-- Mails: to whom, what, and what became of it. The address stands in `people` alone; here is the hash of the one that was
-- written to, so that a bounce finds it.
create table mails (
    firm_id uuid not null,
    id uuid not null,
    person_id uuid not null,
    kind text not null,
    at timestamptz not null,
    told text not null,
    -- At most one mail to a person has it.
    once_key text,
    state text not null,
    address_hash bytea,
    -- What the server said when it took it.
    provider_id text,
    error text,
    settled_at timestamptz,
    constraint mails_key primary key (firm_id, id),
    constraint mails_once unique (firm_id, person_id, once_key),
    constraint mails_state_known check (state in ('queued', 'sent', 'refused', 'suppressed', 'unwanted')),
    constraint mails_settled check ((state = 'queued') = (settled_at is null)),
    constraint mails_hash_length check (octet_length(address_hash) = 32),
    constraint mails_person foreign key (firm_id, person_id) references people (firm_id, id)
);
create index mails_by_time on mails using brin (at);

-- Addresses that take no mail: SHA-256 of the address in lower case.
create table mail_suppressions (
    firm_id uuid not null,
    address_hash bytea not null,
    reason text not null,
    at timestamptz not null,
    constraint mail_suppressions_key primary key (firm_id, address_hash),
    constraint mail_suppressions_reason_known check (reason in ('hard_bounce', 'complaint', 'refused')),
    constraint mail_suppressions_hash_length check (octet_length(address_hash) = 32),
    constraint mail_suppressions_firm foreign key (firm_id) references firms (firm_id)
);

-- What signs the firm's own links, made when it is first needed.
create table firm_secrets (
    firm_id uuid not null,
    purpose text not null,
    secret bytea not null,
    created_at timestamptz not null,
    constraint firm_secrets_key primary key (firm_id, purpose),
    constraint firm_secrets_length check (octet_length(secret) = 32),
    constraint firm_secrets_firm foreign key (firm_id) references firms (firm_id)
);

-- Where the firm's own systems listen.
create table webhook_endpoints (
    firm_id uuid not null,
    id uuid not null,
    url text not null,
    description text not null,
    -- Such as `account.*` or `purchase.paid`.
    topics text[] not null,
    created_at timestamptz not null,
    -- Why it is sent nothing; null while it is.
    disabled_because text,
    disabled_at timestamptz,
    -- Since when no attempt has succeeded; null while the last one did.
    failing_since timestamptz,
    constraint webhook_endpoints_key primary key (firm_id, id),
    constraint webhook_endpoints_url_length check (char_length(url) between 8 and 2000),
    constraint webhook_endpoints_description_length check (char_length(description) <= 200),
    constraint webhook_endpoints_topics_counted check (cardinality(topics) between 1 and 50),
    constraint webhook_endpoints_disabled check ((disabled_because is null) = (disabled_at is null)),
    constraint webhook_endpoints_reason_known check (disabled_because in ('by_hand', 'failing', 'gone')),
    constraint webhook_endpoints_firm foreign key (firm_id) references firms (firm_id)
);

-- What deliveries are signed with. Use cases write secrets and can never read one again; the workers' role reads them
-- to sign.
create table webhook_secrets (
    firm_id uuid not null,
    endpoint_id uuid not null,
    number integer not null,
    secret bytea not null,
    created_at timestamptz not null,
    -- An older one signs too until then; null for the newest.
    expires_at timestamptz,
    constraint webhook_secrets_key primary key (firm_id, endpoint_id, number),
    constraint webhook_secrets_length check (octet_length(secret) between 24 and 64),
    constraint webhook_secrets_endpoint foreign key (firm_id, endpoint_id)
        references webhook_endpoints (firm_id, id) on delete cascade
);

create table webhook_deliveries (
    firm_id uuid not null,
    endpoint_id uuid not null,
    id uuid not null,
    -- The receiver's key against doubles: the same for every attempt and every endpoint.
    message text not null,
    topic text not null,
    -- The very bytes that are signed and sent.
    body text not null,
    created_at timestamptz not null,
    state text not null,
    -- Made so far.
    attempts integer not null,
    -- Of them since it was created or last sent again by hand: the place in the schedule.
    tried integer not null,
    next_at timestamptz,
    settled_at timestamptz,
    constraint webhook_deliveries_key primary key (firm_id, endpoint_id, id),
    constraint webhook_deliveries_once unique (firm_id, endpoint_id, message),
    constraint webhook_deliveries_state_known check (state in ('waiting', 'delivered', 'failed')),
    constraint webhook_deliveries_waits check ((state = 'waiting') = (next_at is not null)),
    constraint webhook_deliveries_counted check (0 <= tried and tried <= attempts),
    constraint webhook_deliveries_endpoint foreign key (firm_id, endpoint_id)
        references webhook_endpoints (firm_id, id) on delete cascade
);
create index webhook_deliveries_newest on webhook_deliveries (firm_id, endpoint_id, created_at desc, id desc);
create index webhook_deliveries_failed on webhook_deliveries (firm_id, endpoint_id, created_at) where state = 'failed';
create index webhook_deliveries_by_time on webhook_deliveries using brin (created_at);

create table webhook_attempts (
    firm_id uuid not null,
    endpoint_id uuid not null,
    delivery_id uuid not null,
    number integer not null,
    at timestamptz not null,
    took_us bigint not null,
    -- Of the answer; null without one.
    status integer,
    -- The first bytes of the answer, as text.
    answer text,
    error text,
    constraint webhook_attempts_key primary key (firm_id, endpoint_id, delivery_id, number),
    constraint webhook_attempts_counted check (number > 0 and took_us >= 0),
    constraint webhook_attempts_told check (status is not null or error is not null),
    constraint webhook_attempts_delivery foreign key (firm_id, endpoint_id, delivery_id)
        references webhook_deliveries (firm_id, endpoint_id, id) on delete cascade
);

do $$
declare
    name text;
begin
    foreach name in array array['notifications', 'notification_preferences', 'mails', 'mail_suppressions', 'firm_secrets',
                                'webhook_endpoints', 'webhook_secrets', 'webhook_deliveries', 'webhook_attempts'] loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy %I on %I using (firm_id = tradesense_firm()) '
                       'with check (firm_id = tradesense_firm())', name || '_own', name);
    end loop;
    -- What is old is taken away for all firms at once, and the one who signs reads secrets.
    foreach name in array array['notifications', 'mails', 'webhook_deliveries', 'webhook_secrets'] loop
        execute format('create policy %I on %I to tradesense_worker using (true)', name || '_worker', name);
    end loop;
end
$$;

grant select, insert on notifications to tradesense_app;
grant update (read_at) on notifications to tradesense_app;
grant select, insert on notification_preferences to tradesense_app;
grant update (in_app, mail) on notification_preferences to tradesense_app;
grant select, insert on mails to tradesense_app;
grant update (state, address_hash, provider_id, error, settled_at) on mails to tradesense_app;
grant select, insert on mail_suppressions to tradesense_app;
grant update (reason, at) on mail_suppressions to tradesense_app;
grant select, insert on firm_secrets to tradesense_app;
grant select, insert, delete on webhook_endpoints to tradesense_app;
grant update (url, description, topics, disabled_because, disabled_at, failing_since) on webhook_endpoints to tradesense_app;
grant insert on webhook_secrets to tradesense_app;
grant select (firm_id, endpoint_id, number, created_at, expires_at) on webhook_secrets to tradesense_app;
grant update (expires_at) on webhook_secrets to tradesense_app;
grant select, insert on webhook_deliveries to tradesense_app;
grant update (state, attempts, tried, next_at, settled_at) on webhook_deliveries to tradesense_app;
grant select, insert on webhook_attempts to tradesense_app;

grant select (firm_id, at), delete on notifications to tradesense_worker;
grant select (firm_id, at), delete on mails to tradesense_worker;
grant select (firm_id, created_at), delete on webhook_deliveries to tradesense_worker;
grant select, delete on webhook_secrets to tradesense_worker;
