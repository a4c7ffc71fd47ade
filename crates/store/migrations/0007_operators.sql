-- What a firm's people change while it runs: which version is on sale, and the calendar of releases.

-- Every version that was ever on sale, with its price. Written with the change in `programs`.
create table program_publications (
    firm_id uuid not null,
    id bigint generated always as identity,
    slug text not null,
    version text not null,
    fee_minor bigint not null,
    fee_currency text not null,
    at timestamptz not null,
    -- Nobody where the firm was set up.
    person_id uuid,
    constraint program_publications_key primary key (firm_id, id),
    constraint program_publications_fee_not_negative check (fee_minor >= 0),
    constraint program_publications_currency_form check (fee_currency ~ '^[A-Z]{3}$'),
    constraint program_publications_program foreign key (firm_id, slug) references programs (firm_id, slug),
    constraint program_publications_version foreign key (firm_id, version)
        references program_versions (firm_id, version),
    constraint program_publications_person foreign key (firm_id, person_id) references people (firm_id, id)
);
create index program_publications_by_slug on program_publications (firm_id, slug, id);
create index program_publications_by_version on program_publications (firm_id, version);

-- Which calendar a firm has: one number more with every change of its releases. Accounts are told under the key of the
-- number, which nobody can know before.
create table calendars (
    firm_id uuid not null,
    revision bigint not null,
    key text not null,
    changed_at timestamptz not null,
    constraint calendars_key primary key (firm_id),
    constraint calendars_revision_positive check (revision > 0),
    constraint calendars_key_length check (char_length(key) between 1 and 64),
    constraint calendars_firm foreign key (firm_id) references firms (firm_id)
);

-- The calendar that an account was last told, 0 for none. Only accounts whose phase has a rule that asks for it stand
-- here: the shard writes the row with the opening, and it goes once the account has ended.
create table account_calendars (
    firm_id uuid not null,
    account_id uuid not null,
    revision bigint not null,
    constraint account_calendars_key primary key (firm_id, account_id),
    constraint account_calendars_revision_counted check (revision >= 0),
    constraint account_calendars_account foreign key (firm_id, account_id) references accounts (firm_id, id)
);
create index account_calendars_behind on account_calendars (firm_id, revision);

-- Whether the rules of a phase ask for the calendar.
create function tradesense_asks_for_calendar(body text, phase integer) returns boolean
    language sql immutable parallel safe
    return jsonb_path_exists(body::jsonb -> 'phases' -> phase, '$.rules[*] ? (@.kind == "news_window")');

-- What was there before. Whoever owns the tables looks past the fence for a moment.
alter table programs no force row level security;
alter table program_versions no force row level security;
alter table purchases no force row level security;
alter table accounts no force row level security;
alter table audit_entries no force row level security;

-- The audit log tells of every publication. A fee is written there with all digits of its minor unit.
insert into program_publications (firm_id, slug, version, fee_minor, fee_currency, at, person_id)
select entry.firm_id, programs.slug, kept.version, replace(entry.detail #>> '{fee,amount}', '.', '')::bigint,
       entry.detail #>> '{fee,currency}', entry.at, entry.actor_id
from audit_entries entry
join programs on programs.firm_id = entry.firm_id and programs.slug = entry.detail ->> 'slug'
join program_versions kept on kept.firm_id = entry.firm_id and kept.version = entry.detail ->> 'version'
where entry.action = 'program.publish'
order by entry.firm_id, entry.id;

-- And what was sold without an entry was on sale, too.
insert into program_publications (firm_id, slug, version, fee_minor, fee_currency, at)
select sold.firm_id, sold.slug, sold.version, sold.fee_minor, sold.fee_currency, kept.created_at
from (select firm_id, slug, version, fee_minor, fee_currency from programs
      union
      select distinct on (firm_id, slug, version) firm_id, slug, version, fee_minor, fee_currency from purchases) sold
join program_versions kept on kept.firm_id = sold.firm_id and kept.version = sold.version
where not exists (select from program_publications known
                  where known.firm_id = sold.firm_id and known.slug = sold.slug and known.version = sold.version)
order by kept.created_at;

insert into account_calendars (firm_id, account_id, revision)
select accounts.firm_id, accounts.id, 0
from accounts
join program_versions kept on kept.firm_id = accounts.firm_id and kept.version = accounts.version
where accounts.status = 'active' and tradesense_asks_for_calendar(kept.body, accounts.phase);

alter table programs force row level security;
alter table program_versions force row level security;
alter table purchases force row level security;
alter table accounts force row level security;
alter table audit_entries force row level security;

create trigger program_publications_final before update or delete or truncate on program_publications
    for each statement execute function tradesense_refuse_change();

do $$
declare
    name text;
begin
    foreach name in array array['program_publications', 'calendars', 'account_calendars'] loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy %I on %I using (firm_id = tradesense_firm()) '
                       'with check (firm_id = tradesense_firm())', name || '_own', name);
    end loop;
    foreach name in array array['calendars', 'account_calendars'] loop
        execute format('create policy %I on %I to tradesense_engine using (true) with check (true)',
                       name || '_engine', name);
    end loop;
end
$$;

grant select, insert on program_publications to tradesense_app;
grant select, insert on calendars to tradesense_app;
grant update (revision, key, changed_at) on calendars to tradesense_app;
grant select on calendars to tradesense_engine;
grant select, insert, delete on account_calendars to tradesense_engine;
grant update (revision) on account_calendars to tradesense_engine;
