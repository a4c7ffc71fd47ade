-- What is on sale, what was bought, and the challenge that a purchase becomes.

-- A version is named by the SHA-256 of its body and never changes. The body is kept as the text that was hashed: a
-- jsonb would come back in another order. What queries need of it stands beside it.
create table program_versions (
    firm_id uuid not null,
    version text not null,
    body text not null,
    name text not null,
    currency text not null,
    created_at timestamptz not null,
    constraint program_versions_key primary key (firm_id, version),
    constraint program_versions_hash check (version = encode(sha256(convert_to(body, 'UTF8')), 'hex')),
    constraint program_versions_body_says check (
        name is not distinct from body::jsonb->>'name' and currency is not distinct from body::jsonb->>'currency'
    ),
    constraint program_versions_form check (version ~ '^[0-9a-f]{64}$'),
    constraint program_versions_firm foreign key (firm_id) references firms (firm_id)
);
create index program_versions_by_hash on program_versions (version);
create trigger program_versions_final before update or delete or truncate on program_versions
    for each statement execute function tradesense_refuse_change();

create table programs (
    firm_id uuid not null,
    slug text not null,
    version text not null,
    fee_minor bigint not null,
    fee_currency text not null,
    on_sale boolean not null,
    position integer not null,
    constraint programs_key primary key (firm_id, slug),
    constraint programs_slug_form check (slug ~ '^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$'),
    constraint programs_fee_not_negative check (fee_minor >= 0),
    constraint programs_currency_form check (fee_currency ~ '^[A-Z]{3}$'),
    constraint programs_firm foreign key (firm_id) references firms (firm_id),
    constraint programs_version foreign key (firm_id, version) references program_versions (firm_id, version)
);

create table purchases (
    firm_id uuid not null,
    id uuid not null,
    person_id uuid not null,
    slug text not null,
    version text not null,
    fee_minor bigint not null,
    fee_currency text not null,
    state text not null,
    idempotency_key text not null,
    fingerprint bytea not null,
    created_at timestamptz not null,
    decided_at timestamptz,
    constraint purchases_key primary key (firm_id, id),
    constraint purchases_once unique (firm_id, person_id, idempotency_key),
    constraint purchases_buyer unique (firm_id, id, person_id),
    constraint purchases_state_known check (state in ('awaiting_payment', 'paid', 'declined', 'cancelled')),
    constraint purchases_decided check ((state = 'awaiting_payment') = (decided_at is null)),
    constraint purchases_fee_not_negative check (fee_minor >= 0),
    constraint purchases_currency_form check (fee_currency ~ '^[A-Z]{3}$'),
    constraint purchases_key_length check (char_length(idempotency_key) between 1 and 64),
    constraint purchases_fingerprint_length check (octet_length(fingerprint) = 32),
    constraint purchases_person foreign key (firm_id, person_id) references people (firm_id, id),
    constraint purchases_program foreign key (firm_id, slug) references programs (firm_id, slug),
    constraint purchases_version foreign key (firm_id, version) references program_versions (firm_id, version)
);
create index purchases_by_person on purchases (firm_id, person_id, created_at desc);

create table challenges (
    firm_id uuid not null,
    id uuid not null,
    purchase_id uuid not null,
    person_id uuid not null,
    slug text not null,
    version text not null,
    created_at timestamptz not null,
    -- When the account of its first phase was opened.
    opened_at timestamptz,
    constraint challenges_key primary key (firm_id, id),
    constraint challenges_purchase_once unique (firm_id, purchase_id),
    constraint challenges_bought foreign key (firm_id, purchase_id, person_id)
        references purchases (firm_id, id, person_id),
    constraint challenges_program foreign key (firm_id, slug) references programs (firm_id, slug),
    constraint challenges_version foreign key (firm_id, version) references program_versions (firm_id, version)
);
create index challenges_by_person on challenges (firm_id, person_id, created_at desc);
create index challenges_by_program on challenges (firm_id, slug);
create index challenges_unopened on challenges (created_at, id) where opened_at is null;

alter table program_versions enable row level security;
alter table program_versions force row level security;
create policy program_versions_own on program_versions
    using (firm_id = tradesense_firm()) with check (firm_id = tradesense_firm());
create policy program_versions_engine on program_versions for select to tradesense_engine using (true);

alter table programs enable row level security;
alter table programs force row level security;
create policy programs_own on programs
    using (firm_id = tradesense_firm()) with check (firm_id = tradesense_firm());

alter table purchases enable row level security;
alter table purchases force row level security;
create policy purchases_own on purchases
    using (firm_id = tradesense_firm()) with check (firm_id = tradesense_firm());

alter table challenges enable row level security;
alter table challenges force row level security;
create policy challenges_own on challenges
    using (firm_id = tradesense_firm()) with check (firm_id = tradesense_firm());
create policy challenges_engine on challenges to tradesense_engine using (true);

grant select, insert on program_versions to tradesense_app;
grant select, insert on programs to tradesense_app;
grant update (version, fee_minor, fee_currency, on_sale, position) on programs to tradesense_app;
grant select, insert on purchases to tradesense_app;
grant update (state, decided_at) on purchases to tradesense_app;
grant select, insert on challenges to tradesense_app;

grant select on program_versions to tradesense_engine;
-- Who bought a challenge is not the engine's business.
grant select (firm_id, id, version, created_at, opened_at) on challenges to tradesense_engine;
grant update (opened_at) on challenges to tradesense_engine;
