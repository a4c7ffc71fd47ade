-- What stands beside the programs, what a purchase was priced with, and what has happened to it. docs/adr/0031.

alter table programs
    -- In the currency of the fee; resets are not for sale if null.
    add column reset_fee_minor bigint,
    -- It costs nothing, and everybody gets one.
    add column trial boolean not null default false,
    add constraint programs_reset_fee_not_negative check (reset_fee_minor >= 0);
grant update (reset_fee_minor, trial) on programs to tradesense_app;

create table program_addons (
    firm_id uuid not null,
    slug text not null,
    code text not null,
    name text not null,
    -- `app::catalogue::AddonPrice` and `AddonChange`.
    price text not null,
    change text not null,
    on_sale boolean not null,
    constraint program_addons_key primary key (firm_id, slug, code),
    constraint program_addons_code_form check (code ~ '^[A-Za-z0-9_-]{1,32}$'),
    constraint program_addons_name_length check (char_length(name) between 1 and 80),
    constraint program_addons_program foreign key (firm_id, slug) references programs (firm_id, slug)
);

-- Other prices of a program: in another currency, for a country, for a group. An empty text is for all.
create table program_prices (
    firm_id uuid not null,
    slug text not null,
    currency text not null,
    country text not null,
    group_name text not null,
    price_minor bigint not null,
    constraint program_prices_key primary key (firm_id, slug, currency, country, group_name),
    constraint program_prices_currency_form check (currency ~ '^[A-Z]{3}$'),
    constraint program_prices_country_form check (country ~ '^([A-Z]{2})?$'),
    constraint program_prices_not_negative check (price_minor >= 0),
    constraint program_prices_program foreign key (firm_id, slug) references programs (firm_id, slug)
);

-- Which group somebody belongs to, for prices.
create table person_groups (
    firm_id uuid not null,
    person_id uuid not null,
    group_name text not null,
    constraint person_groups_key primary key (firm_id, person_id),
    constraint person_groups_name_form check (group_name ~ '^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$'),
    constraint person_groups_person foreign key (firm_id, person_id) references people (firm_id, id)
);

-- Tax on sales, by the buyer's country; an empty text is for all that have no row.
create table tax_rates (
    firm_id uuid not null,
    country text not null,
    rate_millionths bigint not null,
    -- Whether prices contain it; otherwise it comes on top.
    inclusive boolean not null,
    constraint tax_rates_key primary key (firm_id, country),
    constraint tax_rates_country_form check (country ~ '^([A-Z]{2})?$'),
    constraint tax_rates_in_range check (rate_millionths between 0 and 1000000),
    constraint tax_rates_firm foreign key (firm_id) references firms (firm_id)
);

create table coupons (
    firm_id uuid not null,
    code text not null,
    off_millionths bigint,
    off_minor bigint,
    -- Of what is let off and of the least price.
    currency text,
    -- For all programs if empty.
    slugs text[] not null,
    starts_at timestamptz,
    ends_at timestamptz,
    most_uses integer,
    most_per_person integer,
    only_person_id uuid,
    stackable boolean not null,
    least_minor bigint,
    created_at timestamptz not null,
    disabled_at timestamptz,
    -- Claims that were not freed. Whoever claims moves it, so that claims of one coupon follow each other.
    used integer not null default 0,
    constraint coupons_key primary key (firm_id, code),
    constraint coupons_code_form check (code ~ '^[A-Z0-9_-]{1,32}$'),
    constraint coupons_one_kind check ((off_millionths is null) <> (off_minor is null)),
    constraint coupons_off_in_range check (off_millionths between 1 and 1000000 and off_minor is null or off_minor > 0),
    constraint coupons_currency_form check (currency ~ '^[A-Z]{3}$'),
    constraint coupons_currency_said check ((currency is not null) = (off_minor is not null or least_minor is not null)),
    constraint coupons_least_not_negative check (least_minor >= 0),
    constraint coupons_end_later check (ends_at > starts_at),
    constraint coupons_most_counted check (most_uses > 0 and most_per_person > 0),
    -- However many claim at once: the last one that fits is the last.
    constraint coupons_used_within check (used between 0 and coalesce(most_uses, 2147483647)),
    constraint coupons_person foreign key (firm_id, only_person_id) references people (firm_id, id),
    constraint coupons_firm foreign key (firm_id) references firms (firm_id)
);

-- What was there before. Whoever owns the tables looks past the fence for a moment.
alter table purchases no force row level security;
alter table challenges no force row level security;

alter table purchases
    drop constraint purchases_state_known,
    drop constraint purchases_decided,
    add column bought text not null default 'challenge',
    add column discount_minor bigint not null default 0,
    add column tax_minor bigint not null default 0,
    -- `app::catalogue::PriceLine`s.
    add column lines text not null default '[]',
    add column provider text,
    -- Where the buyer said they are, for prices and tax.
    add column country text,
    -- How many resets were bought with it.
    add column resets smallint not null default 0,
    add column trial boolean not null default false,
    -- The challenge that begins anew, whether that was bought with it, and with which purchase.
    add column reset_of uuid,
    add column reset_included boolean not null default false,
    add column root_id uuid;
update purchases bought
set root_id = id,
    state = case bought.state
                when 'declined' then 'failed'
                when 'paid' then case when exists (select from challenges
                                                   where challenges.firm_id = bought.firm_id
                                                     and challenges.purchase_id = bought.id and opened_at is not null)
                                      then 'fulfilled' else 'captured' end
                else bought.state
            end;
alter table purchases
    alter column bought drop default,
    alter column discount_minor drop default,
    alter column tax_minor drop default,
    alter column lines drop default,
    alter column resets drop default,
    alter column trial drop default,
    alter column reset_included drop default,
    alter column root_id set not null,
    add constraint purchases_state_known check (state in (
        'created', 'awaiting_payment', 'captured', 'fulfilled', 'cancelled', 'expired', 'failed', 'refunded', 'disputed',
        'charged_back'
    )),
    add constraint purchases_decided check ((state in ('created', 'awaiting_payment')) = (decided_at is null)),
    add constraint purchases_bought_known check (bought in ('challenge', 'reset')),
    add constraint purchases_reset_whole check (
        (bought = 'reset') = (reset_of is not null) and (bought = 'reset' or not reset_included and root_id = id)
    ),
    add constraint purchases_priced check (discount_minor >= 0 and tax_minor between 0 and fee_minor),
    add constraint purchases_country_form check (country ~ '^[A-Z]{2}$'),
    add constraint purchases_resets_counted check (resets >= 0),
    add constraint purchases_reset_of foreign key (firm_id, reset_of) references challenges (firm_id, id),
    add constraint purchases_root foreign key (firm_id, root_id, person_id) references purchases (firm_id, id, person_id);
-- A challenge begins anew once, and a trial is had once, however many ask at the same moment.
create unique index purchases_reset_once on purchases (firm_id, reset_of)
    where reset_of is not null and state not in ('cancelled', 'expired', 'failed');
create unique index purchases_trial_once on purchases (firm_id, person_id, slug)
    where trial and state not in ('cancelled', 'expired', 'failed');
create index purchases_by_root on purchases (firm_id, root_id) where bought = 'reset';
-- What janitors look for.
create index purchases_unpaid on purchases (firm_id, created_at) where state in ('created', 'awaiting_payment');
create index purchases_captured on purchases (firm_id, created_at) where state = 'captured';
grant update (provider) on purchases to tradesense_app;

alter table purchases force row level security;
alter table challenges force row level security;

-- What has happened to a purchase: each thing once, by the name that the provider gave it.
create table purchase_events (
    firm_id uuid not null,
    purchase_id uuid not null,
    person_id uuid not null,
    id uuid not null,
    number bigint generated always as identity,
    what text not null,
    provider text,
    reference text not null,
    amount_minor bigint,
    currency text,
    tax_minor bigint,
    at timestamptz not null,
    recorded_at timestamptz not null,
    from_state text not null,
    to_state text not null,
    constraint purchase_events_key primary key (firm_id, purchase_id, id),
    constraint purchase_events_what_known check (what in (
        'begun', 'nothing_due', 'captured', 'paid_again', 'fulfilled', 'cancelled', 'expired', 'failed', 'refunded_in_part',
        'refunded_in_whole', 'overpayment_refunded', 'refund_failed', 'dispute_opened', 'dispute_won', 'dispute_lost'
    )),
    constraint purchase_events_reference_length check (char_length(reference) <= 255),
    constraint purchase_events_amount_whole check ((amount_minor is null) = (currency is null) and amount_minor > 0),
    constraint purchase_events_purchase foreign key (firm_id, purchase_id, person_id)
        references purchases (firm_id, id, person_id)
);
-- A provider's payment is of one purchase.
create unique index purchase_events_payment_once on purchase_events (firm_id, provider, reference)
    where what in ('captured', 'paid_again');
create trigger purchase_events_final before update or delete or truncate on purchase_events
    for each statement execute function tradesense_refuse_change();

-- Who used which coupon for what.
create table coupon_claims (
    firm_id uuid not null,
    code text not null,
    purchase_id uuid not null,
    person_id uuid not null,
    at timestamptz not null,
    -- The purchase ended without money.
    freed_at timestamptz,
    constraint coupon_claims_key primary key (firm_id, code, purchase_id),
    constraint coupon_claims_coupon foreign key (firm_id, code) references coupons (firm_id, code),
    constraint coupon_claims_purchase foreign key (firm_id, purchase_id, person_id)
        references purchases (firm_id, id, person_id)
);
create index coupon_claims_by_person on coupon_claims (firm_id, code, person_id) where freed_at is null;
create index coupon_claims_by_purchase on coupon_claims (firm_id, purchase_id);

do $$
declare
    name text;
begin
    foreach name in array array['program_addons', 'program_prices', 'person_groups', 'tax_rates', 'coupons', 'purchase_events',
                                'coupon_claims'] loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy %I on %I using (firm_id = tradesense_firm()) with check (firm_id = tradesense_firm())',
                       name || '_own', name);
        execute format('grant select, insert on %I to tradesense_app', name);
    end loop;
end
$$;
grant update (name, price, change, on_sale) on program_addons to tradesense_app;
grant update (price_minor), delete on program_prices to tradesense_app;
grant update (group_name), delete on person_groups to tradesense_app;
grant update (rate_millionths, inclusive), delete on tax_rates to tradesense_app;
grant update (used, disabled_at) on coupons to tradesense_app;
grant update (freed_at) on coupon_claims to tradesense_app;

-- Every row about a person, without what is secret or sealed. What docs/compliance/data.toml calls
-- `export`: as before, with what is new.
create or replace function tradesense_rows_of(person uuid) returns table (kind text, content jsonb)
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
    select 'purchase_events', to_jsonb(own) from purchase_events own, firm
    where own.firm_id = firm.id and own.person_id = person
    union all
    select 'coupon_claims', to_jsonb(own) from coupon_claims own, firm
    where own.firm_id = firm.id and own.person_id = person
    union all
    select 'person_groups', to_jsonb(own) from person_groups own, firm
    where own.firm_id = firm.id and own.person_id = person
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
