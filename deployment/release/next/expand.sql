-- The first half of a change that two releases share, as `cargo xtask verify upgrade` rehearses it: a column gets another name. The
-- release before goes on writing the old one, this one writes the new one, and whoever writes one of them has written both.
alter table sessions add column over_at timestamptz;

create function tradesense_sessions_both() returns trigger
    language plpgsql set search_path = pg_catalog, public
    as $$
begin
    new.over_at := coalesce(new.over_at, new.ends_at);
    new.ends_at := coalesce(new.ends_at, new.over_at);
    return new;
end
$$;
create trigger sessions_both before insert on sessions
    for each row execute function tradesense_sessions_both();

-- A table of millions is filled in parts, by a job.
update sessions set over_at = ends_at where over_at is null;
