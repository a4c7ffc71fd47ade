#!/bin/sh
# Ships the log and, when one is due, a verified base backup into the repositories, and forgets by policy.
#
#   ship.sh loop       until told to stop: the service
#   ship.sh base       asks the loop for a base backup now, for instance before a migration, and waits for it
#   ship.sh healthy    whether the loop turns
#
# Beside what lib.sh names: the connection of a role that may replicate, as libpq knows it (PGHOST, PGUSER), with PGPASSFILE or with
# BACKUP_LOGIN_FILE, a file that holds the password alone.
#
# BACKUP_EVERY     seconds between base backups: 86400
# BACKUP_KEEP      days that one can go back: 30
# BACKUP_FORGET    `no` where these credentials may not delete, and somebody else forgets
# BACKUP_PORT      where Prometheus reads metrics.txt; nowhere unless said
here=$(dirname "$0")
. "$here/lib.sh"
every=${BACKUP_EVERY:-86400} keep=${BACKUP_KEEP:-30}
metrics=$work/metrics

mkdir -p "$work/cache" "$metrics"
# Anew for each base backup: the password may be another one by then.
log_in() {
    [ -n "${BACKUP_LOGIN_FILE:-}" ] || return 0
    PGPASSFILE=$work/login
    install -m 0600 /dev/null "$PGPASSFILE"
    echo "*:*:*:*:$(cat "$BACKUP_LOGIN_FILE")" >"$PGPASSFILE"
    export PGPASSFILE
}

current() { cat "$work/current" 2>/dev/null || true; }

# Whoever reads the figures never reads half of them.
tell() {
    base_at=$(cat "$work/base-at" 2>/dev/null || true) wal_at=$(cat "$work/wal-at" 2>/dev/null || true)
    {
        if [ -n "$base_at" ]; then
            echo "# HELP tradesense_base_backup_timestamp_seconds When the newest base backup was whole and verified."
            echo "# TYPE tradesense_base_backup_timestamp_seconds gauge"
            echo "tradesense_base_backup_timestamp_seconds $base_at"
        fi
        if [ -n "$wal_at" ]; then
            echo "# HELP tradesense_wal_shipped_timestamp_seconds When the log was last shipped."
            echo "# TYPE tradesense_wal_shipped_timestamp_seconds gauge"
            echo "tradesense_wal_shipped_timestamp_seconds $wal_at"
        fi
        # What `tradesense drill --metrics` has left here.
        cat "$work/drill.prom" 2>/dev/null || true
    } >"$metrics/.new"
    chmod 0644 "$metrics/.new"
    mv "$metrics/.new" "$metrics/metrics.txt"
}

open_repositories() {
    for name in wal base; do
        repository "$name" --no-lock cat config >/dev/null 2>&1 && continue
        repository "$name" init || fail "the repository $BACKUP_REPOSITORY/$name can be neither opened nor made"
    done
}

# What is called in a condition does not end at its first failure: there every step says itself what follows from which.

# Everything that lies there goes under the name of the base that it continues: the newest snapshot of a name is the whole log behind it.
ship_wal() {
    (cd "$wal" && repository wal backup --host tradesense --tag "wal,$1" --exclude '*.part' .) && date +%s >"$work/wal-at"
}

# Makes a base backup, verifies it and keeps it. It runs beside the loop: the log never waits for it.
make_base() {
    log_in
    rm -rf "$work/base" "$work/made"
    pg_basebackup --pgdata="$work/base" --wal-method=stream --checkpoint=fast --manifest-checksums=SHA256 --no-sync
    name=base-$(date -u +%Y%m%dT%H%M%SZ)
    pg_verifybackup --quiet "$work/base"
    first=$(sed -n 's/^START WAL LOCATION: .*(file \([0-9A-F]*\))$/\1/p' "$work/base/backup_label")
    [ -n "$first" ] || fail "the base backup does not say where its log begins"
    (cd "$work/base" && repository base backup --host tradesense --tag "base,$name" .)
    rm -rf "$work/base"
    echo "$name $first" >"$work/made.new"
    mv "$work/made.new" "$work/made"
}

# Goes over to a base that was made: what the old one is continued by ends here, what the new one needs begins. Only then is anything
# taken away.
take_base() {
    read -r name first <"$work/made" || return 1
    before=$(current)
    { [ -z "$before" ] || ship_wal "$before"; } &&
        ship_wal "$name" &&
        echo "$name" >"$work/current" &&
        date +%s >"$work/base-at" &&
        rm "$work/made" &&
        pg_archivecleanup "$wal" "$first" &&
        say "$name is kept, and the log from $first on"
}

# Of each base the last states of its log; bases of as many days as said, and two at least; no log whose base is gone. A long
# rewriting would hold up the log: what is left of it is done the next time.
forget() {
    [ "${BACKUP_FORGET:-yes}" = yes ] || return 0
    repository base forget --tag base --group-by host --keep-last 2 --keep-within "${keep}d" --prune &&
        repository wal forget --tag wal --group-by host,tags --keep-last 2 --keep-hourly 24 &&
        kept=$(repository base --no-lock snapshots --json | jq -r '.[].tags[]') &&
        logs=$(repository wal --no-lock snapshots --json |
            jq -r '.[] | .id + " " + (.tags[] | select(startswith("base-")))') &&
        gone=$(echo "$logs" | while read -r id name; do echo "$kept" | grep -qx "$name" || echo "$id"; done) &&
        { [ -z "$gone" ] || echo "$gone" | xargs restic --repo "$BACKUP_REPOSITORY/wal" --quiet forget; } &&
        repository wal prune --max-repack-size 512M
}

loop() {
    mkdir -p "$wal"
    open_repositories
    # Locks of those who were killed.
    for name in wal base; do repository "$name" unlock || true; done
    tell
    if [ -n "${BACKUP_PORT:-}" ]; then busybox httpd -p "$BACKUP_PORT" -h "$metrics"; fi
    trap 'say "told to stop"; [ -z "$maker" ] || kill "$maker" 2>/dev/null; exit 0' TERM INT
    maker='' shipped='' tried=0
    while :; do
        date +%s >"$work/alive"
        now=$(date +%s)
        base_at=$(cat "$work/base-at" 2>/dev/null || echo 0)
        if [ -n "$maker" ] && ! kill -0 "$maker" 2>/dev/null; then
            wait "$maker" || say "the base backup failed; it is tried again in ten minutes"
            maker=''
        fi
        if [ -z "$maker" ] && [ -e "$work/made" ]; then
            if take_base && tell && forget; then :; else say "keeping the new base or forgetting old ones failed" && sleep 5; fi
            shipped=''
        elif [ -z "$maker" ] && { [ -e "$work/wanted" ] ||
            { [ $((now - base_at)) -ge "$every" ] && [ $((now - tried)) -ge 600 ]; }; }; then
            rm -f "$work/wanted"
            tried=$now
            make_base &
            maker=$!
        fi
        name=$(current)
        there=$(cd "$wal" && find . -type f ! -name '*.part' | sort)
        if [ -n "$name" ] && [ "$there" != "$shipped" ]; then
            if ship_wal "$name"; then
                shipped=$there
                tell
            else
                say "shipping the log failed"
                sleep 5
            fi
        fi
        sleep 1 &
        # A signal ends the waiting, not the sleeping.
        wait $!
    done
}

case ${1:-loop} in
    loop) loop ;;
    base)
        before=$(current)
        : >"$work/wanted"
        while [ "$(current)" = "$before" ]; do sleep 1; done
        current
        ;;
    healthy) [ -n "$(find "$work/alive" -mmin -15 2>/dev/null)" ] ;;
    *) fail "ship.sh loop, base or healthy" ;;
esac
