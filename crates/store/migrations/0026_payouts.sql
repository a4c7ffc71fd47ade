-- Payouts from the request to the bank, who is known to be who, and what proves a payout or a passed phase. docs/adr/0034.

-- How a firm pays. Without a row: every method, who asks must be known, and two people look at every payout.
create table payout_settings (
    firm_id uuid not null,
    methods text[] not null,
    identity_needed boolean not null,
    -- The firm's own bank account, from which files are paid.
    bank_name text,
    bank_iban text,
    bank_bic text,
    changed_at timestamptz not null,
    constraint payout_settings_key primary key (firm_id),
    constraint payout_settings_methods_known check (methods <@ array['stripe', 'paypal', 'bank_file', 'manual']),
    constraint payout_settings_bank_whole check (
        (bank_iban is null) = (bank_name is null) and (bank_bic is null or bank_iban is not null)
    ),
    constraint payout_settings_firm foreign key (firm_id) references firms (firm_id)
);

-- Up to which amount one person is enough.
create table payout_limits (
    firm_id uuid not null,
    currency text not null,
    one_reviewer_minor bigint not null,
    constraint payout_limits_key primary key (firm_id, currency),
    constraint payout_limits_currency_form check (currency ~ '^[A-Z]{3}$'),
    constraint payout_limits_not_negative check (one_reviewer_minor >= 0),
    constraint payout_limits_firm foreign key (firm_id) references firms (firm_id)
);

-- Whether somebody is who they say.
create table identity_checks (
    firm_id uuid not null,
    person_id uuid not null,
    state text not null,
    -- Who looks at the documents, and their name of it.
    verifier text not null,
    reference text,
    reason text,
    reviewer_id uuid,
    started_at timestamptz not null,
    submitted_at timestamptz,
    decided_at timestamptz,
    expires_at timestamptz,
    looked_at timestamptz not null,
    constraint identity_checks_key primary key (firm_id, person_id),
    constraint identity_checks_state_known check (state in ('started', 'submitted', 'verified', 'refused', 'expired')),
    constraint identity_checks_reason_length check (char_length(reason) <= 500),
    constraint identity_checks_reference_length check (char_length(reference) <= 255),
    constraint identity_checks_verified_until check (state <> 'verified' or expires_at is not null),
    constraint identity_checks_person foreign key (firm_id, person_id) references people (firm_id, id),
    constraint identity_checks_reviewer foreign key (firm_id, reviewer_id) references people (firm_id, id)
);
create index identity_checks_waiting on identity_checks (firm_id, looked_at) where state in ('submitted', 'verified');

-- What they show for it, sealed under their key.
create table identity_documents (
    firm_id uuid not null,
    id uuid not null,
    person_id uuid not null,
    kind text not null,
    media_type text not null,
    size integer not null,
    bytes_sealed bytea not null,
    uploaded_at timestamptz not null,
    constraint identity_documents_key primary key (firm_id, id),
    constraint identity_documents_kind_known check (kind in ('passport', 'id_card', 'driving_licence', 'address', 'selfie')),
    constraint identity_documents_media_known check (media_type in ('image/jpeg', 'image/png', 'application/pdf')),
    constraint identity_documents_size_bounded check (size between 1 and 5242880),
    constraint identity_documents_person foreign key (firm_id, person_id) references identity_checks (firm_id, person_id)
);
create index identity_documents_by_person on identity_documents (firm_id, person_id);

create table payouts (
    firm_id uuid not null,
    id uuid not null,
    person_id uuid not null,
    account_id uuid not null,
    program_name text not null,
    currency text not null,
    -- What is to leave the trading account.
    asked_micros bigint not null,
    -- `rules::payout::Precheck` at the request, and the trader's share by it.
    precheck text not null,
    expected_minor bigint not null,
    state text not null,
    method text not null,
    payee_sealed bytea not null,
    -- How many commands the engine answered with "not now".
    tries integer not null default 0,
    -- Since when the engine may have been asked.
    take_began_at timestamptz,
    -- The engine's verdict, what left the account by it, and the trader's share.
    verdict bigint,
    taken_micros bigint,
    share_minor bigint,
    attempt integer not null default 0,
    reason text,
    idempotency_key text not null,
    fingerprint bytea not null,
    requested_at timestamptz not null,
    moved_at timestamptz not null,
    looked_at timestamptz not null,
    constraint payouts_key primary key (firm_id, id),
    constraint payouts_person_too unique (firm_id, id, person_id),
    constraint payouts_once unique (firm_id, person_id, idempotency_key),
    constraint payouts_state_known check (state in (
        'requested', 'awaiting_identity', 'in_review', 'approved', 'taken', 'reserved', 'sending', 'sent', 'settled', 'failed',
        'returned', 'refused', 'rejected', 'withdrawn'
    )),
    constraint payouts_method_known check (method in ('stripe', 'paypal', 'bank_file', 'manual')),
    constraint payouts_amounts check (asked_micros > 0 and expected_minor >= 0 and taken_micros > 0 and share_minor >= 0),
    constraint payouts_taken_whole check (
        (taken_micros is null) = (share_minor is null)
        and (state in ('taken', 'reserved', 'sending', 'sent', 'settled', 'failed', 'returned')) = (taken_micros is not null)
    ),
    constraint payouts_counted check (tries >= 0 and attempt >= 0),
    constraint payouts_reason_length check (char_length(reason) <= 500),
    constraint payouts_fingerprint_length check (octet_length(fingerprint) = 32),
    constraint payouts_person foreign key (firm_id, person_id) references people (firm_id, id),
    constraint payouts_account foreign key (firm_id, account_id) references accounts (firm_id, id)
);
-- However many ask at once, one is under way. One that had arrived may come back while the next is: what came back is owed
-- whatever else is under way, and is sent once more when nothing is.
create unique index payouts_one_open on payouts (firm_id, account_id)
    where state not in ('settled', 'returned', 'refused', 'rejected', 'withdrawn');
create index payouts_returned on payouts (firm_id, account_id) where state = 'returned';
create index payouts_by_person on payouts (firm_id, person_id, requested_at);
create index payouts_moving on payouts (firm_id, looked_at)
    where state not in ('settled', 'refused', 'rejected', 'withdrawn', 'failed', 'returned');

-- A file for a bank.
create table payout_batches (
    firm_id uuid not null,
    id uuid not null,
    currency text not null,
    created_at timestamptz not null,
    maker_id uuid not null,
    constraint payout_batches_key primary key (firm_id, id),
    constraint payout_batches_currency_form check (currency ~ '^[A-Z]{3}$'),
    constraint payout_batches_maker foreign key (firm_id, maker_id) references people (firm_id, id)
);

-- Every time that money was sent, or tried to be.
create table payout_attempts (
    firm_id uuid not null,
    payout_id uuid not null,
    person_id uuid not null,
    number integer not null,
    method text not null,
    payee_sealed bytea not null,
    amount_minor bigint not null,
    currency text not null,
    state text not null,
    -- The provider's name of it; of what was paid by hand whatever the bank calls it.
    reference text,
    batch_id uuid,
    first_asked_at timestamptz not null,
    asked_at timestamptz not null,
    fee_minor bigint,
    fee_currency text,
    reason text,
    constraint payout_attempts_key primary key (firm_id, payout_id, number),
    constraint payout_attempts_state_known check (state in ('sending', 'sent', 'settled', 'failed', 'returned')),
    constraint payout_attempts_method_known check (method in ('stripe', 'paypal', 'bank_file', 'manual')),
    constraint payout_attempts_positive check (amount_minor > 0 and number > 0),
    constraint payout_attempts_fee_whole check ((fee_minor is null) = (fee_currency is null)),
    constraint payout_attempts_reference_length check (char_length(reference) <= 255),
    constraint payout_attempts_reason_length check (char_length(reason) <= 500),
    constraint payout_attempts_payout foreign key (firm_id, payout_id, person_id) references payouts (firm_id, id, person_id),
    constraint payout_attempts_batch foreign key (firm_id, batch_id) references payout_batches (firm_id, id)
);
create unique index payout_attempts_reference_once on payout_attempts (firm_id, method, reference)
    where reference is not null and method in ('stripe', 'paypal');
create index payout_attempts_by_batch on payout_attempts (firm_id, batch_id) where batch_id is not null;

-- Who let a payout go or not. Each of the firm's people once.
create table payout_reviews (
    firm_id uuid not null,
    payout_id uuid not null,
    reviewer_id uuid not null,
    approves boolean not null,
    reason text not null,
    at timestamptz not null,
    constraint payout_reviews_key primary key (firm_id, payout_id, reviewer_id),
    constraint payout_reviews_reason_length check (char_length(reason) between 1 and 500),
    constraint payout_reviews_payout foreign key (firm_id, payout_id) references payouts (firm_id, id),
    constraint payout_reviews_reviewer foreign key (firm_id, reviewer_id) references people (firm_id, id)
);
create trigger payout_reviews_final before update or delete or truncate on payout_reviews
    for each statement execute function tradesense_refuse_change();

-- What has happened to a payout.
create table payout_events (
    firm_id uuid not null,
    payout_id uuid not null,
    person_id uuid not null,
    number bigint generated always as identity,
    what text not null,
    attempt integer not null,
    detail text,
    at timestamptz not null,
    from_state text not null,
    to_state text not null,
    constraint payout_events_key primary key (firm_id, payout_id, number),
    constraint payout_events_what_known check (what in (
        'requested', 'identity_needed', 'identity_known', 'reviewed', 'approved', 'rejected', 'withdrawn', 'take_begun', 'later',
        'taken', 'nothing_owed', 'refused', 'reserved', 'begun', 'sent', 'settled', 'fee_known', 'failed', 'returned', 'sent_again'
    )),
    constraint payout_events_detail_length check (char_length(detail) <= 500),
    constraint payout_events_payout foreign key (firm_id, payout_id, person_id) references payouts (firm_id, id, person_id)
);
create trigger payout_events_final before update or delete or truncate on payout_events
    for each statement execute function tradesense_refuse_change();

-- Why nothing is sent to somebody for now, such as a dispute of theirs.
create table payout_blocks (
    firm_id uuid not null,
    person_id uuid not null,
    cause text not null,
    reason text not null,
    at timestamptz not null,
    constraint payout_blocks_key primary key (firm_id, person_id, cause),
    constraint payout_blocks_cause_length check (char_length(cause) between 1 and 200),
    constraint payout_blocks_reason_length check (char_length(reason) between 1 and 500),
    constraint payout_blocks_person foreign key (firm_id, person_id) references people (firm_id, id)
);

-- What a trader may show, found by a code that nobody guesses.
create table certificates (
    firm_id uuid not null,
    code text not null,
    person_id uuid not null,
    -- Of a settled payout, or of an account that passed its phase.
    payout_id uuid,
    account_id uuid,
    issued_at timestamptz not null,
    constraint certificates_key primary key (firm_id, code),
    constraint certificates_code_form check (code ~ '^[0-9a-f]{32}$'),
    constraint certificates_one_subject check ((payout_id is null) <> (account_id is null)),
    constraint certificates_payout_once unique (firm_id, payout_id),
    constraint certificates_account_once unique (firm_id, account_id),
    constraint certificates_payout foreign key (firm_id, payout_id, person_id) references payouts (firm_id, id, person_id),
    constraint certificates_account foreign key (firm_id, account_id) references accounts (firm_id, id),
    constraint certificates_person foreign key (firm_id, person_id) references people (firm_id, id)
);

do $$
declare
    name text;
begin
    foreach name in array array['payout_settings', 'payout_limits', 'identity_checks', 'identity_documents', 'payouts',
                                'payout_batches', 'payout_attempts', 'payout_reviews', 'payout_events', 'payout_blocks',
                                'certificates'] loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy %I on %I using (firm_id = tradesense_firm()) with check (firm_id = tradesense_firm())',
                       name || '_own', name);
        execute format('grant select, insert on %I to tradesense_app', name);
    end loop;
end
$$;
grant update (methods, identity_needed, bank_name, bank_iban, bank_bic, changed_at) on payout_settings to tradesense_app;
grant update (one_reviewer_minor), delete on payout_limits to tradesense_app;
grant update (state, verifier, reference, reason, reviewer_id, started_at, submitted_at, decided_at, expires_at, looked_at)
    on identity_checks to tradesense_app;
grant delete on identity_documents to tradesense_app;
grant update (state, method, payee_sealed, tries, take_began_at, verdict, taken_micros, share_minor, attempt, reason, moved_at,
              looked_at) on payouts to tradesense_app;
grant update (state, reference, asked_at, fee_minor, fee_currency, reason) on payout_attempts to tradesense_app;
grant delete on payout_blocks to tradesense_app;

-- What the engine answered to a command of a payout, and the verdict that came with it, however long ago.
create function tradesense_payout_answer(account uuid, command_key text)
    returns table (outcome text, number bigint, at timestamptz, evidence text, digest bytea)
    language sql stable security definer set search_path = public, pg_temp as $$
    select said.outcome::text, verdict.number, said.at, verdict.evidence, verdict.digest
    from journal said
    left join verdicts verdict on verdict.firm_id = said.firm_id and verdict.account_id = said.account_id
                               and verdict.at = said.at and verdict.kind in ('payout', 'payout_refusal')
    where said.firm_id = tradesense_firm() and said.account_id = account and said.key = command_key
    order by said.seq
    limit 1
$$;
revoke all on function tradesense_payout_answer(uuid, text) from public;
grant execute on function tradesense_payout_answer(uuid, text) to tradesense_app;

-- When somebody signed in, the newest first: reviewers look at it.
create function tradesense_sign_ins(person uuid, most integer) returns table (at timestamptz)
    language sql stable security definer set search_path = public, pg_temp as $$
    select entry.at from audit_entries entry
    where entry.firm_id = tradesense_firm() and entry.actor_id = person and entry.action = 'identity.sign_in'
    order by entry.at desc limit most
$$;
revoke all on function tradesense_sign_ins(uuid, integer) from public;
grant execute on function tradesense_sign_ins(uuid, integer) to tradesense_app;

-- Whoever sends the money counts, too.
alter function tradesense_open_payouts(uuid) rename to tradesense_untaken_payouts;
create function tradesense_open_payouts(person uuid) returns bigint
    language sql stable security definer set search_path = public, pg_temp as $$
    select tradesense_untaken_payouts(person)
         + (select count(*) from payouts payout
            where payout.firm_id = tradesense_firm() and payout.person_id = person
              and payout.state not in ('settled', 'refused', 'rejected', 'withdrawn'))
$$;
revoke all on function tradesense_open_payouts(uuid) from public;
grant execute on function tradesense_open_payouts(uuid) to tradesense_app;

-- What somebody has shown of themselves. With `tradesense_forget_person`.
create function tradesense_forget_payouts(person uuid) returns void
    language sql security definer set search_path = public, pg_temp as $$
    delete from identity_documents where firm_id = tradesense_firm() and person_id = person
$$;
revoke all on function tradesense_forget_payouts(uuid) from public;
grant execute on function tradesense_forget_payouts(uuid) to tradesense_app;

-- What docs/compliance/data.toml calls `export`, of the tables above.
create function tradesense_payouts_of(person uuid) returns table (kind text, content jsonb)
    language sql stable security definer set search_path = public, pg_temp as $$
    -- Who looked at it is the firm's business.
    select 'identity_checks', to_jsonb(own) - 'reviewer_id' from identity_checks own
    where own.firm_id = tradesense_firm() and own.person_id = person
    union all
    select 'identity_documents', to_jsonb(own) - 'bytes_sealed' from identity_documents own
    where own.firm_id = tradesense_firm() and own.person_id = person
    union all
    select 'payouts', to_jsonb(own) - 'payee_sealed' from payouts own
    where own.firm_id = tradesense_firm() and own.person_id = person
    union all
    select 'payout_attempts', to_jsonb(own) - 'payee_sealed' from payout_attempts own
    where own.firm_id = tradesense_firm() and own.person_id = person
    union all
    select 'payout_events', to_jsonb(own) from payout_events own
    where own.firm_id = tradesense_firm() and own.person_id = person
    union all
    select 'payout_blocks', to_jsonb(own) from payout_blocks own
    where own.firm_id = tradesense_firm() and own.person_id = person
    union all
    select 'certificates', to_jsonb(own) - 'code' from certificates own
    where own.firm_id = tradesense_firm() and own.person_id = person
$$;
revoke all on function tradesense_payouts_of(uuid) from public;
grant execute on function tradesense_payouts_of(uuid) to tradesense_app;
