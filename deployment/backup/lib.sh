# What the scripts share; read by them, not run.
# shellcheck shell=sh
#
# BACKUP_REPOSITORY     where backups lie, as restic names it: a folder, sftp:.., s3:https://host/bucket/prefix. Below it are two
#                       repositories, `wal` and `base`: thinning out base backups never holds up the log.
# RESTIC_PASSWORD_FILE  what they are encrypted with.
# BACKUP_WAL            where the primary puts finished segments of its log.
# BACKUP_WORK           room for one base backup, and what is remembered between two starts.
set -eu
umask 077

: "${BACKUP_REPOSITORY:?says where backups lie}"
# shellcheck disable=SC2034 # ship.sh reads it
wal=${BACKUP_WAL:-/var/lib/postgresql/wal-archive}
work=${BACKUP_WORK:-/var/lib/tradesense-backup}
export RESTIC_CACHE_DIR="${RESTIC_CACHE_DIR:-$work/cache}"

say() { echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $*" >&2; }
fail() {
    say "$*"
    exit 1
}

# repository wal|base, then restic's own words.
repository() {
    of=$1
    shift
    restic --repo "$BACKUP_REPOSITORY/$of" --quiet "$@"
}

# The base backups that can be restored, the oldest first: base-20261130T015043Z is whole since 01:50:43. The log behind a base is kept
# under its name; a base whose log was never kept is not one.
bases() {
    repository wal --no-lock snapshots --json | jq -r '.[].tags[] | select(startswith("base-"))' | sort -u
}

# An instant as the names of bases write it.
stamp() { date -u -d "$1" +%Y%m%dT%H%M%SZ; }
