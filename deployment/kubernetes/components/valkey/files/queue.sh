#!/bin/sh
# Starts a server of the queue. Who is primary is asked of the sentinels; before there are any, the first pod is.
set -eu
me="$(hostname).$SERVICE"
conf=/run/valkey/valkey.conf
cp /etc/valkey/queue.conf "$conf"
primary="$(timeout 3 valkey-cli -h "$SENTINEL" -p 26379 sentinel get-master-addr-by-name queue 2>/dev/null | head -n 1 || true)"
if [ -z "$primary" ] && [ "${me%%.*}" != "$FIRST" ]; then
  primary="$FIRST.$SERVICE"
fi
{
  echo "replica-announce-ip $me"
  echo "min-replicas-to-write $MIN_REPLICAS"
  echo "masteruser replica"
  echo "masterauth $(cat /run/secrets/valkey/replica-password)"
  if [ -n "$primary" ] && [ "$primary" != "$me" ]; then
    echo "replicaof $primary 6379"
  fi
} >> "$conf"
exec valkey-server "$conf"
