-- The audit log's tree: which row is which entry, under which hash, and what was signed for it (docs/adr/0028).

-- The sealer reads what is to be an entry, of every firm, and alone writes the tree. Auditors read the log of one firm.
do $$
declare
    wanted text;
begin
    foreach wanted in array array['tradesense_sealer', 'tradesense_auditor'] loop
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
grant usage on schema public to tradesense_sealer, tradesense_auditor;

-- The sealer reads acts in the order of their ids, whatever the firm.
alter table audit_entries
    drop constraint audit_entries_key,
    add constraint audit_entries_key primary key (id, firm_id),
    -- Why personal data was read; else empty.
    add column purpose text not null default '',
    -- SHA-256 of the object's state before and after.
    add column before bytea,
    add column after bytea,
    -- A document that belongs to it and lies elsewhere.
    add column document_length integer,
    add column document_hash bytea,
    -- Personal data: whose key opens it, and nonce and ciphertext.
    add column personal_of uuid,
    add column personal bytea,
    add constraint audit_entries_states check (octet_length(before) = 32 and octet_length(after) = 32),
    add constraint audit_entries_document check ((document_length is null) = (document_hash is null)
                                                 and octet_length(document_hash) = 32 and document_length >= 0),
    add constraint audit_entries_personal check ((personal_of is null) = (personal is null));

-- A verdict has no number among all of them yet.
create sequence verdict_entries;
alter table verdicts add column entry bigint not null default nextval('verdict_entries');
create unique index verdicts_by_entry on verdicts (entry);
grant usage on sequence verdict_entries to tradesense_engine;

create policy audit_entries_sealer on audit_entries for select to tradesense_sealer using (true);
create policy journal_sealer on journal for select to tradesense_sealer using (true);
create policy verdicts_sealer on verdicts for select to tradesense_sealer using (true);
grant select on audit_entries, journal, verdicts, shards to tradesense_sealer;
-- Of the firm of their transaction: `audit_entries_own` and its like let nothing else through.
grant select on audit_entries, journal, verdicts to tradesense_auditor;

-- Which row is which entry: acts (1, by `id`), commands (2, by shard and `seq`), verdicts (3, by `entry`).
create table audit_leaves (
    leaf bigint not null,
    firm_id uuid not null,
    -- By the database's clock: it leads to the partition.
    sealed_at timestamptz not null,
    source smallint not null,
    -- The shard of a command; else 0.
    part smallint not null,
    number bigint not null,
    hash bytea not null,
    constraint audit_leaves_key primary key (leaf, sealed_at, firm_id)
) partition by range (sealed_at);
alter table audit_leaves enable row level security;
alter table audit_leaves force row level security;
create policy audit_leaves_own on audit_leaves
    using (firm_id = tradesense_firm()) with check (firm_id = tradesense_firm());
create policy audit_leaves_sealer on audit_leaves to tradesense_sealer using (true) with check (true);
create trigger audit_leaves_final before update or delete or truncate on audit_leaves
    for each statement execute function tradesense_refuse_change();
grant select, insert on audit_leaves to tradesense_sealer;
grant select on audit_leaves to tradesense_auditor;

-- Makes the partitions of this month and of so many to come; how many there were not yet. A trigger or a policy of the whole is
-- not asked where a partition is named, so each has its own trigger, and is closed to everybody by having no policy and no grant.
create function tradesense_audit_partitions(months integer) returns integer
    language plpgsql security definer set search_path = pg_catalog, public
    as $$
declare
    first timestamp := date_trunc('month', clock_timestamp() at time zone 'UTC');
    month timestamp;
    name text;
    made integer := 0;
begin
    if months not between 0 and 24 then
        raise exception 'partitions are made for 0 to 24 months';
    end if;
    -- One at a time.
    perform pg_advisory_xact_lock(314159265);
    for ahead in 0..months loop
        month := first + make_interval(months => ahead);
        name := 'audit_leaves_' || to_char(month, 'YYYY_MM');
        continue when to_regclass('public.' || name) is not null;
        execute format('create table public.%I (like public.audit_leaves, '
                       'constraint %I primary key (leaf, sealed_at, firm_id))', name, name || '_key');
        execute format('create unique index %I on public.%I (leaf)', name || '_leaf', name);
        execute format('create unique index %I on public.%I (source, part, number)', name || '_row', name);
        execute format('alter table public.%I enable row level security', name);
        execute format('alter table public.%I force row level security', name);
        execute format('create trigger %I before update or delete or truncate on public.%I '
                       'for each statement execute function public.tradesense_refuse_change()', name || '_final', name);
        execute format('alter table public.audit_leaves attach partition public.%I for values from (%L) to (%L)', name,
                       to_char(month, 'YYYY-MM-DD') || ' 00:00:00+00',
                       to_char(month + interval '1 month', 'YYYY-MM-DD') || ' 00:00:00+00');
        made := made + 1;
    end loop;
    return made;
end
$$;
revoke all on function tradesense_audit_partitions from public;
grant execute on function tradesense_audit_partitions to tradesense_worker, tradesense_sealer;
do $$
begin
    perform tradesense_audit_partitions(3);
end
$$;

-- The installation's, not a firm's: hashes say nothing of whose they are.

-- The roots of 256^level entries.
create table audit_nodes (
    level smallint not null,
    place bigint not null,
    hash bytea not null,
    constraint audit_nodes_key primary key (level, place),
    constraint audit_nodes_level_known check (level between 1 and 7),
    constraint audit_nodes_hash_length check (octet_length(hash) = 32)
);

-- What was signed: the first so many entries and their root.
create table audit_checkpoints (
    size bigint not null,
    at timestamptz not null,
    root bytea not null,
    note text not null,
    constraint audit_checkpoints_key primary key (size),
    constraint audit_checkpoints_counted check (size >= 0),
    constraint audit_checkpoints_root_length check (octet_length(root) = 32)
);

-- By whom else.
create table audit_cosignatures (
    size bigint not null,
    -- The witness's key, as notes write it.
    witness text not null,
    at timestamptz not null,
    line text not null,
    constraint audit_cosignatures_key primary key (size, witness),
    constraint audit_cosignatures_checkpoint foreign key (size) references audit_checkpoints (size)
);

-- The log's keys in the order in which they took over; all but the first with the statement of the key before.
create table audit_keys (
    number integer not null,
    key text not null,
    after_size bigint not null,
    statement text,
    constraint audit_keys_key primary key (number),
    constraint audit_keys_once unique (key),
    constraint audit_keys_counted check (number >= 1 and after_size >= 0),
    constraint audit_keys_stated check ((number = 1) = (statement is null))
);

-- How long the log is, and under which lease it grows. One row: whoever moves it is the sealer.
create table audit_state (
    one boolean not null default true,
    size bigint not null,
    token bigint not null,
    constraint audit_state_key primary key (one),
    constraint audit_state_once check (one),
    constraint audit_state_counted check (size >= 0)
);
insert into audit_state (size, token) values (0, 0);

-- Up to which number every row of a source is an entry, or will never be.
create table audit_marks (
    source smallint not null,
    part smallint not null,
    number bigint not null,
    constraint audit_marks_key primary key (source, part)
);

create trigger audit_nodes_final before update or delete or truncate on audit_nodes
    for each statement execute function tradesense_refuse_change();
create trigger audit_checkpoints_final before update or delete or truncate on audit_checkpoints
    for each statement execute function tradesense_refuse_change();
create trigger audit_cosignatures_final before update or delete or truncate on audit_cosignatures
    for each statement execute function tradesense_refuse_change();
create trigger audit_keys_final before update or delete or truncate on audit_keys
    for each statement execute function tradesense_refuse_change();
create trigger audit_state_kept before delete or truncate on audit_state
    for each statement execute function tradesense_refuse_change();

grant select, insert on audit_nodes, audit_checkpoints, audit_keys to tradesense_sealer;
grant select on audit_cosignatures to tradesense_sealer;
grant select on audit_nodes, audit_checkpoints, audit_keys, audit_state to tradesense_auditor;
grant select, insert on audit_cosignatures to tradesense_auditor;
grant select, update on audit_state to tradesense_sealer;
grant select, insert, update on audit_marks to tradesense_sealer;
