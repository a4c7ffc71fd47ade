# What init.sh and rotate.sh share; read by them, not run. `dir` is the directory of secrets.
# shellcheck shell=sh
dir=${dir:?names the directory of secrets}

# keep NAME: writes what it reads, unless the file is there.
keep() {
    if [ ! -s "$dir/$1" ]; then
        cat >"$dir/$1.new"
        chmod 0444 "$dir/$1.new"
        mv "$dir/$1.new" "$dir/$1"
    else
        cat >/dev/null
    fi
}

# put NAME: writes what it reads into the file that is there. A container has it mounted by itself and would never see a new one in its
# place. What is the same stays as it was: its time says since when.
put() {
    text=$(cat)
    if [ "$text" != "$(cat "$dir/$1" 2>/dev/null)" ]; then
        : >>"$dir/$1"
        chmod 0644 "$dir/$1"
        printf '%s\n' "$text" >"$dir/$1"
        chmod 0444 "$dir/$1"
        sync "$dir/$1"
    fi
}

random() { openssl rand -hex 24; }
of() { cat "$dir/$1"; }
sha256() { printf %s "$1" | openssl dgst -sha256 -r | cut -d' ' -f1; }

# Both passwords of a user of Redis: the one of now, and the next one while there is one.
hashes() {
    for slot in "$1" "$1.next"; do
        [ ! -s "$dir/$slot" ] || printf ' #%s' "$(sha256 "$(of "$slot")")"
    done
}

# acl queue|cache: nobody without a password may do more than ask whether it lives; the platform may not flush, list keys or configure; the
# operator makes the server read this file again and may do nothing else.
acl() {
    echo "user default on nopass sanitize-payload resetchannels -@all +ping"
    echo "user tradesense on$(hashes "$1_password") ~* resetchannels -@all +@all -@admin -@dangerous +info +config|get"
    echo "user exporter on$(hashes redis_exporter_password) ~* resetchannels -@all +@connection +info +config|get +client|list +latency|latest +latency|histogram +slowlog|get +slowlog|len +xinfo +dbsize +memory|usage +type +strlen +llen +scard +zcard +hlen +xlen"
    echo "user operator on$(hashes redis_operator_password) resetchannels -@all +acl|load"
}

redis_url() { echo "redis://tradesense:$2@valkey-$1:6379"; }
redis_exporter_passwords() { printf '{"redis://exporter@valkey-queue:6379":"%s","redis://exporter@valkey-cache:6379":"%s"}\n' "$1" "$1"; }
owner_url() { echo "postgres://tradesense:$1@postgres:5432/tradesense"; }
pgbouncer_users() { printf '"pgbouncer" "%s"\n' "$1"; }

# login_urls keep|put LOGIN PASSWORD: the platform's way to the database: through the pooler, past it, to the replicas.
login_urls() {
    login=postgres://$2:$3
    echo "$login@pgbouncer:6432/tradesense" | "$1" login_url
    echo "$login@postgres:5432/tradesense" | "$1" login_url_direct
    echo "$login@replica-1:5432/tradesense,$login@replica-2:5432/tradesense" | "$1" replica_urls
}
