#!/bin/sh
# Starts a sentinel. It writes what it learns into its own file, which lives as long as its volume; the first time it is told of the
# primary that the others know, or of the first server of the queue. What it comes in with is taken from the secret at each start.
set -eu
conf=/data/sentinel.conf
if [ ! -s "$conf" ]; then
  primary="$(timeout 3 valkey-cli -h "$SENTINEL" -p 26379 sentinel get-master-addr-by-name queue 2>/dev/null | head -n 1 || true)"
  {
    echo "port 26379"
    echo "dir /data"
    echo "protected-mode no"
    echo "sentinel resolve-hostnames yes"
    echo "sentinel announce-hostnames yes"
    echo "sentinel announce-ip $(hostname).$SERVICE"
    echo "sentinel monitor queue ${primary:-$FIRST.$QUEUE} 6379 $QUORUM"
    echo "sentinel down-after-milliseconds queue 5000"
    echo "sentinel failover-timeout queue 30000"
    echo "sentinel parallel-syncs queue 1"
  } > "$conf"
fi
{
  grep -Ev '^sentinel auth-(user|pass) queue ' "$conf"
  echo "sentinel auth-user queue sentinel"
  echo "sentinel auth-pass queue $(cat /run/secrets/valkey/sentinel-password)"
} > "$conf.new"
mv "$conf.new" "$conf"
exec valkey-server "$conf" --sentinel
