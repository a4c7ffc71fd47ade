#!/bin/sh
# Makes the secrets of the compose stack, each in a file of its own. What is there stays: run it again after an upgrade.
#
#   deployment/compose/init.sh [DIRECTORY [HOST-NAME]]
#
# The directory is closed to everybody but you (0700) and the files in it are readable (0444): a container gets single files, and its
# program runs under a user that does not exist on this machine.
set -eu
umask 077

dir=${1:-$(dirname "$0")/../secrets}
host=${2:-localhost}
mkdir -p "$dir"
chmod 0700 "$dir"

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
password() { openssl rand -hex 24 | keep "$1"; }
of() { cat "$dir/$1"; }
sha256() { printf %s "$1" | openssl dgst -sha256 -r | cut -d' ' -f1; }

for name in postgres_password replication_password login_password pgbouncer_password exporter_password \
    queue_password cache_password redis_exporter_password grafana_password elastic_password kibana_password logs_password \
    s3_access_key s3_secret_key backup_password; do
    password "$name"
done

# The database: its owner for migrations, the platform's login through the pooler and past it.
echo "postgres://tradesense:$(of postgres_password)@postgres:5432/tradesense" | keep owner_url
login="postgres://tradesense_login:$(of login_password)"
echo "$login@pgbouncer:6432/tradesense" | keep login_url
echo "$login@postgres:5432/tradesense" | keep login_url_direct
echo "$login@replica-1:5432/tradesense,$login@replica-2:5432/tradesense" | keep replica_urls
printf '"pgbouncer" "%s"\n' "$(of pgbouncer_password)" | keep pgbouncer_users

# Redis: nobody without a password may do more than ask whether it lives; the platform may not flush, list keys or configure.
acl() {
    echo "user default on nopass sanitize-payload resetchannels -@all +ping"
    echo "user tradesense on #$(sha256 "$(of "$1")") ~* resetchannels -@all +@all -@admin -@dangerous +info +config|get"
    echo "user exporter on #$(sha256 "$(of redis_exporter_password)") ~* resetchannels -@all +@connection +info +config|get +client|list +latency|latest +latency|histogram +slowlog|get +slowlog|len +xinfo +dbsize +memory|usage +type +strlen +llen +scard +zcard +hlen +xlen"
}
acl queue_password | keep queue_acl
acl cache_password | keep cache_acl
echo "redis://tradesense:$(of queue_password)@valkey-queue:6379" | keep queue_url
echo "redis://tradesense:$(of cache_password)@valkey-cache:6379" | keep cache_url
printf '{"redis://exporter@valkey-queue:6379":"%s","redis://exporter@valkey-cache:6379":"%s"}\n' \
    "$(of redis_exporter_password)" "$(of redis_exporter_password)" | keep redis_exporter_passwords

printf 'elasticsearch.hosts: ["http://elasticsearch:9200"]\nelasticsearch.username: kibana_system\nelasticsearch.password: "%s"\nserver.host: 0.0.0.0\ntelemetry.optIn: false\n' \
    "$(of kibana_password)" | keep kibana_config
printf '[default]\naws_access_key_id=%s\naws_secret_access_key=%s\n' "$(of s3_access_key)" "$(of s3_secret_key)" | keep s3_credentials

# A certificate of your own making, until you put a real one in its place.
if [ ! -s "$dir/edge_key" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -sha256 \
        -subj "/CN=$host" -addext "subjectAltName=DNS:$host,DNS:localhost,DNS:edge,IP:127.0.0.1" \
        -keyout "$dir/edge_key.made" -out "$dir/edge_certificate.made" 2>/dev/null
    keep edge_certificate <"$dir/edge_certificate.made"
    keep edge_key <"$dir/edge_key.made"
    rm -f "$dir/edge_key.made" "$dir/edge_certificate.made"
fi
