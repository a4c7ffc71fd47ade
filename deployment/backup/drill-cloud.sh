#!/bin/sh
# The drill of a cluster, from the store of CloudNativePG's plugin: drill.sh on a copy of the keys, because a drill erases again whoever was
# erased and may not write to those of the platform that serves.
#
#   drill-cloud.sh KEYS [what else tradesense drill is told]
#
# DRILL_PLACE   room for one database
# and what restore-cloud.sh reads
set -eu
umask 077
here=$(dirname "$0")
keys=${1:?names the directory of keys}
shift
export DRILL_ROOM="${DRILL_PLACE:?has room for one database}/drill" DRILL_SUPERUSER="${DRILL_SUPERUSER:-postgres}"
export DRILL_RESTORE="$here/restore-cloud.sh" BACKUP_REPOSITORY="${CLOUD_SOURCE:?says where backups lie}"
# A volume outlives a pod that was killed.
rm -rf "$DRILL_ROOM" "$DRILL_PLACE/keys"
trap 'rm -rf "$DRILL_PLACE/keys"' EXIT
cp -R "$keys" "$DRILL_PLACE/keys"
"$here/drill.sh" "$DRILL_PLACE/keys" -- --lost-at "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$@"
