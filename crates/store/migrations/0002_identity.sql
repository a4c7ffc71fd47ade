-- People and their sessions. The engine never sees these tables.

create table people (
    firm_id uuid not null,
    id uuid not null,
    email text not null,
    display_name text not null,
    password_hash text not null,
    roles text[] not null,
    created_at timestamptz not null,
    constraint people_key primary key (firm_id, id),
    constraint people_email_once unique (firm_id, email),
    constraint people_email_normal check (email = lower(email) and char_length(email) between 3 and 254),
    constraint people_name_length check (char_length(display_name) between 1 and 40),
    constraint people_roles_known check (
        cardinality(roles) > 0
        and roles <@ array['trader', 'support', 'risk', 'finance', 'admin', 'auditor']
    ),
    constraint people_firm foreign key (firm_id) references firms (firm_id)
);

-- A browser holds the token, we hold its SHA-256.
create table sessions (
    firm_id uuid not null,
    token_hash bytea not null,
    id uuid not null,
    person_id uuid not null,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    ends_at timestamptz not null,
    constraint sessions_key primary key (firm_id, token_hash),
    constraint sessions_hash_length check (octet_length(token_hash) = 32),
    constraint sessions_times_ordered check (created_at < expires_at and expires_at <= ends_at),
    constraint sessions_person foreign key (firm_id, person_id) references people (firm_id, id)
);
create index sessions_by_person on sessions (firm_id, person_id);
create index sessions_by_end on sessions (firm_id, expires_at);

alter table people enable row level security;
alter table people force row level security;
create policy people_own on people
    using (firm_id = tradesense_firm()) with check (firm_id = tradesense_firm());

alter table sessions enable row level security;
alter table sessions force row level security;
create policy sessions_own on sessions
    using (firm_id = tradesense_firm()) with check (firm_id = tradesense_firm());

grant select, insert on people to tradesense_app;
-- What somebody is to the firm is said once, when they are added.
grant update (display_name, password_hash) on people to tradesense_app;
grant select, insert, delete on sessions to tradesense_app;
grant update (expires_at) on sessions to tradesense_app;
