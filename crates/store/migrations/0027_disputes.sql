-- Money given back, and money that buyers want back. docs/adr/0038.

create table refunds (
    firm_id uuid not null,
    -- Our name of it, and the key under which the provider is asked.
    id uuid not null,
    purchase_id uuid not null,
    -- Who bought.
    person_id uuid not null,
    provider text not null,
    payment text not null,
    amount_minor bigint not null,
    currency text not null,
    reason text not null,
    origin text not null,
    asked_by uuid,
    idempotency_key text,
    -- SHA-256 over what was asked for: the same key with something else is another request.
    fingerprint bytea,
    state text not null,
    -- The provider's name of it.
    known_as text,
    said text,
    first_asked_at timestamptz not null,
    tries integer not null,
    -- When the janitor looks at it.
    next_at timestamptz,
    changed_at timestamptz not null,
    constraint refunds_key primary key (firm_id, id),
    -- Somebody's key names one refund.
    constraint refunds_asked_once unique (firm_id, asked_by, idempotency_key),
    constraint refunds_known_once unique (firm_id, provider, known_as),
    constraint refunds_state_known check (state in ('asked', 'pending', 'done', 'failed')),
    constraint refunds_origin_known check (origin in ('asked', 'overpaid', 'at_provider')),
    constraint refunds_asked_whole check ((origin = 'asked') = (asked_by is not null)
                                          and (asked_by is null) = (idempotency_key is null)
                                          and (asked_by is null) = (fingerprint is null)),
    constraint refunds_fingerprint_length check (octet_length(fingerprint) = 32),
    constraint refunds_named check (state in ('asked', 'failed') or known_as is not null),
    constraint refunds_looked_at check (next_at is null or state in ('asked', 'pending')),
    constraint refunds_amount_positive check (amount_minor > 0),
    constraint refunds_currency_form check (currency ~ '^[A-Z]{3}$'),
    constraint refunds_provider_form check (provider ~ '^[a-z][a-z0-9_]{0,31}$'),
    constraint refunds_reason_length check (char_length(reason) between 1 and 500),
    constraint refunds_said_length check (char_length(said) <= 500),
    constraint refunds_names_length check (char_length(payment) between 1 and 255 and char_length(known_as) between 1 and 255),
    constraint refunds_tries_counted check (tries >= 0),
    constraint refunds_purchase foreign key (firm_id, purchase_id, person_id) references purchases (firm_id, id, person_id),
    constraint refunds_by foreign key (firm_id, asked_by) references people (firm_id, id)
);
create index refunds_by_purchase on refunds (firm_id, purchase_id);
create index refunds_by_state on refunds (firm_id, state, first_asked_at desc, id desc);
create index refunds_due on refunds (firm_id, next_at) where next_at is not null;

-- A payment that its buyer, or the buyer's bank, wants back.
create table disputes (
    firm_id uuid not null,
    -- Follows from the provider's name of it.
    id uuid not null,
    provider text not null,
    known_as text not null,
    purchase_id uuid not null,
    -- Who bought.
    person_id uuid not null,
    payment text not null,
    amount_minor bigint not null,
    currency text not null,
    -- What the provider takes for it, in whichever currency.
    fee_minor bigint,
    fee_currency text,
    reason text not null,
    state text not null,
    -- A question so far, with the money still ours.
    inquiry boolean not null,
    answer_by timestamptz,
    opened_at timestamptz not null,
    changed_at timestamptz not null,
    -- When the janitor pulls it.
    next_at timestamptz,
    -- What the firm's people will say, in their words.
    explanation text,
    constraint disputes_key primary key (firm_id, id),
    constraint disputes_known_once unique (firm_id, provider, known_as),
    constraint disputes_buyer unique (firm_id, id, person_id),
    constraint disputes_state_known check (state in ('needs_answer', 'under_review', 'won', 'lost')),
    constraint disputes_amount_positive check (amount_minor > 0 and fee_minor >= 0),
    constraint disputes_currency_form check (currency ~ '^[A-Z]{3}$' and fee_currency ~ '^[A-Z]{3}$'),
    constraint disputes_fee_whole check ((fee_minor is null) = (fee_currency is null)),
    constraint disputes_provider_form check (provider ~ '^[a-z][a-z0-9_]{0,31}$'),
    constraint disputes_names_length check (char_length(payment) between 1 and 255 and char_length(known_as) between 1 and 255
                                            and char_length(reason) <= 255),
    constraint disputes_explanation_length check (char_length(explanation) between 1 and 1000),
    constraint disputes_purchase foreign key (firm_id, purchase_id, person_id) references purchases (firm_id, id, person_id)
);
create index disputes_by_purchase on disputes (firm_id, purchase_id);
create index disputes_by_time on disputes (firm_id, opened_at desc, id desc);
create index disputes_due on disputes (firm_id, next_at) where next_at is not null;

-- What was answered. It is written before the provider hears of it, and one at most is on its way or has arrived.
create table dispute_answers (
    firm_id uuid not null,
    dispute_id uuid not null,
    number smallint not null,
    kind text not null,
    state text not null,
    explanation text,
    -- SHA-256 over everything that was handed in.
    digest bytea,
    said text,
    asked_by uuid not null,
    first_asked_at timestamptz not null,
    changed_at timestamptz not null,
    constraint dispute_answers_key primary key (firm_id, dispute_id, number),
    constraint dispute_answers_kind_known check (kind in ('evidence', 'concession')),
    constraint dispute_answers_state_known check (state in ('asked', 'done', 'failed')),
    constraint dispute_answers_number_counted check (number > 0),
    constraint dispute_answers_whole check ((kind = 'evidence') = (digest is not null) and octet_length(digest) = 32),
    constraint dispute_answers_said_length check (char_length(said) <= 500),
    constraint dispute_answers_explanation_length check (char_length(explanation) between 1 and 1000),
    constraint dispute_answers_dispute foreign key (firm_id, dispute_id) references disputes (firm_id, id),
    constraint dispute_answers_by foreign key (firm_id, asked_by) references people (firm_id, id)
);
create unique index dispute_answers_once on dispute_answers (firm_id, dispute_id) where state in ('asked', 'done');
create index dispute_answers_asked on dispute_answers (firm_id, first_asked_at) where state = 'asked';

-- Months in which a provider's rate of disputes was too high, told once for each level.
create table dispute_rate_alerts (
    firm_id uuid not null,
    provider text not null,
    month text not null,
    level text not null,
    disputes bigint not null,
    payments bigint not null,
    at timestamptz not null,
    constraint dispute_rate_alerts_key primary key (firm_id, provider, month, level),
    constraint dispute_rate_alerts_month_form check (month ~ '^[0-9]{4}-[0-9]{2}$'),
    constraint dispute_rate_alerts_level_known check (level in ('warn', 'alert')),
    constraint dispute_rate_alerts_provider_form check (provider ~ '^[a-z][a-z0-9_]{0,31}$'),
    constraint dispute_rate_alerts_counted check (disputes >= 0 and payments >= 0),
    constraint dispute_rate_alerts_firm foreign key (firm_id) references firms (firm_id)
);

do $$
declare
    name text;
begin
    foreach name in array array['refunds', 'disputes', 'dispute_answers', 'dispute_rate_alerts'] loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy %I on %I using (firm_id = tradesense_firm()) with check (firm_id = tradesense_firm())',
                       name || '_own', name);
        execute format('grant select, insert on %I to tradesense_app', name);
    end loop;
end
$$;
grant update (state, known_as, said, tries, next_at, changed_at) on refunds to tradesense_app;
grant update (amount_minor, fee_minor, fee_currency, reason, state, inquiry, answer_by, changed_at, next_at, explanation) on disputes to tradesense_app;
grant update (state, said, changed_at) on dispute_answers to tradesense_app;
-- The rate of a month is a count of its payments.
create index purchase_events_payments on purchase_events (firm_id, at) where what in ('captured', 'paid_again');
-- What is to be given back is looked for every few seconds.
create index purchase_events_paid_again on purchase_events (firm_id, number) where what = 'paid_again';

-- When somebody signed in or took their data with them: what the audit log says of it, and nothing else of it. Until an instant, so
-- that what was handed in can be put together again.
create function tradesense_visits_of(person uuid, until timestamptz, most integer)
    returns table (at timestamptz, action text)
    language sql stable security definer set search_path = public, pg_temp as $$
    select own.at, own.action from audit_entries own
    where own.firm_id = tradesense_firm() and own.actor_id = person and own.at <= until
      and own.action in ('identity.register', 'identity.sign_in', 'privacy.export')
    order by own.id desc limit most
$$;
revoke all on function tradesense_visits_of from public;
grant execute on function tradesense_visits_of to tradesense_app;
