-- Roles, the fence between firms, and the firms themselves.
--
-- Three group roles nobody logs in as; a login (`Store::ensure_login` makes one) is a member of those it needs and
-- inherits nothing, so that it can do nothing before a pool has taken one of them with SET ROLE.
-- Roles belong to the cluster and not to the database, so two databases may create them at the same moment.

do $$
declare
    wanted text;
begin
    foreach wanted in array array['tradesense_app', 'tradesense_engine', 'tradesense_audit'] loop
        if not exists (select from pg_roles where rolname = wanted) then
            begin
                execute format('create role %I nologin noinherit', wanted);
            exception when duplicate_object or unique_violation then
                null;
            end;
        end if;
        if not pg_has_role(current_user, wanted, 'member') then
            begin
                execute format('grant %I to current_user', wanted);
            exception when unique_violation then
                null;
            end;
        end if;
    end loop;
end
$$;

revoke create on schema public from public;
grant usage on schema public to tradesense_app, tradesense_engine, tradesense_audit;

-- The firm of the running transaction. Nobody's when it was not set: every policy then lets nothing through.
create function tradesense_firm() returns uuid
    language sql stable parallel safe
    return nullif(current_setting('tradesense.firm', true), '')::uuid;

-- For rows that are written once and never again.
create function tradesense_refuse_change() returns trigger
    language plpgsql as $$
begin
    raise exception 'rows of % are never changed', tg_table_name
        using errcode = 'restrict_violation';
end
$$;

create table firms (
    firm_id uuid not null,
    slug text not null,
    name text not null,
    created_at timestamptz not null,
    constraint firms_key primary key (firm_id),
    constraint firms_slug_once unique (slug),
    constraint firms_slug_form check (slug ~ '^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$'),
    constraint firms_name_length check (char_length(name) between 1 and 80)
);

create table firm_domains (
    firm_id uuid not null,
    domain text not null,
    constraint firm_domains_key primary key (firm_id, domain),
    constraint firm_domains_once unique (domain),
    constraint firm_domains_form check (domain = lower(domain) and char_length(domain) between 1 and 253),
    constraint firm_domains_firm foreign key (firm_id) references firms (firm_id)
);

alter table firms enable row level security;
alter table firms force row level security;
create policy firms_own on firms
    using (firm_id = tradesense_firm()) with check (firm_id = tradesense_firm());
create policy firms_engine on firms for select to tradesense_engine using (true);

alter table firm_domains enable row level security;
alter table firm_domains force row level security;
create policy firm_domains_own on firm_domains
    using (firm_id = tradesense_firm()) with check (firm_id = tradesense_firm());
-- Which firm lives at which host is read before any firm is known.
create policy firm_domains_engine on firm_domains for select to tradesense_engine using (true);

grant select on firms, firm_domains to tradesense_app, tradesense_engine;
