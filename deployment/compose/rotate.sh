#!/bin/sh
# Changes a secret of the compose stack while everybody works. On the machine of the stack:
#
#   deployment/compose/rotate.sh queue | cache      the platform's password of that Valkey
#                                redis-exporter     the figures' password of both
#                                redis-operator     who makes both read their files of rules again: this script
#                                login              the platform's login of the database
#                                owner              the owner's: migrations
#                                pooler             what PgBouncer looks passwords up with
#                                exporter           the figures' login of the database
#                                replication        what replicas and the service `backup` read the log with
#                                backup             what the repository of backups is encrypted with
#                                all                each of these
#                                edge CERTIFICATE KEY
#
# What was killed is done by saying the same again: each step may be done twice, and a password is in a file before anybody is told it. Old
# and new overlap: the old one is dropped once everybody who runs has taken the new one, and then must open nothing. Seal the
# secrets anew afterwards. The rest is changed by hand: docs/guides/rotation.md.
#
# SECRETS   the directory of secrets: deployment/secrets
# COMPOSE   what asks the container engine: docker compose -f deployment/docker-compose.yml
# shellcheck disable=SC2016 # what is quoted is for shells inside
set -eu
umask 077

here=$(dirname "$0")
dir=${SECRETS:-$here/../secrets}
compose=${COMPOSE:-docker compose -f $here/../docker-compose.yml}
. "$here/lib.sh"

say() { echo "rotate: $*" >&2; }
fail() {
    say "$*"
    exit 1
}
# shellcheck disable=SC2086 # several words
engine() { $compose "$@" 9<&-; }
inside() { engine exec -T "$@"; }
runs() { engine ps --services --status running | grep -qx "$1"; }
begin() { [ -s "$dir/$1.next" ] || random | put "$1.next"; }
end() {
    of "$1.next" | put "$1"
    rm "$dir/$1.next"
}

# taken SECRET=FILE..: waits until every role that runs works with these files, as far as it reads them. SECRET is what the role calls it.
taken() {
    for role in api analytics worker engine; do
        ! runs "$role" || {
            seconds=0
            until has "$role" "$@"; do
                seconds=$((seconds + 1))
                [ "$seconds" -lt 180 ] || fail "$role has not taken $*, its lines say why; nothing was dropped"
                sleep 1
            done
        }
    done
}
has() {
    who=$1 known=0
    shift
    figures=$(inside valkey-queue wget -q -O - "http://$who:8009/metrics") || return 1
    echo "$figures" | grep -q '^tradesense_secrets_refused 0$' || return 1
    for pair; do
        file=${pair#*=}
        # The engine goes past the pooler.
        [ "$who $file" != "engine login_url" ] || file=login_url_direct
        since=$(echo "$figures" | sed -n "s/^secret_loaded_timestamp{name=\"${pair%%=*}\"} //p")
        [ -n "$since" ] || continue
        [ "$since" = "$(stat -c %Y "$dir/$file")" ] || return 1
        known=$((known + 1))
    done
    # Each of them reads at least one of those that are changed together.
    [ "$known" -gt 0 ]
}

# Redis. Passwords are told through the pipe: a command line is read by others.

# opens SERVICE USER PASSWORD
opens() { [ "$(printf 'auth %s %s\n' "$2" "$3" | inside "$1" valkey-cli | head -n 1)" = OK ]; }

# rules queue|cache: writes them anew, and has them read.
rules() {
    acl "$1" | put "$1_acl"
    for slot in redis_operator_password redis_operator_password.next; do
        [ -s "$dir/$slot" ] || continue
        # A server may close its connections when it has read them: it has answered twice by then.
        said=$(printf 'auth operator %s\nacl load\n' "$(of "$slot")" | inside "valkey-$1" valkey-cli 2>/dev/null | grep -c '^OK$') || true
        [ "$said" != 2 ] || return 0
    done
    fail "valkey-$1 does not read its rules again. If they are older than its operator: restart it once"
}

# redis_user USER PASSWORD-FILE SERVER.. -- what brings the new one to whoever uses it.
redis_user() {
    user=$1 name=$2 servers=''
    shift 2
    while [ "$1" != -- ]; do
        servers="$servers $1"
        shift
    done
    shift
    begin "$name"
    old=$(of "$name") new=$(of "$name.next")
    for server in $servers; do
        rules "$server"
        opens "valkey-$server" "$user" "$new" || fail "valkey-$server does not take the new password of $user"
    done
    "$@"
    end "$name"
    for server in $servers; do
        rules "$server"
        opens "valkey-$server" "$user" "$new" || fail "valkey-$server takes the new password of $user no longer"
        [ "$old" = "$new" ] || ! opens "valkey-$server" "$user" "$old" || fail "valkey-$server still takes the old password of $user"
    done
}
tell_platform() {
    redis_url "$1" "$new" | put "$1_url"
    case $1 in
        queue) taken redis-url=queue_url ;;
        cache) taken cache-url=cache_url ;;
    esac
}
tell_redis_exporters() {
    redis_exporter_passwords "$new" | put redis_exporter_passwords
    for service in redis-queue-exporter redis-cache-exporter; do
        ! runs "$service" || engine restart "$service"
    done
}

# The database.

# What is said in it is written into no log: it may be a password.
sql() {
    printf "set log_min_duration_statement = -1; set log_min_error_statement = 'panic'; set log_statement = 'none';\n%s\n" "$1" |
        inside postgres sh -c 'PGPASSWORD=$(cat /run/secrets/postgres_password) exec psql -XAtq -v ON_ERROR_STOP=1 -U tradesense -d tradesense'
}
# connects LOGIN HOST PORT PASSWORD
connects() {
    printf '%s' "$4" | inside postgres sh -c \
        'PGPASSWORD=$(cat) exec psql -XAtq -h "$2" -p "$3" -U "$1" -d tradesense -c "select 1"' - "$1" "$2" "$3" >/dev/null 2>&1
}
# single LOGIN PASSWORD-FILE: PostgreSQL keeps one password for a login, and whoever is in stays in. So nobody may have to come in until
# they have the new one: say the rest right after this.
single() {
    begin "$2"
    old=$(of "$2") new=$(of "$2.next")
    connects "$1" postgres 5432 "$new" || sql "alter role $1 password '$new'"
}
# single_ends LOGIN PASSWORD-FILE
single_ends() {
    connects "$1" postgres 5432 "$new" || fail "the new password of $1 opens nothing"
    [ "$old" = "$new" ] || ! connects "$1" postgres 5432 "$old" || fail "the old password of $1 still opens the database"
    end "$2"
}

# Over to a second login and back to the first with a new password: compose and its files know one name.
login() {
    migrated tradesense_login_next login_next_password
    login_urls put tradesense_login_next "$(of login_next_password)"
    taken database-url=login_url replica-urls=replica_urls
    old=$(of login_password)
    random | put login_password
    migrated tradesense_login login_password
    login_urls put tradesense_login "$(of login_password)"
    taken database-url=login_url replica-urls=replica_urls
    connects tradesense_login pgbouncer 6432 "$(of login_password)" || fail "the new login does not come through the pooler"
    ! connects tradesense_login postgres 5432 "$old" || fail "the old password still opens the database"
    sql "drop owned by tradesense_login_next; drop role tradesense_login_next;"
    ! connects tradesense_login_next postgres 5432 "$(of login_next_password)" || fail "the second login is still there"
    random | put login_next_password
}
migrated() {
    engine run --rm --no-deps -T --env "TRADESENSE_LOGIN_NAME=$1" --env "TRADESENSE_LOGIN_PASSWORD_FILE=/run/secrets/$2" migrate
    connects "$1" postgres 5432 "$(of "$2")" || fail "$1 does not come in"
}

owner() {
    single tradesense postgres_password
    owner_url "$new" | put owner_url
    single_ends tradesense postgres_password
}

pooler() {
    # Somebody whose password it has to look up: the connection for it is there then for a minute.
    connects exporter pgbouncer 6432 "$(of exporter_password)" || fail "the pooler lets nobody in"
    single pgbouncer pgbouncer_password
    pgbouncer_users "$new" | put pgbouncer_users
    engine kill --signal HUP pgbouncer
    single_ends pgbouncer pgbouncer_password
    # One that is made anew takes the new one.
    sql "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'pgbouncer'" >/dev/null
    connects exporter pgbouncer 6432 "$(of exporter_password)" || fail "the pooler looks nobody up any more: is its file read?"
}

exporter() {
    single exporter exporter_password
    of exporter_password.next | put exporter_password
    ! runs postgres-exporter || engine restart postgres-exporter
    single_ends exporter exporter_password
}

replication() {
    followers=$(sql "select count(*) from pg_stat_replication where application_name like 'replica%'")
    single replicator replication_password
    of replication_password.next | put replication_password
    for replica in replica-1 replica-2; do
        ! runs "$replica" || inside "$replica" bash /usr/local/bin/replica.sh password
    done
    # Whoever follows comes in once more, with the new one; `backup` reads the file before each base backup.
    sql "select pg_terminate_backend(pid) from pg_stat_replication where application_name like 'replica%'" >/dev/null
    seconds=0
    until [ "$(sql "select count(*) from pg_stat_replication where state = 'streaming' and application_name like 'replica%'")" = "$followers" ]; do
        seconds=$((seconds + 1))
        [ "$seconds" -lt 60 ] || fail "not every replica follows with the new password: their lines say why"
        sleep 1
    done
    single_ends replicator replication_password
}

# repository wal|base, then restic's words, with the password that it reads.
repository() {
    inside backup sh -c 'part=$1; shift; export RESTIC_PASSWORD_FILE= RESTIC_PASSWORD="$(cat)"
        exec restic --repo "$BACKUP_REPOSITORY/$part" --no-cache --quiet "$@"' - "$@"
}
backup() {
    runs backup || fail "the service backup does not run"
    begin backup_password
    old=$(of backup_password) new=$(of backup_password.next)
    for part in wal base; do
        echo "$new" | repository "$part" --no-lock cat config >/dev/null 2>&1 ||
            echo "$new" | inside backup sh -c 'umask 077; cat >/tmp/next
                restic --repo "$BACKUP_REPOSITORY/$1" --no-cache --quiet key add --new-password-file /tmp/next
                said=$?; rm /tmp/next; exit $said' - "$part"
        echo "$new" | repository "$part" --no-lock cat config >/dev/null || fail "the new password does not open $part"
    done
    of backup_password.next | put backup_password
    [ "$old" = "$new" ] || for part in wal base; do
        # A key is named by the password that opens it.
        key=$(echo "$old" | repository "$part" --no-lock key list --json 2>/dev/null | sed -n 's/.*"current":true,"id":"\([0-9a-f]*\)".*/\1/p')
        [ -z "$key" ] || echo "$new" | repository "$part" key remove "$key"
        ! echo "$old" | repository "$part" --no-lock cat config >/dev/null 2>&1 || fail "the old password still opens $part"
    done
    end backup_password
}

# edge CERTIFICATE KEY
edge() {
    [ "$(openssl x509 -in "$1" -noout -pubkey)" = "$(openssl pkey -in "$2" -pubout)" ] || fail "$1 is not for the key $2"
    openssl x509 -in "$1" -noout -checkend 86400 >/dev/null || fail "$1 ends within a day"
    put edge_certificate <"$1"
    put edge_key <"$2"
    # It reads both again for whoever connects from now on; what it cannot read it says, and goes on with the old ones.
    engine kill --signal HUP edge
}

one() {
    say "$1: begins"
    case $1 in
        queue | cache) redis_user tradesense "$1_password" "$1" -- tell_platform "$1" ;;
        redis-exporter) redis_user exporter redis_exporter_password queue cache -- tell_redis_exporters ;;
        redis-operator) redis_user operator redis_operator_password queue cache -- true ;;
        login | owner | pooler | exporter | replication | backup) "$1" ;;
        *) fail "there is no $1: the head of $0 says what there is" ;;
    esac
    say "$1: done"
}

# Two at once would take each other's passwords for old ones.
exec 9<"$dir"
flock -n 9 || fail "another one runs"
case ${1:-} in
    edge) edge "${2:?names the certificate}" "${3:?names the key}" ;;
    all)
        for name in queue cache redis-exporter redis-operator login owner pooler exporter replication; do one "$name"; done
        ! runs backup || one backup
        ;;
    *) one "${1:-}" ;;
esac
