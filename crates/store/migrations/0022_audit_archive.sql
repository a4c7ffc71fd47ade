-- The audit log by months: its rows as its leaves; a month that is over is archived, and dropped seven years later
-- (docs/adr/0032).

-- Makes a month's partition of `audit_leaves` or `audit_entries`, if it has none; whether it did. A trigger or a policy of the whole
-- is not asked where a partition is named, so each has its own trigger, and is closed to everybody by having no policy and no grant.
create function tradesense_audit_partition(parent text, month timestamp) returns boolean
    language plpgsql set search_path = pg_catalog, public
    as $$
declare
    name constant text := parent || '_' || to_char(month, 'YYYY_MM');
begin
    if to_regclass('public.' || name) is not null then
        return false;
    end if;
    -- One at a time. Somebody else may have made it meanwhile: the names that this session remembers would not tell.
    perform pg_advisory_xact_lock(314159265);
    if exists (select from pg_class where relname = name and relnamespace = 'public'::regnamespace) then
        return false;
    end if;
    if parent = 'audit_leaves' then
        execute format('create table public.%I (like public.audit_leaves, '
                       'constraint %I primary key (leaf, sealed_at, firm_id))', name, name || '_key');
        execute format('create unique index %I on public.%I (leaf)', name || '_leaf', name);
        execute format('create unique index %I on public.%I (source, part, number)', name || '_row', name);
    else
        execute format('create table public.%I (like public.audit_entries including constraints, '
                       'constraint %I primary key (id, at, firm_id))', name, name || '_key');
        execute format('create index %I on public.%I (firm_id, object_kind, object, id)', name || '_by_object', name);
    end if;
    execute format('alter table public.%I enable row level security', name);
    execute format('alter table public.%I force row level security', name);
    execute format('create trigger %I before update or delete or truncate on public.%I '
                   'for each statement execute function public.tradesense_refuse_change()', name || '_final', name);
    execute format('alter table public.%I attach partition public.%I for values from (%L) to (%L)', parent, name,
                   to_char(month, 'YYYY-MM-DD') || ' 00:00:00+00',
                   to_char(month + interval '1 month', 'YYYY-MM-DD') || ' 00:00:00+00');
    return true;
end
$$;
revoke all on function tradesense_audit_partition(text, timestamp) from public;

-- Of this month and of so many to come, in both tables; of how many months there were not both yet.
create or replace function tradesense_audit_partitions(months integer) returns integer
    language plpgsql security definer set search_path = pg_catalog, public
    as $$
declare
    first constant timestamp := date_trunc('month', clock_timestamp() at time zone 'UTC');
    month timestamp;
    of_leaves boolean;
    of_acts boolean;
    made integer := 0;
begin
    if months not between 0 and 24 then
        raise exception 'partitions are made for 0 to 24 months';
    end if;
    for ahead in 0..months loop
        month := first + make_interval(months => ahead);
        of_leaves := public.tradesense_audit_partition('audit_leaves', month);
        of_acts := public.tradesense_audit_partition('audit_entries', month);
        if of_leaves or of_acts then
            made := made + 1;
        end if;
    end loop;
    return made;
end
$$;

-- The same for rows of these instants: a clock that was set, or a database that was restored, may bring a month that nobody has made.
create function tradesense_audit_months(instants timestamptz[]) returns void
    language plpgsql security definer set search_path = pg_catalog, public
    as $$
declare
    month timestamp;
begin
    for month in
        select distinct date_trunc('month', instant at time zone 'UTC') from unnest(instants) as instant
    loop
        if month is null or month < '2000-01-01' or month >= '2100-01-01' then
            raise exception 'the audit log keeps no entry of %: its months are those from 2000 to 2099', month
                using errcode = 'datetime_field_overflow';
        end if;
        perform public.tradesense_audit_partition('audit_entries', month);
    end loop;
end
$$;
revoke all on function tradesense_audit_months(timestamptz[]) from public;
grant execute on function tradesense_audit_months(timestamptz[])
    to tradesense_app, tradesense_engine, tradesense_worker, tradesense_sealer;

-- The acts as they were, moved into months. A program that runs meanwhile goes on with the new table.
drop view audit_log;
alter table audit_entries rename to audit_entries_before;
alter table audit_entries_before rename constraint audit_entries_key to audit_entries_before_key;
alter sequence audit_entries_id_seq rename to audit_entries_before_id_seq;
alter index audit_entries_by_object rename to audit_entries_before_by_object;
-- Whoever owns the tables looks past the fence for a moment.
alter table audit_entries_before no force row level security;

create table audit_entries (
    firm_id uuid not null,
    id bigint generated always as identity,
    -- Leads to the partition.
    at timestamptz not null,
    actor_id uuid,
    action text not null,
    object_kind text not null,
    object text not null,
    request_id uuid,
    detail jsonb not null,
    -- Why personal data was read; else empty.
    purpose text not null default '',
    -- SHA-256 of the object's state before and after.
    before bytea,
    after bytea,
    -- A document that belongs to it and lies elsewhere.
    document_length integer,
    document_hash bytea,
    -- Personal data: whose key opens it, and nonce and ciphertext.
    personal_of uuid,
    personal bytea,
    constraint audit_entries_key primary key (id, at, firm_id),
    constraint audit_entries_firm foreign key (firm_id) references firms (firm_id),
    constraint audit_entries_actor foreign key (firm_id, actor_id) references people (firm_id, id),
    constraint audit_entries_states check (octet_length(before) = 32 and octet_length(after) = 32),
    constraint audit_entries_document check ((document_length is null) = (document_hash is null)
                                             and octet_length(document_hash) = 32 and document_length >= 0),
    constraint audit_entries_personal check ((personal_of is null) = (personal is null))
) partition by range (at);
create index audit_entries_by_object on audit_entries (firm_id, object_kind, object, id);

do $$
declare
    month timestamp;
begin
    for month in select distinct date_trunc('month', at at time zone 'UTC') from audit_entries_before loop
        perform tradesense_audit_partition('audit_entries', month);
    end loop;
    perform tradesense_audit_partitions(3);
end
$$;
insert into audit_entries (firm_id, id, at, actor_id, action, object_kind, object, request_id, detail, purpose, before, after,
                           document_length, document_hash, personal_of, personal) overriding system value
select firm_id, id, at, actor_id, action, object_kind, object, request_id, detail, purpose, before, after,
       document_length, document_hash, personal_of, personal
from audit_entries_before;
do $$
begin
    perform setval('audit_entries_id_seq', last_value, is_called) from audit_entries_before_id_seq;
end
$$;
drop table audit_entries_before;

alter table audit_entries enable row level security;
alter table audit_entries force row level security;
create policy audit_entries_own on audit_entries
    using (firm_id = tradesense_firm()) with check (firm_id = tradesense_firm());
create policy audit_entries_engine on audit_entries for insert to tradesense_engine with check (true);
create policy audit_entries_audit on audit_entries for select to tradesense_audit using (true);
create policy audit_entries_sealer on audit_entries for select to tradesense_sealer using (true);
-- What becomes of the log itself is told to every firm whose entries it concerns.
create policy audit_entries_manifest on audit_entries for insert to tradesense_sealer
    with check (action in ('audit.archived', 'audit.dropped') and actor_id is null);
create trigger audit_entries_final before update or delete or truncate on audit_entries
    for each statement execute function tradesense_refuse_change();
grant insert on audit_entries to tradesense_app, tradesense_engine, tradesense_sealer;
grant select on audit_entries to tradesense_audit, tradesense_sealer, tradesense_auditor;
-- Which number was given last: whether a row may be in a month that was not looked into.
grant select on sequence audit_entries_id_seq to tradesense_sealer;

create view audit_log with (security_invoker = true) as
    select firm_id, at, actor_id, action, object_kind, object, request_id, detail from audit_entries
    union all
    select firm_id, at, person_id, 'command.' || split_part(act, '"', 2), 'account', account_id::text, request_id,
           jsonb_build_object('shard', shard, 'seq', seq, 'key', key, 'act', act::jsonb, 'outcome', outcome::jsonb)
    from journal
    union all
    select firm_id, at, null, 'verdict.' || kind, 'account', account_id::text, null,
           jsonb_build_object('number', number, 'rule', rule, 'digest', encode(digest, 'hex'))
    from verdicts;
grant select on audit_log to tradesense_audit;

-- Writes acts, under the rights of whoever calls. In one call with the making of their months, where one is missing.
create function tradesense_write_audit(firms uuid[], instants timestamptz[], actors uuid[], actions text[], kinds text[],
                                       objects text[], requests uuid[], purposes text[], befores bytea[], afters bytea[],
                                       details text[]) returns void
    language plpgsql
    as $$
begin
    perform public.tradesense_audit_months(instants);
    insert into public.audit_entries (firm_id, at, actor_id, action, object_kind, object, request_id, purpose, before, after,
                                      detail)
    select entry.firm_id, entry.at, entry.actor_id, entry.action, entry.object_kind, entry.object, entry.request_id,
           entry.purpose, entry.before, entry.after, entry.detail::jsonb
    from unnest(firms, instants, actors, actions, kinds, objects, requests, purposes, befores, afters, details) with ordinality
         as entry (firm_id, at, actor_id, action, object_kind, object, request_id, purpose, before, after, detail, number)
    order by entry.number;
end
$$;

-- The installation's, not a firm's: hashes and counts say nothing of whose they are.

-- Months that lie outside as compressed exports, one behind the other from entry 0 on.
create table audit_archives (
    month date not null,
    -- The entries `[first, ends)`.
    first bigint not null,
    ends bigint not null,
    -- Files: `archive/YYYY-MM/000001.tsaudit.gz` and so on.
    parts integer not null,
    -- Of all files, one behind the other.
    bytes bigint not null,
    sha256 bytea not null,
    at timestamptz not null,
    constraint audit_archives_key primary key (month),
    constraint audit_archives_first_once unique (first),
    constraint audit_archives_month check (extract(day from month) = 1),
    constraint audit_archives_whole check (first >= 0 and ends > first and parts >= 1 and bytes >= 1
                                           and octet_length(sha256) = 32)
);

-- The hashes of leaves that were dropped, by tiles: every root and proof can still be made.
create table audit_hashes (
    -- The entry of the first of them.
    first bigint not null,
    hashes bytea not null,
    constraint audit_hashes_key primary key (first),
    constraint audit_hashes_within_a_tile check (octet_length(hashes) % 32 = 0 and octet_length(hashes) between 32 and 8192
                                                 and first % 256 + octet_length(hashes) / 32 <= 256)
);
-- Hashes cannot be made smaller.
alter table audit_hashes alter column hashes set storage external;

-- How many leaves of each table a month had when it was dropped, and of which month their rows are: so that a row that was added to
-- those, or taken from them, shows.
create table audit_dropped (
    month date not null,
    source smallint not null,
    part smallint not null,
    -- Of acts the month of the rows; else that of the leaves.
    of date not null,
    rows bigint not null,
    smallest bigint not null,
    largest bigint not null,
    constraint audit_dropped_key primary key (month, source, part, of),
    constraint audit_dropped_counted check (rows >= 1 and smallest <= largest)
);

-- What was dropped when.
create table audit_drops (
    -- `leaves` or `acts`.
    what text not null,
    month date not null,
    at timestamptz not null,
    -- The first entry whose leaf was kept.
    floor bigint not null,
    rows bigint not null,
    constraint audit_drops_key primary key (what, month, at),
    constraint audit_drops_known check (what in ('leaves', 'acts')),
    constraint audit_drops_counted check (floor >= 0 and rows >= 0)
);

do $$
declare
    name text;
begin
    foreach name in array array['audit_archives', 'audit_hashes', 'audit_dropped', 'audit_drops'] loop
        execute format('create trigger %I before update or delete or truncate on %I '
                       'for each statement execute function tradesense_refuse_change()', name || '_final', name);
        execute format('grant select on %I to tradesense_sealer, tradesense_auditor', name);
    end loop;
end
$$;
grant insert on audit_archives to tradesense_sealer;

-- Raises unless what happened in a month may be dropped by now, and whoever owns the tables sees all that is to be counted.
create function tradesense_demand_audit_age(of date) returns void
    language plpgsql set search_path = pg_catalog, public
    as $$
begin
    if of is null or extract(day from of) <> 1 then
        raise exception 'a month is named by its first day' using errcode = 'TS010';
    end if;
    if ((of + interval '1 month' + interval '7 years') at time zone 'UTC') > clock_timestamp() then
        raise exception 'what happened in % is kept for seven years after its end', to_char(of, 'YYYY-MM')
            using errcode = 'TS010';
    end if;
    if not pg_has_role(current_user, 'tradesense_sealer', 'usage') then
        raise exception '% owns the audit log and cannot read it: grant tradesense_sealer to it', current_user;
    end if;
end
$$;
revoke all on function tradesense_demand_audit_age(date) from public;

-- Raises if one of these firms has a legal hold in force. At last, so that nobody can place one until the transaction ends.
create function tradesense_demand_no_hold(of date, firms uuid[], at_last boolean) returns void
    language plpgsql set search_path = pg_catalog, public
    as $$
declare
    before constant text := coalesce(current_setting('tradesense.firm', true), '');
    firm uuid;
begin
    if at_last then
        lock table public.people in share mode;
    end if;
    foreach firm in array firms loop
        perform set_config('tradesense.firm', firm::text, true);
        if exists (select from public.people where people.firm_id = firm and people.held_at is not null) then
            raise exception 'a legal hold of the firm % is in force: its entries of % stay', firm, to_char(of, 'YYYY-MM')
                using errcode = 'TS011';
        end if;
    end loop;
    perform set_config('tradesense.firm', before, true);
end
$$;
revoke all on function tradesense_demand_no_hold(date, uuid[], boolean) from public;

-- Tells every firm in its log what was dropped.
create function tradesense_tell_dropped(firms uuid[], what text, of date, rows bigint, floor bigint) returns void
    language sql set search_path = pg_catalog, public
    as $$
    select public.tradesense_write_audit(
        array_agg(firm), array_agg(clock_timestamp()), array_agg(null::uuid), array_agg('audit.dropped'::text),
        array_agg('audit_log'::text), array_agg(to_char(of, 'YYYY-MM')), array_agg(null::uuid),
        array_agg(''::text), array_agg(null::bytea), array_agg(null::bytea),
        array_agg(jsonb_build_object('what', what, 'rows', rows, 'floor', floor)::text)
    )
    from unnest(firms) as firm
    having count(*) > 0
$$;
revoke all on function tradesense_tell_dropped(uuid[], text, date, bigint, bigint) from public;

-- Drops the leaves of a month, the oldest first: seven years after its end, with all of them in archives, under no legal hold. Their
-- hashes stay. How many there were.
create function tradesense_drop_audit_leaves(of date) returns bigint
    language plpgsql security definer set search_path = pg_catalog, public set lock_timeout = '2s'
    as $$
declare
    starts constant timestamptz := of::timestamp at time zone 'UTC';
    stops constant timestamptz := (of + interval '1 month') at time zone 'UTC';
    name constant text := 'audit_leaves_' || to_char(of, 'YYYY_MM');
    archive record;
    old_floor bigint;
    new_floor bigint;
    counted bigint;
    last bigint;
    hashed bigint;
    whose uuid[];
begin
    perform public.tradesense_demand_audit_age(of);
    perform pg_advisory_xact_lock(314159265);
    if to_regclass('public.' || name) is null then
        raise exception 'there are no leaves of %', to_char(of, 'YYYY-MM') using errcode = 'TS010';
    end if;
    if exists (select from pg_inherits join pg_class on pg_class.oid = inhrelid
               where inhparent = 'public.audit_leaves'::regclass and relname < name) then
        raise exception 'there are older leaves than those of %: they go first', to_char(of, 'YYYY-MM')
            using errcode = 'TS010';
    end if;
    select coalesce(max(floor), 0) into old_floor from public.audit_drops;
    select first, ends into archive from public.audit_archives where month = of;
    if archive.first <> old_floor then
        raise exception 'the archive of % begins with entry %, and the log with entry %', to_char(of, 'YYYY-MM'),
            archive.first, old_floor using errcode = 'TS012';
    end if;
    new_floor := coalesce(archive.ends, old_floor);
    select count(*), max(leaf), coalesce(array_agg(distinct firm_id), '{}') into counted, last, whose
    from public.audit_leaves where sealed_at >= starts and sealed_at < stops;
    if last >= new_floor then
        raise exception 'entry % of % is in no archive', last, to_char(of, 'YYYY-MM') using errcode = 'TS012';
    end if;
    perform public.tradesense_demand_no_hold(of, whose, false);

    -- A leaf may lie in a later month than its archive, if the clock was set back.
    insert into public.audit_hashes (first, hashes)
    select min(leaf), string_agg(hash, ''::bytea order by leaf)
    from public.audit_leaves where leaf >= old_floor and leaf < new_floor
    group by leaf / 256;
    select coalesce(sum(octet_length(hashes) / 32), 0) into hashed
    from public.audit_hashes where first >= old_floor and first < new_floor;
    if hashed <> new_floor - old_floor then
        raise exception 'the archive of % is of % entries, and % of them are in the log', to_char(of, 'YYYY-MM'),
            new_floor - old_floor, hashed using errcode = 'TS012';
    end if;
    if exists (select from public.audit_leaves leaf
               where sealed_at >= starts and sealed_at < stops and leaf.source = 1
                 and not exists (select from public.audit_entries act where act.id = leaf.number and act.firm_id = leaf.firm_id)) then
        raise exception 'an act that was sealed in % is not there', to_char(of, 'YYYY-MM') using errcode = 'TS012';
    end if;
    insert into public.audit_dropped (month, source, part, of, rows, smallest, largest)
    select tradesense_drop_audit_leaves.of, leaf.source, leaf.part,
           case leaf.source when 1 then date_trunc('month', act.at at time zone 'UTC')::date
                            else tradesense_drop_audit_leaves.of end,
           count(*), min(leaf.number), max(leaf.number)
    from public.audit_leaves leaf
    left join public.audit_entries act on leaf.source = 1 and act.id = leaf.number and act.firm_id = leaf.firm_id
    where leaf.sealed_at >= starts and leaf.sealed_at < stops
    group by 1, 2, 3, 4;

    perform public.tradesense_tell_dropped(whose, 'leaves', of, counted, new_floor);
    insert into public.audit_drops (what, month, at, floor, rows) values ('leaves', of, clock_timestamp(), new_floor, counted);
    -- Last, because it keeps others waiting.
    perform public.tradesense_demand_no_hold(of, whose, true);
    execute format('drop table public.%I', name);
    return counted;
end
$$;
revoke all on function tradesense_drop_audit_leaves(date) from public;
grant execute on function tradesense_drop_audit_leaves(date) to tradesense_sealer;

-- Drops the acts of a month once the leaves of all of them were dropped, which those of the next month may hold: under no legal hold.
-- How many there were.
create function tradesense_drop_audit_acts(of date) returns bigint
    language plpgsql security definer set search_path = pg_catalog, public set lock_timeout = '2s'
    as $$
declare
    starts constant timestamptz := of::timestamp at time zone 'UTC';
    stops constant timestamptz := (of + interval '1 month') at time zone 'UTC';
    name constant text := 'audit_entries_' || to_char(of, 'YYYY_MM');
    kept_from bigint;
    gone bigint;
    counted bigint;
    whose uuid[];
begin
    perform public.tradesense_demand_audit_age(of);
    perform pg_advisory_xact_lock(314159265);
    if to_regclass('public.' || name) is null then
        raise exception 'there are no acts of %', to_char(of, 'YYYY-MM') using errcode = 'TS010';
    end if;
    if exists (select from pg_inherits join pg_class on pg_class.oid = inhrelid
               where inhparent = 'public.audit_leaves'::regclass and relname <= 'audit_leaves_' || to_char(of, 'YYYY_MM')) then
        raise exception 'the leaves of % go before its acts', to_char(of, 'YYYY-MM') using errcode = 'TS010';
    end if;
    -- Nobody adds one from here on.
    execute format('lock table public.%I in share row exclusive mode', name);
    select count(*), coalesce(array_agg(distinct firm_id), '{}') into counted, whose
    from public.audit_entries where at >= starts and at < stops;
    -- Of a month that was dropped before and came again by a wrong clock, only what has come since.
    gone := coalesce((select sum(rows) from public.audit_dropped dropped
                      where dropped.source = 1 and dropped.of = tradesense_drop_audit_acts.of), 0)
            - coalesce((select sum(rows) from public.audit_drops where what = 'acts' and month = tradesense_drop_audit_acts.of), 0);
    if counted <> gone then
        raise exception 'of the % acts of %, % were archived and dropped as entries', counted, to_char(of, 'YYYY-MM'), gone
            using errcode = 'TS010';
    end if;
    select coalesce(max(floor), 0) into kept_from from public.audit_drops;
    perform public.tradesense_tell_dropped(whose, 'acts', of, counted, kept_from);
    insert into public.audit_drops (what, month, at, floor, rows) values ('acts', of, clock_timestamp(), kept_from, counted);
    perform public.tradesense_demand_no_hold(of, whose, true);
    execute format('drop table public.%I', name);
    return counted;
end
$$;
revoke all on function tradesense_drop_audit_acts(date) from public;
grant execute on function tradesense_drop_audit_acts(date) to tradesense_sealer;
