-- Personal data under keys of their own, what people may ask of it, and where it may lie. docs/adr/0029.
--
-- What names somebody is sealed under a key of that person alone. The keys lie outside this database and its backups: without
-- its key a sealed column is nobody's. `email` and `display_name` are emptied by the program that migrates, which has the keys
-- (`Store::seal_people`), and go with a later migration.
alter table people
    alter column email drop not null,
    alter column display_name drop not null,
    -- The email in lower case under a key of the firm's that is not here: finds it again, and is nothing to try addresses on.
    add column email_index bytea,
    add column email_sealed bytea,
    add column name_sealed bytea,
    -- Where their rows may lie; said once, when they are added. Null where the installation has no region.
    add column region text,
    -- Since when nothing is done with their data that is not asked for (GDPR article 18).
    add column restricted_at timestamptz,
    -- Since when nothing of theirs may be erased.
    add column held_at timestamptz,
    add column erased_at timestamptz,
    add constraint people_email_index_once unique (firm_id, email_index),
    add constraint people_email_index_length check (octet_length(email_index) = 32),
    add constraint people_region_form check (region ~ '^[a-z][a-z0-9-]{0,15}$'),
    add constraint people_sealed_whole check (
        (email_index is null) = (email_sealed is null) and (email_index is null) = (name_sealed is null)
        and (email is null) = (display_name is null)
    ),
    -- In clear, sealed, or erased.
    add constraint people_told_once check (
        (email is not null)::integer + (email_index is not null)::integer + (erased_at is not null)::integer = 1
    ),
    add constraint people_held_stay check (held_at is null or erased_at is null);

revoke update (display_name) on people from tradesense_app;
grant update (restricted_at, held_at) on people to tradesense_app;

-- Who was erased. A second ledger of the same lies beside the keys, where no backup of this database reaches.
create table erasures (
    firm_id uuid not null,
    person_id uuid not null,
    at timestamptz not null,
    -- Of the firm's people; null where somebody asked for themselves.
    actor_id uuid,
    constraint erasures_key primary key (firm_id, person_id),
    constraint erasures_person foreign key (firm_id, person_id) references people (firm_id, id),
    constraint erasures_actor foreign key (firm_id, actor_id) references people (firm_id, id)
);
alter table erasures enable row level security;
alter table erasures force row level security;
create policy erasures_own on erasures
    using (firm_id = tradesense_firm()) with check (firm_id = tradesense_firm());
create trigger erasures_final before update or delete or truncate on erasures
    for each statement execute function tradesense_refuse_change();
grant select, insert on erasures to tradesense_app;

-- What is the installation's own. One row.
create table installation (
    one boolean not null default true,
    region text,
    constraint installation_key primary key (one),
    constraint installation_once check (one),
    constraint installation_region_form check (region ~ '^[a-z][a-z0-9-]{0,15}$')
);
insert into installation default values;
grant select on installation to tradesense_app, tradesense_engine, tradesense_worker;

-- Nobody of another region is written here, whatever a program believes. The name is that of a constraint, so that programs
-- know the refusal.
create function tradesense_refuse_region() returns trigger
    language plpgsql as $$
begin
    if new.region is distinct from (select region from installation) then
        raise exception 'this database keeps people of another region'
            using errcode = 'check_violation', constraint = 'people_region_here', table = 'people';
    end if;
    return new;
end
$$;
create trigger people_region_here before insert on people
    for each row execute function tradesense_refuse_region();

-- Removes what tells of a person and is no record: the rest stays under an id that nobody can tell a name from. In the firm of
-- the running transaction.
create function tradesense_forget_person(person uuid, erased timestamptz) returns void
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    firm constant uuid := tradesense_firm();
begin
    delete from jobs
    where jobs.firm_id = firm and jobs.kind = 'mail.send'
      and jobs.payload ->> 'mail' in (select id::text from mails where mails.firm_id = firm and mails.person_id = person);
    delete from mail_suppressions suppressed
    where suppressed.firm_id = firm
      and suppressed.address_hash in (
          select email_index from people where people.firm_id = firm and people.id = person
          union all
          select address_hash from mails where mails.firm_id = firm and mails.person_id = person
      );
    delete from mails where mails.firm_id = firm and mails.person_id = person;
    delete from notifications where notifications.firm_id = firm and notifications.person_id = person;
    delete from notification_preferences chosen where chosen.firm_id = firm and chosen.person_id = person;
    delete from sessions where sessions.firm_id = firm and sessions.person_id = person;
    update people
    set email = null, display_name = null, email_index = null, email_sealed = null, name_sealed = null,
        password_hash = '!', restricted_at = null, held_at = null, erased_at = coalesce(erased_at, erased)
    where people.firm_id = firm and people.id = person;
end
$$;
revoke all on function tradesense_forget_person(uuid, timestamptz) from public;
grant execute on function tradesense_forget_person(uuid, timestamptz) to tradesense_app;

-- How many payouts of a person are under way: the receipt is not made, or somebody who takes messages has not taken it.
-- Whoever sends the money counts here too.
create function tradesense_open_payouts(person uuid) returns bigint
    language sql stable security definer set search_path = public, pg_temp as $$
    select count(*)
    from challenges challenge
    join accounts account on account.firm_id = challenge.firm_id and account.challenge_id = challenge.id
    where challenge.firm_id = tradesense_firm() and challenge.person_id = person
      and (exists (select from receipts_due due
                   join verdicts verdict on verdict.firm_id = due.firm_id and verdict.account_id = due.account_id
                                        and verdict.number = due.number
                   where due.firm_id = account.firm_id and due.account_id = account.id and verdict.kind = 'payout')
           or exists (select from outbox message
                      where message.firm_id = account.firm_id and message.topic = 'account.paid'
                        and message.aggregate = 'account:' || account.id
                        and message.id > (select min(settled_id) from consumer_groups
                                          where 'account.paid' <> all (passes_over))))
$$;
revoke all on function tradesense_open_payouts(uuid) from public;
grant execute on function tradesense_open_payouts(uuid) to tradesense_app;

-- Every row about a person, without what is secret or sealed. What docs/compliance/data.toml calls `export`.
create function tradesense_rows_of(person uuid) returns table (kind text, content jsonb)
    language sql stable security definer set search_path = public, pg_temp as $$
    with firm as (select tradesense_firm() as id),
    bought as (
        select challenge.firm_id, challenge.id from challenges challenge, firm
        where challenge.firm_id = firm.id and challenge.person_id = person
    ),
    traded as (
        select account.firm_id, account.id from accounts account
        join bought on bought.firm_id = account.firm_id and bought.id = account.challenge_id
    )
    select 'people', to_jsonb(own) - array['password_hash', 'email', 'display_name', 'email_index', 'email_sealed', 'name_sealed']
    from people own, firm where own.firm_id = firm.id and own.id = person
    union all
    select 'sessions', to_jsonb(own) - 'token_hash' from sessions own, firm
    where own.firm_id = firm.id and own.person_id = person
    union all
    select 'erasures', to_jsonb(own) from erasures own, firm where own.firm_id = firm.id and own.person_id = person
    union all
    select 'purchases', to_jsonb(own) from purchases own, firm where own.firm_id = firm.id and own.person_id = person
    union all
    select 'challenges', to_jsonb(own) from challenges own, firm where own.firm_id = firm.id and own.person_id = person
    union all
    select 'notifications', to_jsonb(own) from notifications own, firm
    where own.firm_id = firm.id and own.person_id = person
    union all
    select 'notification_preferences', to_jsonb(own) from notification_preferences own, firm
    where own.firm_id = firm.id and own.person_id = person
    union all
    select 'mails', to_jsonb(own) from mails own, firm where own.firm_id = firm.id and own.person_id = person
    union all
    select 'mail_suppressions', to_jsonb(own) from mail_suppressions own
    join people on people.firm_id = own.firm_id and people.email_index = own.address_hash, firm
    where own.firm_id = firm.id and people.id = person
    union all
    select 'accounts', to_jsonb(own) from accounts own join traded on traded.firm_id = own.firm_id and traded.id = own.id
    union all
    select 'positions', to_jsonb(own) from positions own
    join traded on traded.firm_id = own.firm_id and traded.id = own.account_id
    union all
    select 'orders', to_jsonb(own) from orders own join traded on traded.firm_id = own.firm_id and traded.id = own.account_id
    union all
    select 'fills', to_jsonb(own) from fills own join traded on traded.firm_id = own.firm_id and traded.id = own.account_id
    union all
    select 'balance_entries', to_jsonb(own) from balance_entries own
    join traded on traded.firm_id = own.firm_id and traded.id = own.account_id
    union all
    select 'trading_days', to_jsonb(own) from trading_days own
    join traded on traded.firm_id = own.firm_id and traded.id = own.account_id
    union all
    select 'verdicts', to_jsonb(own) from verdicts own
    join traded on traded.firm_id = own.firm_id and traded.id = own.account_id
    union all
    select 'receipts', to_jsonb(own) from receipts own
    join traded on traded.firm_id = own.firm_id and traded.id = own.account_id
    union all
    -- Who decided it is the firm's business.
    select 'account_overrides', to_jsonb(own) - 'person_id' from account_overrides own
    join traded on traded.firm_id = own.firm_id and traded.id = own.account_id
    union all
    select 'account_latencies', to_jsonb(own) from account_latencies own
    join traded on traded.firm_id = own.firm_id and traded.id = own.account_id
    union all
    select 'journal', to_jsonb(own) from journal own
    join traded on traded.firm_id = own.firm_id and traded.id = own.account_id
    union all
    select 'account_results', to_jsonb(own) from account_results own, firm
    where own.firm_id = firm.id and own.person_id = person
    union all
    select 'account_scores', to_jsonb(own) from account_scores own
    join traded on traded.firm_id = own.firm_id and traded.id = own.account_id
    union all
    select 'account_symbols', to_jsonb(own) from account_symbols own
    join traded on traded.firm_id = own.firm_id and traded.id = own.account_id
    union all
    select 'program_publications', to_jsonb(own) from program_publications own, firm
    where own.firm_id = firm.id and own.person_id = person
    union all
    select 'audit_entries', to_jsonb(own) - 'personal' from audit_entries own, firm
    where own.firm_id = firm.id
      and (own.actor_id = person or own.personal_of = person
           or (own.object_kind = 'person' and own.object = person::text))
$$;
revoke all on function tradesense_rows_of(uuid) from public;
grant execute on function tradesense_rows_of(uuid) to tradesense_app;

-- What becomes of measurements and of quotes that were kept out.
create policy account_latencies_worker on account_latencies to tradesense_worker using (true);
grant select (firm_id, day), delete on account_latencies to tradesense_worker;
create index account_latencies_by_day on account_latencies using brin (day);
grant select (at), delete on refused_quotes to tradesense_worker;
