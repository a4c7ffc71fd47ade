#!/bin/bash
# A streaming replica: copies the primary once, then follows it. REPLICA is its slot and its name. `replica.sh password` beside one that
# runs: it comes in with the password that the file holds now (rotate.sh).
set -euo pipefail

# A password on a command line or in a data directory would outlive its rotation.
pass=/tmp/pgpass
install -m 0600 /dev/null "$pass"
echo "*:*:*:replicator:$(cat /run/secrets/replication_password)" >"$pass"
[ "${1:-}" != password ] || exit 0
primary="host=postgres port=5432 user=replicator application_name=$REPLICA passfile=$pass"

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    mkdir -p "$PGDATA"
    chmod 0700 "$PGDATA"
    rm -rf "${PGDATA:?}"/*
    # A primary that came back from a backup has no slots, and one that was behind for too long has lost its place.
    pg_receivewal --dbname="$primary" --slot="$REPLICA" --drop-slot || echo "$REPLICA has no slot yet"
    pg_receivewal --dbname="$primary" --slot="$REPLICA" --create-slot
    pg_basebackup --dbname="$primary" --pgdata="$PGDATA" --wal-method=stream --slot="$REPLICA" --checkpoint=fast
fi
touch "$PGDATA/standby.signal"
exec postgres -c "primary_conninfo=$primary" -c "primary_slot_name=$REPLICA" -c hot_standby=on \
    -c hot_standby_feedback=on -c max_standby_streaming_delay=30s "$@"
