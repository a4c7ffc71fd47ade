#!/bin/sh
# The primary's archive_command: `keep-wal.sh %p %f DIRECTORY`. Puts a finished segment of the log where `ship.sh` takes it from, on the
# disk before it says so, and never over another one. Where there is no directory nobody ships, and nothing is kept: a log that nobody
# takes away would fill the disk.
set -eu
umask 077
from=$1 to=$3/$2

[ -d "$3" ] || exit 0
if [ -e "$to" ]; then
    # The server asks again when it did not hear the answer.
    cmp -s "$from" "$to" && exit 0
    echo "keep-wal: $to is there and holds something else" >&2
    exit 1
fi
# A segment that was closed early ends in zeros, which take no room.
cp --sparse=always -- "$from" "$to.part"
sync "$to.part"
# Unlike a rename, a link never takes the place of what is there.
ln -- "$to.part" "$to"
rm -- "$to.part"
sync "$3"
