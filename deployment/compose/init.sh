#!/bin/sh
# Makes the secrets of the compose stack, each in a file of its own. What is there stays: run it again after an upgrade.
#
#   deployment/compose/init.sh [DIRECTORY [HOST-NAME]]
#
# The directory is closed to everybody but you (0700) and the files in it are readable (0444): a container gets single files, and its
# program runs under a user that does not exist on this machine.
set -eu
umask 077

here=$(dirname "$0")
dir=${1:-$here/../secrets}
host=${2:-localhost}
. "$here/lib.sh"
mkdir -p "$dir"
chmod 0700 "$dir"

for name in postgres_password replication_password login_password login_next_password pgbouncer_password exporter_password \
    queue_password cache_password redis_exporter_password redis_operator_password grafana_password elastic_password kibana_password logs_password \
    s3_access_key s3_secret_key backup_password; do
    random | keep "$name"
done

owner_url "$(of postgres_password)" | keep owner_url
login_urls keep tradesense_login "$(of login_password)"
pgbouncer_users "$(of pgbouncer_password)" | keep pgbouncer_users
for redis in queue cache; do
    acl "$redis" | keep "${redis}_acl"
    redis_url "$redis" "$(of "${redis}_password")" | keep "${redis}_url"
done
redis_exporter_passwords "$(of redis_exporter_password)" | keep redis_exporter_passwords

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
