-- Work for later, and the schedules that ask for it.

-- A UUID of version 7: it sorts by time, so that neighbours in time are neighbours in the index.
create function tradesense_job_id() returns uuid
    language sql volatile
    return (lpad(to_hex(floor(extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0') || '7'
            || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid;

create table jobs (
    -- The nil UUID for the platform's own work: no firm has that id.
    firm_id uuid not null,
    id uuid not null default tradesense_job_id(),
    -- In the order of enqueueing; of two jobs with one time the older goes first.
    number bigint generated always as identity,
    queue text not null,
    kind text not null,
    payload jsonb not null,
    priority smallint not null,
    run_at timestamptz not null,
    unique_key text,
    -- What the newest job under this key wanted to happen to the one that waits.
    meeting text,
    state text not null default 'waiting',
    -- How often it was taken. With the owner it guards the completion.
    attempt integer not null default 0,
    -- Of these, how many cost no attempt: given back, or too early.
    spared integer not null default 0,
    most_attempts smallint not null,
    owner_id uuid,
    leased_until timestamptz,
    -- Somebody wants it cancelled while it runs.
    stop boolean not null default false,
    enqueued_at timestamptz not null,
    ended_at timestamptz,
    -- `[{"attempt": .., "at": .., "error": ..}]`, the oldest first.
    errors jsonb not null default '[]',
    constraint jobs_key primary key (id, firm_id),
    constraint jobs_state_known check (state in ('waiting', 'running', 'done', 'dead', 'cancelled')),
    constraint jobs_meeting_known check (meeting in ('keep', 'replace', 'postpone')),
    constraint jobs_meeting_of_key check ((unique_key is null) = (meeting is null)),
    constraint jobs_leased check ((state = 'running') = (owner_id is not null and leased_until is not null)),
    constraint jobs_ended check ((state in ('done', 'dead', 'cancelled')) = (ended_at is not null)),
    constraint jobs_counted check (0 <= spared and spared <= attempt and most_attempts between 1 and 100),
    constraint jobs_timed check (run_at >= '1970-01-01T00:00:00Z')
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
-- Whoever claims walks along it, one priority after the other.
create index jobs_waiting on jobs (queue, priority, run_at, number) where state = 'waiting';
create unique index jobs_once on jobs (firm_id, kind, unique_key) where state = 'waiting' and unique_key is not null;
create index jobs_running on jobs (leased_until) where state = 'running';
create index jobs_over on jobs (ended_at) where state in ('done', 'cancelled');
create index jobs_dead on jobs (firm_id, number) where state = 'dead';
alter table jobs enable row level security;
alter table jobs force row level security;
create policy jobs_own on jobs
    using (firm_id = tradesense_firm()) with check (firm_id = tradesense_firm());
create policy jobs_engine on jobs for insert to tradesense_engine with check (true);
create policy jobs_worker on jobs to tradesense_worker using (true) with check (true);
grant select, insert on jobs to tradesense_app;
grant update (payload, priority, run_at, meeting, most_attempts, state, stop, ended_at, spared, unique_key) on jobs to tradesense_app;
grant insert on jobs to tradesense_engine;
grant select, insert, update, delete on jobs to tradesense_worker;

-- Of a queue in which nothing is begun: the jobs of one firm, or everybody's under the nil UUID.
create table queue_pauses (
    firm_id uuid not null,
    queue text not null,
    paused_at timestamptz not null,
    constraint queue_pauses_key primary key (queue, firm_id)
);
alter table queue_pauses enable row level security;
alter table queue_pauses force row level security;
create policy queue_pauses_own on queue_pauses
    using (firm_id = tradesense_firm()) with check (firm_id = tradesense_firm());
create policy queue_pauses_whole on queue_pauses for select to tradesense_app
    using (firm_id = '00000000-0000-0000-0000-000000000000');
create policy queue_pauses_worker on queue_pauses to tradesense_worker using (true) with check (true);
grant select, insert, delete on queue_pauses to tradesense_app;
grant select, insert, delete on queue_pauses to tradesense_worker;

-- Up to when each schedule has fired, or let an instant pass. It moves back only when the clock did.
create table schedules (
    name text not null,
    fired_until timestamptz not null,
    constraint schedules_key primary key (name)
);
grant select, insert, update on schedules to tradesense_worker;

-- Every instant for which a job was enqueued, once.
create table schedule_firings (
    schedule text not null,
    instant timestamptz not null,
    -- Under which lease.
    token bigint not null,
    constraint schedule_firings_key primary key (schedule, instant)
);
create index schedule_firings_by_instant on schedule_firings (instant);
grant select, insert, delete on schedule_firings to tradesense_worker;
