#!/bin/sh
# restore.sh where CloudNativePG has backed up: the newest base backup before an instant, and the log up to it, from the store of its plugin.
#
#   restore-cloud.sh DIRECTORY [INSTANT]
#
# It reads the store and nothing else. What restore.sh says of DIRECTORY, INSTANT and the server that is then started holds here too, but for a
# hole in the log: the server comes up at the hole, and whoever judges it finds what is missing (`tradesense drill --rpo-limit`).
#
# CLOUD_SOURCE     s3://BUCKET/ of the ObjectStore
# CLOUD_SERVER     whose backups: the name of the Cluster
# CLOUD_ENDPOINT   a store other than that of AWS
# AWS_SHARED_CREDENTIALS_FILE
set -eu
umask 077
say() { echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $*" >&2; }
fail() {
    say "$*"
    exit 1
}
data=${1:?names the directory} instant=${2:-}
source=${CLOUD_SOURCE:?says where backups lie} server=${CLOUD_SERVER:?says whose they are}
[ ! -e "$data" ] || fail "$data is there: nothing is restored over anything"
case $data in /*) ;; *) data=$PWD/$data ;; esac
endpoint=${CLOUD_ENDPOINT:+--endpoint-url=$CLOUD_ENDPOINT}

# Those that ended before the instant, the newest last.
until=$(date -u -d "${instant:-now}" +%s)
chosen=$(barman-cloud-backup-list ${endpoint:+"$endpoint"} --format json "$source" "$server" |
    jq -r '.backups_list[] | select(.status == "DONE") | .backup_id + " " + .end_time' |
    while read -r id end; do echo "$(date -u -d "$end" +%s) $id"; done |
    sort -n | awk -v until="$until" '$1 < until { id = $2 } END { print id }')
[ -n "$chosen" ] || fail "no base backup is older than ${instant:-now}"
say "restoring $chosen"
barman-cloud-restore ${endpoint:+"$endpoint"} "$source" "$server" "$chosen" "$data"
chmod 0700 "$data"

# Its log may have lain on a disk of its own.
if [ -L "$data/pg_wal" ]; then rm "$data/pg_wal"; fi
mkdir -p "$data/pg_wal/archive_status"
# Only "there is none" ends the log. A store that does not answer must not look like that: beyond 125 the server gives up.
fetch="barman-cloud-wal-restore ${endpoint:+$endpoint }$source $server %f %p || { [ \$? = 1 ] && exit 1; exit 200; }"
{
    echo "# written by restore-cloud.sh"
    echo "restore_command = '$fetch'"
    echo "recovery_target_timeline = 'latest'"
    echo "recovery_target_action = 'promote'"
    if [ -n "$instant" ]; then
        echo "recovery_target_time = '$(date -u -d "$instant" '+%Y-%m-%d %H:%M:%S.%6N+00')'"
        echo "recovery_target_inclusive = 'on'"
    fi
} >>"$data/postgresql.auto.conf"
rm -f "$data/standby.signal"
: >"$data/recovery.signal"
say "$data is ready: start a server on it"
