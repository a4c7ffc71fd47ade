-- The second half: no release that runs knows the old name, and none that does may start again (`OLDEST_PROGRAM`).
drop trigger sessions_both on sessions;
drop function tradesense_sessions_both();
alter table sessions
    drop constraint sessions_times_ordered,
    drop column ends_at,
    alter column over_at set not null,
    add constraint sessions_times_ordered check (created_at < expires_at and expires_at <= over_at) not valid;
alter table sessions validate constraint sessions_times_ordered;
