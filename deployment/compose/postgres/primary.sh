#!/bin/bash
# Runs once, when the image makes an empty data directory: what the schema's migrations do not make.
set -euo pipefail

replication=$(cat /run/secrets/replication_password)
pooler=$(cat /run/secrets/pgbouncer_password)
exporter=$(cat /run/secrets/exporter_password)

psql --no-psqlrc --set=ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --set=replication="$replication" --set=pooler="$pooler" --set=exporter="$exporter" \
    --set=db="$POSTGRES_DB" --set=owner="$POSTGRES_USER" <<'SQL'
create role replicator login replication password :'replication';
select pg_create_physical_replication_slot('replica_1'), pg_create_physical_replication_slot('replica_2');

create role exporter login password :'exporter' in role pg_monitor;

-- The pooler looks passwords up here, so that nobody keeps a second copy of them.
create role pgbouncer login password :'pooler';
create schema pgbouncer authorization pgbouncer;
create function pgbouncer.look_up(wanted text) returns table (usename name, passwd text)
    language sql stable security definer set search_path = pg_catalog
    as 'select rolname, rolpassword from pg_authid where rolname = wanted and rolcanlogin and not rolsuper';
revoke all on function pgbouncer.look_up(text) from public;
grant execute on function pgbouncer.look_up(text) to pgbouncer;

-- Behind a pooler a connection cannot bring these along.
alter database :"db" set statement_timeout = '30s';
alter database :"db" set lock_timeout = '10s';
alter database :"db" set idle_in_transaction_session_timeout = '60s';
alter database :"db" set jit = off;
alter role :"owner" set statement_timeout = 0;
alter role :"owner" set lock_timeout = 0;
SQL
