-- What happened, for auditors, and what the world is to be told. Both are written with their cause.

create table audit_entries (
    firm_id uuid not null,
    id bigint generated always as identity,
    at timestamptz not null,
    actor_id uuid,
    action text not null,
    object_kind text not null,
    object text not null,
    request_id uuid,
    detail jsonb not null,
    constraint audit_entries_key primary key (firm_id, id),
    constraint audit_entries_firm foreign key (firm_id) references firms (firm_id),
    constraint audit_entries_actor foreign key (firm_id, actor_id) references people (firm_id, id)
);
create index audit_entries_by_object on audit_entries (firm_id, object_kind, object, id);
create trigger audit_entries_final before update or delete or truncate on audit_entries
    for each statement execute function tradesense_refuse_change();

create table outbox (
    firm_id uuid not null,
    id bigint generated always as identity,
    at timestamptz not null,
    aggregate text not null,
    topic text not null,
    payload jsonb not null,
    constraint outbox_key primary key (firm_id, id),
    constraint outbox_firm foreign key (firm_id) references firms (firm_id)
);

alter table audit_entries enable row level security;
alter table audit_entries force row level security;
create policy audit_entries_own on audit_entries
    using (firm_id = tradesense_firm()) with check (firm_id = tradesense_firm());
create policy audit_entries_engine on audit_entries for insert to tradesense_engine with check (true);
create policy audit_entries_audit on audit_entries for select to tradesense_audit using (true);

alter table outbox enable row level security;
alter table outbox force row level security;
create policy outbox_own on outbox
    using (firm_id = tradesense_firm()) with check (firm_id = tradesense_firm());
create policy outbox_engine on outbox for insert to tradesense_engine with check (true);

grant insert on audit_entries, outbox to tradesense_app, tradesense_engine;
grant select on audit_entries to tradesense_audit;
