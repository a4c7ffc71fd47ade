-- Messages on their way: who may work for all firms, what was settled, what failed, who leads what.

-- The workers' role: it carries messages and jobs of every firm and sees nothing of what they are about; what a message
-- changes is written under `tradesense_app`, for one firm at a time.
do $$
begin
    if not exists (select from pg_roles where rolname = 'tradesense_worker') then
        begin
            create role tradesense_worker nologin noinherit;
        exception when duplicate_object or unique_violation then
            null;
        end;
    end if;
    if not pg_has_role(current_user, 'tradesense_worker', 'member') then
        begin
            grant tradesense_worker to current_user;
        exception when unique_violation then
            null;
        end;
    end if;
end
$$;
grant usage on schema public to tradesense_worker;
create policy firms_worker on firms for select to tradesense_worker using (true);
grant select on firms to tradesense_worker;

-- The relay reads it in the order of the ids, whatever the firm.
alter table outbox
    drop constraint outbox_key,
    add constraint outbox_key primary key (id, firm_id),
    -- Of the payload's form, see api/topics.json.
    add column version smallint not null default 1,
    -- The trace it was caused in, as W3C's `traceparent`.
    add column trace text;
create policy outbox_worker on outbox to tradesense_worker using (true);
grant select, delete on outbox to tradesense_worker;

-- Who does what only one may do at a time. The token rises with every new holder; what is written under it is refused
-- once somebody else has it.
create table leases (
    name text not null,
    owner_id uuid,
    leased_until timestamptz,
    token bigint not null,
    constraint leases_key primary key (name),
    constraint leases_whole check ((owner_id is null) = (leased_until is null)),
    constraint leases_counted check (token >= 0)
);
grant select, insert, update on leases to tradesense_worker, tradesense_engine;

-- Up to which id every message is known: published, or never written. Messages behind it may still be in open
-- transactions. One row.
create table relay (
    one boolean not null default true,
    known_id bigint not null,
    token bigint not null,
    constraint relay_key primary key (one),
    constraint relay_once check (one),
    constraint relay_counted check (known_id >= 0)
);
insert into relay (known_id, token) values (0, 0);
grant select, update on relay to tradesense_worker;

-- Who takes messages. Up to `settled_id` the group has taken every one, or given it up; it was written at `settled_at`, and
-- what the inbox says below it is removed so much later that no transaction still goes by what was there before.
create table consumer_groups (
    name text not null,
    settled_id bigint not null,
    settled_at timestamptz not null,
    constraint consumer_groups_key primary key (name),
    constraint consumer_groups_counted check (settled_id >= 0)
);
grant select, insert, update on consumer_groups to tradesense_worker;
grant select on consumer_groups to tradesense_app;

-- What a group has taken above its `settled_id`, written in the transaction of the effect.
create table inbox (
    firm_id uuid not null,
    group_name text not null,
    message_id bigint not null,
    constraint inbox_key primary key (group_name, message_id, firm_id)
);
alter table inbox enable row level security;
alter table inbox force row level security;
create policy inbox_own on inbox
    using (firm_id = tradesense_firm()) with check (firm_id = tradesense_firm());
create policy inbox_worker on inbox to tradesense_worker using (true) with check (true);
grant select, insert on inbox to tradesense_app;
grant select, insert, delete on inbox to tradesense_worker;

-- Messages that a group could not take, with every error. Dead ones wait for somebody who sends them again.
create table failed_messages (
    firm_id uuid not null,
    group_name text not null,
    message_id bigint not null,
    attempts integer not null,
    -- `[{"at": .., "error": ..}]`, the oldest first.
    errors jsonb not null,
    -- Not tried again before.
    next_at timestamptz not null,
    dead_at timestamptz,
    -- Sent again by hand; taken once more even below the settled place.
    sent_again_at timestamptz,
    constraint failed_messages_key primary key (group_name, message_id, firm_id),
    constraint failed_messages_counted check (attempts >= 0)
);
alter table failed_messages enable row level security;
alter table failed_messages force row level security;
create policy failed_messages_own on failed_messages
    using (firm_id = tradesense_firm()) with check (firm_id = tradesense_firm());
create policy failed_messages_worker on failed_messages to tradesense_worker using (true) with check (true);
grant select, delete on failed_messages to tradesense_app;
grant select, insert, update, delete on failed_messages to tradesense_worker;
