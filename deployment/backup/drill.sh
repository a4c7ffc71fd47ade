#!/bin/sh
# Restores into a place of its own and lets `tradesense drill` judge it. Ends with 0 only if all of it is good.
#
#   drill.sh KEYS [INSTANT] [-- what else tradesense drill is told]
#
# KEYS is the directory where `secrets.sh open` has put the keys. The restored server listens on no network; it is gone afterwards.
#
# DRILL_ROOM        room for one database: BACKUP_WORK/drill
# DRILL_SUPERUSER   the database's superuser and its database: tradesense
# DRILL_DATABASE
# DRILL_RESTORE     what restores: restore.sh beside this
here=$(dirname "$0")
. "$here/lib.sh"
restore=${DRILL_RESTORE:-$here/restore.sh}
keys=${1:?names the directory of the opened keys}
shift
instant=''
if [ $# -gt 0 ] && [ "$1" != -- ]; then
    instant=$1
    shift
fi
[ "${1:-}" != -- ] || shift
began=$(date -u +%Y-%m-%dT%H:%M:%SZ)
room=${DRILL_ROOM:-$work/drill}
user=${DRILL_SUPERUSER:-tradesense} database=${DRILL_DATABASE:-tradesense}
[ ! -e "$room" ] || fail "$room is there: another drill runs, or one was killed; look and remove it"
mkdir -p "$room/socket"
server=''
end() {
    if [ -n "$server" ]; then
        kill -INT "$server" 2>/dev/null || true
        wait "$server" || true
    fi
    rm -rf "$room"
}
trap end EXIT
trap 'exit 1' TERM INT

if [ -n "$instant" ]; then
    "$restore" "$room/data" "$instant"
    # A fraction of a second is told as it was asked for.
    set -- --wanted "$(date -u -d "$instant" +%Y-%m-%dT%H:%M:%S.%6NZ)" "$@"
else
    "$restore" "$room/data"
fi
# The socket lies in a directory that is closed to everybody else.
echo "local all all trust" >"$room/hba.conf"
postgres -D "$room/data" -c listen_addresses= -c "unix_socket_directories=$room/socket" -c "hba_file=$room/hba.conf" \
    -c archive_mode=off -c hot_standby=off -c ssl=off -c shared_preload_libraries= -c synchronous_standby_names= \
    -c logging_collector=off -c shared_buffers=256MB >"$room/log" 2>&1 &
server=$!
until pg_isready --quiet --host="$room/socket" --username="$user" --dbname="$database"; do
    if ! kill -0 "$server" 2>/dev/null; then
        tail -n 20 "$room/log" >&2
        server=''
        fail "the restored server did not come up"
    fi
    sleep 0.2
done
DATABASE_URL="postgres://$user@localhost/$database?host=$room/socket" \
    tradesense drill --keys-dir "$keys" --began "$began" "$@"
