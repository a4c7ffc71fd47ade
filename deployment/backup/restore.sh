#!/bin/sh
# Restores the newest base backup before an instant, and the log up to it, into a directory that is not there yet.
#
#   restore.sh DIRECTORY [INSTANT]
#
# INSTANT is what `date -d` understands, such as 2026-11-30T01:50:43.5Z; without it as much as there is. Then start a server on the
# directory: it goes through the log, stops before the first transaction after the instant, and takes up work. A log with a hole is
# refused here; a log that ends before the instant is refused by the server.
#
# BASE    a certain base in place of the newest (`restore.sh --list` names them)
here=$(dirname "$0")
. "$here/lib.sh"

if [ "${1:-}" = --list ]; then
    bases
    exit
fi
data=${1:?names the directory} instant=${2:-}
[ ! -e "$data" ] || fail "$data is there: nothing is restored over anything"
case $data in /*) ;; *) data=$PWD/$data ;; esac

until=99999999T999999Z
if [ -n "$instant" ]; then until=$(stamp "$instant"); fi
all=$(bases)
chosen=${BASE:-$(echo "$all" | awk -v until="base-$until" '$0 != "" && $0 < until' | tail -n 1)}
[ -n "$chosen" ] || fail "no base backup is older than $instant"
echo "$all" | grep -qx "$chosen" || fail "there is no $chosen"

say "restoring $chosen"
repository base restore latest --tag "base,$chosen" --target "$data"
chmod 0700 "$data"
pg_verifybackup --quiet "$data" || fail "what came back is not what was backed up"

# The log behind it, and of later bases up to the instant where an older base was asked for.
mkdir "$data/restored-log"
for name in $(echo "$all" | awk -v from="$chosen" -v until="base-$until" '$0 != "" && $0 >= from && $0 < until'); do
    repository wal restore latest --tag "wal,$name" --target "$data/restored-log"
done

# Sixteen digits of a segment's name count on across timelines: 256 segments of 16 MB make one of the upper eight.
before=''
for segment in $(cd "$data/restored-log" && find . -type f | sed -nE 's|^\./[0-9A-F]{8}([0-9A-F]{16})$|\1|p' | sort -u); do
    number=$(((0x${segment%????????} << 8) + 0x${segment#????????}))
    [ -z "$before" ] || [ "$number" -eq $((before + 1)) ] || fail "the log has a hole before $segment"
    before=$number
done
[ -n "$before" ] || fail "there is no log behind $chosen"

{
    echo "# written by restore.sh"
    echo "restore_command = 'cp \"$data/restored-log/%f\" \"%p\"'"
    echo "recovery_target_timeline = 'latest'"
    echo "recovery_target_action = 'promote'"
    if [ -n "$instant" ]; then
        echo "recovery_target_time = '$(date -u -d "$instant" '+%Y-%m-%d %H:%M:%S.%6N+00')'"
        echo "recovery_target_inclusive = 'on'"
    fi
} >>"$data/postgresql.auto.conf"
: >"$data/recovery.signal"
say "$data is ready: start a server on it"
